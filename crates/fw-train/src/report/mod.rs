//! Figures from run folders.

mod curves;

pub use curves::draw_curves;
