//! Figures and reports from run folders.

mod chart;
mod comparison;
mod cost;
mod curves;
mod figure;
mod heat_maps;
mod page;

pub use comparison::{Comparison, Row, Run, TaskSection};
pub use cost::CostReport;
pub use curves::draw_curves;
pub use figure::check_figure_name;
pub use heat_maps::draw_heat_maps;

/// Beside a report, its figures.
pub(crate) const FIGURES_FOLDER: &str = "figures";
