//! Recurrent cells without a memory mechanism of this crate: the baselines, and the cells that others wrap.

mod associative_lstm;
mod elman;
mod gru;
mod lstm;

pub use associative_lstm::{AssociativeLstm, AssociativeLstmConfig, AssociativeLstmState};
pub use elman::{Elman, ElmanConfig};
pub use gru::{Gru, GruConfig, GruNorm};
pub use lstm::{Lstm, LstmConfig};
