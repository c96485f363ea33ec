//! Figures and reports from run folders.

mod chart;
mod comparison;
mod cost;
mod curves;
mod figure;
mod heat_maps;

pub use comparison::{Comparison, Row, Run, Section};
pub use cost::CostReport;
pub use curves::draw_curves;
pub use figure::check_figure_name;
pub use heat_maps::draw_heat_maps;
