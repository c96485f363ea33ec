//! The example does what it says.

use std::process::Command;

#[test]
fn what_was_read_is_said_again() {
    let output = Command::new(env!("CARGO_BIN_EXE_ntm-in-a-model"))
        .output()
        .expect("the example starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let last = text.lines().last().expect("a line");
    let share = last
        .split(' ')
        .next()
        .and_then(|share| share.parse::<f32>().ok());
    // Chance is one letter of six.
    assert!(share.is_some_and(|share| share > 95.0), "{text}");
}
