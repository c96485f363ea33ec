//! The page around a report, and what reports have in common on it.

use maud::{Markup, PreEscaped, html};

/// A report as one HTML file that needs nothing else.
pub(super) fn page(title: &str, body: &Markup) -> String {
    include_str!("page.html")
        .replace("{{style}}", include_str!("page.css"))
        .replace("{{script}}", include_str!("page.js"))
        .replace("{{version}}", env!("CARGO_PKG_VERSION"))
        .replace("{{title}}", &html! { (title) }.into_string())
        .replace("{{body}}", &body.0)
}

/// A table that can be wider than the page.
pub(super) fn wide(label: &str, table: &Markup) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label=(label) {
            table { (table) }
        }
    }
}

/// A text within an SVG document or an attribute of one.
pub(super) fn escaped(text: &str) -> String {
    let PreEscaped(text) = html! { (text) };
    text
}
