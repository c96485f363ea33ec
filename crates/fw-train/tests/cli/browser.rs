//! A report in a real browser, Chromium without a window.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::compare::{experiment, two_experiments};
use super::{fw_train, succeed};

/// The browser's name, if there is one. Where a test must not be left out, `FW_REQUIRE_BROWSER` is set.
fn browser() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let found = names.into_iter().find(|name| {
        Command::new(name)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
    });
    assert!(
        found.is_some() || std::env::var_os("FW_REQUIRE_BROWSER").is_none(),
        "none of {names:?} is installed"
    );
    found
}

/// The page's elements after its scripts and one more have run. Nothing may be said on the console.
fn elements(browser: &str, page: &Path, more: &str) -> String {
    let text = std::fs::read_to_string(page).expect("a page");
    let with_more = page.with_file_name("with-more.html");
    let script = format!("<script>{more}</script></body>");
    std::fs::write(&with_more, text.replace("</body>", &script)).expect("a page");
    let output = Command::new(browser)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
        ])
        .args(["--enable-logging=stderr", "--virtual-time-budget=5000"])
        .arg(format!("file://{}", with_more.display()))
        .output()
        .expect("the browser starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let console: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .collect();
    assert!(console.is_empty(), "{console:#?}");
    let elements = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(elements.contains("<h1>"), "{said}");
    elements
}

#[test]
fn the_report_works_in_a_browser() {
    let Some(browser) = browser() else {
        eprintln!("no browser: left out");
        return;
    };
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    two_experiments(here);
    let machine = experiment(
        "model.kind = 'ntm-ff'\nmodel.d_controller = 8\nmodel.memory_size = 5\nmodel.word_size = 4",
    );
    std::fs::write(here.join("many/machine.toml"), machine).expect("an experiment");
    succeed(fw_train(here).args(["compare", "many", "--seeds", "2", "--out", "out"]));
    let page = here.join("out/report.html");

    let text = std::fs::read_to_string(&page).expect("a page");
    for elsewhere in ["src=\"http", "href=\"http", "url(", "@import"] {
        assert!(
            !text.contains(elsewhere),
            "{elsewhere}: it needs nothing else"
        );
    }
    let shown = elements(browser, &page, "");
    // A machine's four maps and the attention of fast weights, each with its text alternative.
    let maps = shown.matches("<canvas").count();
    assert_eq!(maps, 5, "{shown}");
    assert_eq!(shown.matches(r#"role="img" aria-label=""#).count(), maps);
    assert!(shown.contains("aria-label=\"read weightings: 5 rows (location) by 7 steps"));
    assert!(shown.contains("It has no memory to look into."));
    // Every chart says in words what it shows, and one of the three curves is to be seen.
    assert_eq!(
        shown.matches(r#"<svg class="chart""#).count(),
        shown.matches("<desc>").count()
    );
    assert_eq!(shown.matches(r#"<div class="curve" data-place"#).count(), 3);
    assert_eq!(shown.matches(r#"hidden="""#).count(), 2, "{shown}");

    // Another sample shows another question, and another choice another curve.
    let read = |shown: &str| {
        let from = shown
            .find("<th scope=\"row\">read</th>")
            .expect("what was read");
        shown[from..from + 200].to_owned()
    };
    let moved = elements(
        browser,
        &page,
        "const slider = document.querySelector('.samples input'); slider.value = 3; slider.dispatchEvent(new Event('input'));\
         const radio = document.querySelectorAll('.choice input')[2]; radio.click();",
    );
    assert!(moved.contains("<output>3</output>"));
    assert_ne!(read(&moved), read(&shown));
    let hidden = |shown: &str, place: usize| {
        shown.contains(&format!(
            "<div class=\"curve\" data-place=\"{place}\" hidden=\"\">"
        ))
    };
    assert!(!hidden(&shown, 0) && hidden(&shown, 2));
    assert!(hidden(&moved, 0) && !hidden(&moved, 2));
    // A row's name opens where its numbers come from.
    let opened = elements(browser, &page, "location.hash = '#run-0-1';");
    assert!(opened.contains("<details id=\"run-0-1\" open=\"\">"));
}
