//! Figures from run folders.

mod curves;
mod figure;
mod heat_maps;

pub use curves::draw_curves;
pub use figure::check_figure_name;
pub use heat_maps::{SampleTrace, draw_heat_maps};
