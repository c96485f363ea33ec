//! The example, as it is run.

use std::process::Command;

#[test]
fn both_ways_come_to_the_same_and_the_net_answers_while_it_reads() {
    let program = env!("CARGO_BIN_EXE_speakers");
    let output = Command::new(program)
        .arg("400")
        .output()
        .expect("the example runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let share = |of: &str| -> f64 {
        let line = text
            .lines()
            .find(|line| line.starts_with(of))
            .expect("a line");
        let number = line
            .split(": ")
            .nth(1)
            .and_then(|rest| rest.trim().split(' ').next());
        number.expect("a number").parse().expect("a number")
    };
    let [always, padded, packed] = ["always", "padded", "packed"].map(share);
    assert!(padded > always + 3.0 && packed > always + 3.0, "{text}");
    // Of 300 speeches each; what differs is what dropout leaves out.
    assert!((padded - packed).abs() <= 8.0, "{text}");
    assert!(text.contains("it was "), "{text}");
}
