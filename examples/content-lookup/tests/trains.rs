//! The example does what it says.

use std::process::Command;

#[test]
fn what_makes_points_alike_is_learned() {
    let output = Command::new(env!("CARGO_BIN_EXE_content-lookup"))
        .output()
        .expect("the example starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let shares: Vec<f32> = text
        .lines()
        .filter_map(|line| line.split(' ').next()?.parse().ok())
        .collect();
    // Chance is one of five; noise three times as large as the signal allows little more.
    assert!(shares[0] < 50.0 && shares[1] > 90.0, "{text}");
}
