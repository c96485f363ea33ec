//! A figure as a file: SVG, or the same as PNG.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use crate::Error;
use crate::files::write_atomically;
use crate::report::chart::Chart;

/// Pixels of a PNG for each unit of the SVG.
const PNG_SCALE: f32 = 2.0;

/// An SVG document.
pub(super) struct Figure(pub String);

/// Whether a figure can be written under this name.
///
/// # Errors
/// If the name ends neither in `.svg` nor in `.png`.
pub fn check_figure_name(path: &Path) -> Result<(), Error> {
    match extension(path) {
        "svg" | "png" => Ok(()),
        _ => Err(Error::usage(format!(
            "--out is {}; its name must end in .svg or .png",
            path.display()
        ))),
    }
}

fn extension(path: &Path) -> &str {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.unwrap_or_default()
}

impl Figure {
    /// Charts beside each other, as high as the highest.
    pub fn side_by_side(charts: &[Chart]) -> Self {
        let height = charts.iter().map(Chart::height).fold(0.0, f64::max);
        let width = Chart::WIDTH * charts.len() as f64;
        // What is written to a string cannot fail.
        let mut svg = format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"><rect width="100%" height="100%" fill="#fff"/>"##
        );
        for (column, chart) in charts.iter().enumerate() {
            let x = Chart::WIDTH * column as f64;
            let _ = write!(
                svg,
                r#"<g transform="translate({x} 0)">{}</g>"#,
                chart.svg()
            );
        }
        svg.push_str("</svg>\n");
        Figure(svg)
    }

    /// Writes the figure in the format that the file's name ends with, SVG unless it is `.png`.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        match extension(path) {
            "png" => {
                let png = self.png().map_err(|problem| Error::Figure {
                    path: path.to_owned(),
                    problem,
                })?;
                write_atomically(path, &png)
            }
            _ => write_atomically(path, self.0.as_bytes()),
        }
    }

    /// With a font of our own, so that a machine without fonts draws text too.
    fn png(&self) -> Result<Vec<u8>, String> {
        let mut fonts = fontdb::Database::new();
        fonts.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
        let family = fonts.faces().next().map(|face| face.families[0].0.clone());
        fonts.set_sans_serif_family(family.ok_or("the font has no face")?);
        let options = Options {
            fontdb: Arc::new(fonts),
            ..Options::default()
        };
        let tree = Tree::from_str(&self.0, &options).map_err(|error| error.to_string())?;
        let size = tree.size();
        let pixels = |length: f32| (length * PNG_SCALE).ceil() as u32;
        let mut pixmap =
            Pixmap::new(pixels(size.width()), pixels(size.height())).ok_or("it has no area")?;
        let scale = Transform::from_scale(PNG_SCALE, PNG_SCALE);
        resvg::render(&tree, scale, &mut pixmap.as_mut());
        pixmap.encode_png().map_err(|error| error.to_string())
    }
}
