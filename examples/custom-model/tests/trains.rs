//! The example does what it says.

use std::process::Command;

#[test]
fn one_epoch_is_better_than_chance() {
    let output = Command::new(env!("CARGO_BIN_EXE_custom-model"))
        .arg("1")
        .output()
        .expect("the example starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let last = text.lines().last().expect("a line");
    let share = last
        .split(' ')
        .next()
        .and_then(|share| share.parse::<f32>().ok());
    // One shape of eight, or one of the three that were shown.
    assert!(share.is_some_and(|share| share > 50.0), "{last}");
}
