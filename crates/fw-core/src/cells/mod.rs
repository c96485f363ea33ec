//! Recurrent cells whose state is one vector or two: the baselines, the cells that others wrap, and the Associative LSTM, a baseline
//! whose state is a memory.

mod associative_lstm;
mod burn_nn;
mod elman;
mod gru;
mod lstm;
mod slstm;

pub use associative_lstm::{AssociativeLstm, AssociativeLstmConfig, AssociativeLstmState};
pub use elman::{Elman, ElmanConfig};
pub use gru::{Gru, GruConfig, GruNorm};
pub use lstm::{Lstm, LstmConfig};
pub use slstm::{SLstm, SLstmConfig};
