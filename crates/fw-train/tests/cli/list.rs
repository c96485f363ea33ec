//! `fw-train list`.

use std::path::Path;

use super::{fail, fw_train, succeed};

#[test]
fn every_kind_has_its_settings_with_default_range_and_meaning() {
    let here = Path::new(".");
    for (kind, expected) in [
        (
            "fast-weights",
            "  decay = 0.95\n      a number. λ, what a step leaves of the fast weights: in `[0, 1]`.",
        ),
        (
            "sab",
            "  max_memories = \"unlimited\"\n      a number, or \"unlimited\".",
        ),
        (
            "delta-net",
            "  d_key, not set\n      a whole number, not negative. K, the width of a query",
        ),
        (
            "copy-memory",
            "  symbols = 10\n      a whole number, not negative.",
        ),
        ("adam-w", "  beta_1 = 0.9\n      a number."),
        ("training", "  steps = 30000\n"),
    ] {
        let printed = succeed(fw_train(here).args(["list", kind]));
        assert!(printed.contains(expected), "{kind}: {printed}");
    }
    // All that the list names has settings, and what can be set is what it names.
    let all = succeed(fw_train(here).arg("list"));
    let kinds = all.lines().take_while(|line| *line != "pretrained nets");
    let kinds = kinds.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let mut n_kinds = 0;
    for kind in kinds {
        let printed = succeed(fw_train(here).args(["list", kind]));
        assert!(printed.starts_with('['), "{kind}: {printed}");
        n_kinds += 1;
    }
    assert!(n_kinds > 25, "{n_kinds}");
    let message = fail(fw_train(here).args(["list", "gur"]), 2);
    assert_eq!(
        message.trim(),
        "error: there is no task, model or optimiser gur; `fw-train list` names them all"
    );
}
