//! What an experiment is to reach, and the instructions that its numbers depend on.

use std::fs;

use tempfile::TempDir;

use super::{TINY, fail, fw_train, json, numbers, succeed, train_tiny};

#[test]
fn the_instructions_of_kernels_can_be_chosen_and_are_written_down() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let mut numbers_of_scalar = Vec::new();
    for (run, name) in [("one", "scalar"), ("two", "scalar"), ("best", "")] {
        let mut train = train_tiny(here, run, &[]);
        match name {
            "" => succeed(train.env_remove("FW_INSTRUCTIONS")),
            name => succeed(train.env("FW_INSTRUCTIONS", name)),
        };
        let environment = json(here.join(run).join("environment.json"));
        let written = environment["instructions"]
            .as_str()
            .expect("a name")
            .to_owned();
        match name {
            "" => {
                let listed = succeed(fw_train(here).arg("list").env_remove("FW_INSTRUCTIONS"));
                let chosen = format!("instructions: {written} (");
                assert!(listed.contains(&chosen), "{written}: {listed}");
            }
            name => {
                assert_eq!(written, name);
                numbers_of_scalar.push(numbers(&here.join(run)));
            }
        }
    }
    assert_eq!(numbers_of_scalar[0], numbers_of_scalar[1]);
    let message = fail(
        train_tiny(here, "none", &[]).env("FW_INSTRUCTIONS", "mmx"),
        2,
    );
    let rule = "FW_INSTRUCTIONS is \"mmx\"; it must be one of the instruction sets of this machine: scalar";
    assert!(message.contains(rule), "{message}");
    assert!(!here.join("none").exists());
}

#[test]
fn a_goal_is_told_at_the_end_and_one_that_cannot_be_looked_at_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let goals = "goal = [{ reach = { error = 1.0 } }, { reach = { error = 0.0 }, at = { pairs = 3 } }]\ntest = { pairs = [3] }\n";
    let experiment = |goals: &str| {
        let others = "task = { kind = 'associative-retrieval' }\nmodel = { kind = 'gru' }\noptimizer = { kind = 'adam' }\n";
        fs::write(here.join("e.toml"), format!("{goals}{others}")).expect("an experiment");
    };
    let mut train = vec!["train", "e.toml", "--out", "run"];
    for setting in TINY {
        train.extend(["--set", setting]);
    }
    experiment(goals);
    let told = succeed(fw_train(here).args(&train));
    assert!(
        told.contains("goal, an error of 100 % at most: reached"),
        "{told}"
    );
    let missed = "goal, an error of 0 % at most, at pairs = 3: not reached";
    assert!(told.contains(missed), "{told}");
    for (goals, rule) in [
        (
            "goal = 3\n",
            "goal is 3; it must be a section that may come several times: [[goal]]",
        ),
        ("goal = [{}]\n", "in [goal]: missing field `reach`"),
        (
            "goal = [{ reach = { error = 2.0 } }]\n",
            "goal.reach.error is 2; it must lie in [0, 1]",
        ),
        (
            "goal = [{ reach = { loss = -1.0 } }]\n",
            "goal.reach.loss is -1; it must be a number of at least 0",
        ),
        (
            "goal = [{ reach = { error = 0.5 }, at = { pairs = 4 } }]\ntest = { pairs = [3] }\n",
            "goal.at is { pairs = 4 }; it must be one setting with one of the values that [test] has for it",
        ),
    ] {
        experiment(goals);
        let message = fail(fw_train(here).args(["train", "e.toml", "--out", "x"]), 2);
        assert!(message.contains(rule), "{goals}: {message}");
    }
    assert!(!here.join("x").exists());
}
