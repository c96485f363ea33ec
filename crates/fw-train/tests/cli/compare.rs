//! `fw-train compare` and `fw-train report`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

#[cfg(unix)]
use super::stop::signalled;
use super::{fail, fw_train, json, numbers, stderr, succeed};

/// A tiny experiment with a model.
pub fn experiment(model: &str) -> String {
    format!(
        "task.kind = 'associative-retrieval'\ntask.pairs = 2\ntask.train_samples = 640\ntask.validation_samples = 100\n\
         task.test_samples = 150\n{model}\nmodel.d_embedding = 12\nmodel.d_head = 0\noptimizer.kind = 'adam'\n\
         training.batch_size = 16\ntraining.steps = 60\ntraining.log_every = 10\ntraining.evaluate_every = 20\n\
         test.pairs = [1, 2, 3]\n"
    )
}

/// `many/` with two experiments.
pub fn two_experiments(here: &Path) {
    fs::create_dir(here.join("many")).expect("a folder");
    for (name, model) in [
        ("fast", "model.kind = 'fast-weights'\nmodel.d_hidden = 8"),
        ("gru", "model.kind = 'gru'\nmodel.d_hidden = 8"),
    ] {
        let path = here.join("many").join(name).with_extension("toml");
        fs::write(path, experiment(model)).expect("an experiment");
    }
}

fn compare(here: &Path, more: &[&str]) -> Command {
    let mut command = fw_train(here);
    command.args(["compare", "many", "--out", "out"]).args(more);
    command
}

/// Everything in `results.json` but times and paths.
fn results(out: &Path) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|field, _| {
                    ![
                        "seconds",
                        "milliseconds_per_step",
                        "peak_memory",
                        "started",
                        "threads",
                    ]
                    .contains(&field.as_str())
                });
                fields.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut results = json(out.join("results.json"));
    strip(&mut results);
    results
}

fn rows(results: &Value, section: usize) -> &Vec<Value> {
    results["sections"][section]["rows"]
        .as_array()
        .expect("rows")
}

#[test]
fn every_experiment_is_trained_with_every_seed_and_reported() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    two_experiments(here);
    succeed(&mut compare(here, &["--seeds", "2", "--jobs", "2"]));
    let out = here.join("out");
    let first = results(&out);
    let names: Vec<&str> = rows(&first, 0)
        .iter()
        .filter_map(|row| row["name"].as_str())
        .collect();
    assert_eq!(names, ["fast", "gru"]);
    for row in rows(&first, 0) {
        assert_eq!(row["runs"].as_array().map(Vec::len), Some(2));
        let slices = &row["runs"][0]["result"]["slices"];
        let values: Vec<i64> = (0..3).filter_map(|n| slices[n]["value"].as_i64()).collect();
        assert_eq!(values, [1, 2, 3]);
        assert_eq!(
            slices[1]["error"], row["runs"][0]["result"]["test"]["error"],
            "the task's own"
        );
    }
    // A run of a comparison is the run that `train` makes.
    succeed(fw_train(here).args(["train", "many/gru.toml", "--seed", "1", "--out", "alone"]));
    assert_eq!(
        numbers(&here.join("alone")),
        numbers(&out.join("gru-seed1"))
    );
    let csv = fs::read_to_string(out.join("results.csv")).expect("a table");
    assert_eq!(csv.lines().count(), 5);
    assert!(csv.starts_with("task,name,model,seed,"));
    let text = fs::read_to_string(out.join("report.md")).expect("a report");
    for figure in text.split("(figures/").skip(1) {
        let name = figure.split(')').next().expect("a name");
        assert!(out.join("figures").join(name).is_file(), "{name}");
    }

    // What is there is not made again; one more seed is.
    let time = |run: &str| {
        fs::metadata(out.join(run).join("result.json"))
            .and_then(|data| data.modified())
            .expect("a time")
    };
    let before = time("gru-seed0");
    let output = compare(here, &["--seeds", "3"])
        .output()
        .expect("it starts");
    assert!(output.status.success());
    assert!(stderr(&output).contains("6 runs -> out: 4 done before, 0 begun, 2 new"));
    assert_eq!(time("gru-seed0"), before);
    assert_eq!(
        rows(&results(&out), 0)[0]["runs"].as_array().map(Vec::len),
        Some(3)
    );
    // A report of the results alone is the same.
    let all = results(&out);
    succeed(fw_train(here).args(["report", "out", "--out", "again"]));
    assert_eq!(results(&here.join("again")), all);
}

/// `table.toml`: two tasks, two nets, and two rates for each, of which one is so high that its training fails.
fn table(here: &Path) {
    let nets = experiment(
        "[models.gru]\nkind = 'gru'\nd_hidden = 8\n[models.lstm]\nkind = 'lstm'\nd_hidden = 8\n[model]",
    );
    // What is common to all comes as dotted fields, which end where a section begins.
    let (common, rest) = nets.split_once("[models.gru]").expect("there are nets");
    let (nets, rest) = rest.split_once("[model]\n").expect("and what is common");
    let text = format!(
        "{common}{rest}[tasks.one]\npairs = 1\n[tasks.two]\npairs = 2\n[models.gru]{nets}\n\
         [grid]\nseed = 7\noptimizer.learning_rate = [1e-3, 1e30]\n"
    );
    fs::write(here.join("table.toml"), text).expect("a file");
}

#[test]
fn a_table_tries_its_grid_and_trains_each_net_on_each_task_as_was_chosen() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    table(here);
    let command = || {
        let mut command = fw_train(here);
        command.args([
            "compare",
            "table.toml",
            "--out",
            "out",
            "--seeds",
            "1",
            "--jobs",
            "2",
        ]);
        command
    };
    let output = command().output().expect("it starts");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("8 trials -> out: 0 done before, 0 begun, 8 new"));
    assert!(stderr(&output).contains("4 runs -> out: 0 done before, 0 begun, 4 new"));
    let out = here.join("out");
    for (task, net) in [
        ("one", "gru"),
        ("one", "lstm"),
        ("two", "gru"),
        ("two", "lstm"),
    ] {
        let choice = json(out.join(format!("grid/{task}/{net}/choice.json")));
        assert_eq!((&choice["seed"], &choice["chosen"]), (&7.into(), &0.into()));
        let [fine, failed] = [0, 1].map(|index| choice["trials"][index]["validation"].clone());
        let of_trial = json(out.join(format!("grid/{task}/{net}/1-seed7/result.json")));
        assert_eq!(fine[0], of_trial["validation"]["error"]);
        assert!(failed.is_null(), "{failed}");
        let run = out.join(format!("{task}/{net}-seed0"));
        let config = fs::read_to_string(run.join("config.toml")).expect("a run");
        let config: toml::Table = config.parse().expect("TOML");
        assert_eq!(config["optimizer"]["learning_rate"].as_float(), Some(1e-3));
        assert_eq!(config["training"]["seed"].as_integer(), Some(0));
        assert_eq!(config["model"]["kind"].as_str(), Some(net));
        assert_eq!(config["model"]["d_embedding"].as_integer(), Some(12));
    }
    let first = results(&out);
    assert_eq!(first["sections"].as_array().map(Vec::len), Some(2));
    assert_eq!(rows(&first, 1)[0]["choice"]["seed"], 7);
    let text = fs::read_to_string(out.join("report.md")).expect("a report");
    let row = "| gru | ";
    assert!(
        text.contains("## All tasks\n\n|  | one | two | mean |\n"),
        "{text}"
    );
    assert_eq!(text.matches(row).count(), 1 + 2 * 3, "{text}");
    assert!(
        text.contains("|  | learning_rate = 0.001 | learning_rate = 1000000"),
        "{text}"
    );
    assert!(text.contains("** | failed |\n"), "what was chosen is bold");

    // What is there is not made again, but for what has failed, and the choice stays.
    let output = command().output().expect("it starts");
    assert!(stderr(&output).contains("8 trials -> out: 4 done before, 4 begun, 0 new"));
    assert!(stderr(&output).contains("4 runs -> out: 4 done before, 0 begun, 0 new"));
    assert_eq!(results(&out), first);
    succeed(fw_train(here).args(["report", "out", "--out", "again"]));
    assert_eq!(results(&here.join("again")), first);
}

#[test]
fn a_net_of_which_every_trial_fails_keeps_no_other_from_being_trained() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let file = |name: &str, model: &str, more: &str| {
        let text = format!("{}{more}", experiment(model));
        fs::write(here.join(name), text).expect("a file");
    };
    let gru = "model.kind = 'gru'\nmodel.d_hidden = 8";
    file(
        "bad.toml",
        gru,
        "[grid]\noptimizer.learning_rate = [1e30]\n",
    );
    // Another kind begins its section anew, whatever the order of the settings.
    let grid = "[grid]\nmodel.d_hidden = [4, 6]\nmodel.kind = ['lstm']\n";
    file("good.toml", gru, grid);
    // A table's runs lie in folders of its tasks, the others beside these.
    let text = format!(
        "{}[tasks.one]\npairs = 1\n[models.net]\nd_hidden = 5\n",
        experiment(gru)
    );
    fs::write(here.join("tasks.toml"), text).expect("a file");
    let mut command = fw_train(here);
    command.args([
        "compare",
        "bad.toml",
        "good.toml",
        "tasks.toml",
        "--out",
        "out",
        "--seeds",
        "2",
    ]);
    let error = fail(&mut command, 1);
    assert!(
        error.contains("2 of 6 runs failed:\n  bad: every trial has failed (see out/grid/bad)"),
        "{error}"
    );
    let out = here.join("out");
    for (trial, width) in [(1, 4), (2, 6)] {
        let config =
            fs::read_to_string(out.join(format!("grid/good/{trial}-seed1000/config.toml")));
        let config: toml::Table = config.expect("a trial").parse().expect("TOML");
        assert_eq!(config["model"]["kind"].as_str(), Some("lstm"));
        assert_eq!(config["model"]["d_hidden"].as_integer(), Some(width));
        assert!(config.get("test").is_none(), "a trial is not tested");
    }
    let names = |results: &Value| -> Vec<String> {
        let sections = results["sections"].as_array().expect("sections").iter();
        let rows = sections.flat_map(|section| section["rows"].as_array().expect("rows"));
        rows.map(|row| {
            format!(
                "{} {}",
                row["name"],
                row["runs"].as_array().map_or(0, Vec::len)
            )
        })
        .collect()
    };
    assert_eq!(names(&results(&out)), ["\"net\" 2", "\"good\" 2"]);
    succeed(fw_train(here).args(["report", "out", "--out", "again"]));
    assert_eq!(results(&here.join("again")), results(&out));

    // What was chosen and cannot be read is said, and takes no run away.
    fs::write(out.join("grid/good/choice.json"), "{").expect("a file");
    succeed(fw_train(here).args(["report", "out", "--out", "again"]));
    let again = results(&here.join("again"));
    assert_eq!(names(&again), names(&results(&out)));
    let notes = again["notes"].to_string();
    assert!(notes.contains("choice.json is damaged"), "{notes}");
}

#[test]
fn a_grid_is_for_compare_and_knows_nothing_of_the_runs() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    table(here);
    let error = fail(fw_train(here).args(["train", "table.toml"]), 2);
    assert!(
        error.contains("makes several experiments of one file: `fw-train compare` trains them")
    );
    let compare = |more: &[&str]| {
        let mut command = fw_train(here);
        command
            .args(["compare", "table.toml", "--out", "out"])
            .args(more);
        fail(&mut command, 2)
    };
    let error = compare(&["--seeds", "5,7"]);
    assert!(
        error.contains("the trials of the grid have the seed 7, and so has a run"),
        "{error}"
    );
    let error = compare(&["--set", "optimizer.learning_rate=0.1"]);
    assert!(
        error.contains("the grid tries optimizer.learning_rate"),
        "{error}"
    );
    let text = fs::read_to_string(here.join("table.toml")).expect("a file");
    let wrong = text.replace("1e30", "-1.0");
    fs::write(here.join("table.toml"), wrong).expect("a file");
    let error = compare(&[]);
    assert!(
        error.contains(
            "table.toml with optimizer.learning_rate = -1.0: optimizer.learning_rate is -1; it must"
        ),
        "{error}"
    );
    assert!(!here.join("out").exists(), "nothing was begun");
}

#[test]
fn a_comparison_that_was_killed_goes_on_to_the_same_report() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    two_experiments(here);
    let more = ["--seeds", "2", "--jobs", "2", "--set", "training.steps=400"];
    succeed(&mut compare(here, &more));
    let whole = results(&here.join("out"));
    fs::rename(here.join("out"), here.join("whole")).expect("a rename");

    let child = compare(here, &more)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let mut child = child.expect("it starts");
    let begun = || here.join("out/fast-seed0/checkpoints").is_dir();
    let started = Instant::now();
    while !begun() && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("it is killed");
    child.wait().expect("it has ended");
    assert!(
        begun() && !here.join("out/report.html").exists(),
        "killed in the middle"
    );
    // Its trainings end with it: else they would keep their folders.
    std::thread::sleep(Duration::from_millis(500));
    let output = compare(here, &more).output().expect("it starts");
    assert!(output.status.success(), "{}", stderr(&output));
    let with_paths = |text: String| text.replace("whole/", "out/");
    let again = results(&here.join("out")).to_string();
    assert_eq!(with_paths(whole.to_string()), again);
}

/// The signal reaches the comparison alone, which tells its trainings.
#[cfg(unix)]
#[test]
fn a_comparison_that_was_stopped_goes_on_to_the_same_report() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    two_experiments(here);
    let more = [
        "--seeds",
        "2",
        "--jobs",
        "2",
        "--set",
        "training.steps=1000",
    ];
    succeed(&mut compare(here, &more));
    let whole = results(&here.join("out"));
    fs::rename(here.join("out"), here.join("whole")).expect("a rename");

    let log = here.join("out/fast-seed0/metrics.jsonl");
    let has_record = || fs::metadata(&log).is_ok_and(|log| log.len() > 0);
    let output = signalled(&mut compare(here, &more), "-TERM", has_record);
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(
        told.contains("stopped; the same command goes on from there"),
        "{told}"
    );
    assert!(!told.contains("FAILED"), "{told}");
    assert!(!here.join("out/report.html").exists(), "{told}");
    let log = fs::read_to_string(here.join("out/fast-seed0.log")).expect("a log");
    assert!(log.contains("stopped after step"), "{log}");
    succeed(&mut compare(here, &more));
    let with_paths = |text: String| text.replace("whole/", "out/");
    let again = results(&here.join("out")).to_string();
    assert_eq!(with_paths(whole.to_string()), again);
}

#[test]
fn one_that_fails_is_told_and_the_others_are_made() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    two_experiments(here);
    let diverges = experiment("model.kind = 'irnn'\noptimizer.learning_rate = 1e30");
    fs::write(here.join("many/diverges.toml"), diverges).expect("an experiment");
    let message = fail(&mut compare(here, &["--seeds", "1"]), 1);
    assert!(message.contains("1 of 3 runs failed"), "{message}");
    assert!(
        message.contains("diverges seed 0: training diverged at step"),
        "{message}"
    );
    let results = results(&here.join("out"));
    let finished = rows(&results, 0)
        .iter()
        .filter(|row| row["mean"].is_number());
    assert_eq!(finished.count(), 2);
    let text = fs::read_to_string(here.join("out/report.md")).expect("a report");
    assert!(
        text.contains("Not finished, and counted nowhere: diverges seed 0"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_compared_is_said() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    two_experiments(here);
    fs::create_dir(here.join("empty")).expect("a folder");
    let message = fail(fw_train(here).args(["compare", "empty"]), 2);
    assert!(message.contains("empty holds no experiments"), "{message}");
    let message = fail(fw_train(here).args(["report", "empty"]), 2);
    assert!(
        message.contains("empty is no run and holds none"),
        "{message}"
    );
    fs::write(here.join("broken.toml"), "model.kind = 'gru'").expect("a file");
    let message = fail(fw_train(here).args(["compare", "many", "broken.toml"]), 2);
    assert!(
        message.contains("broken.toml: [task] has no kind"),
        "{message}"
    );
    for seeds in ["0", "two", "1,1"] {
        let message = fail(&mut compare(here, &["--seeds", seeds]), 2);
        assert!(
            message.contains("it must be a number of seeds"),
            "{message}"
        );
    }
    let message = fail(&mut compare(here, &["--set", "training.seed=4"]), 2);
    assert!(
        message.contains("choose the seeds with --seeds"),
        "{message}"
    );
    assert!(!here.join("out").exists(), "nothing was begun");

    succeed(&mut compare(here, &["--seeds", "1"]));
    let message = fail(
        &mut compare(here, &["--seeds", "1", "--set", "training.steps=80"]),
        2,
    );
    assert!(
        message.contains("out/fast-seed0 was made with other settings"),
        "{message}"
    );
    assert!(
        message.contains("training.steps is 60 there and 80 here"),
        "{message}"
    );

    // A damaged result is named and left out; what else there is is reported.
    fs::write(here.join("out/gru-seed0/result.json"), "{").expect("a file");
    let message = fail(fw_train(here).args(["report", "out"]), 1);
    assert!(
        message.contains("out/gru-seed0 is not a usable run folder: result.json is damaged"),
        "{message}"
    );
    assert_eq!(rows(&results(&here.join("out")), 0).len(), 1);
}

/// A run folder with made-up numbers.
fn made_up(folder: &Path, name: &str, seed: u64, version: &str, pairs: usize, errors: [f64; 2]) {
    let run = folder.join(format!("{name}-seed{seed}"));
    fs::create_dir_all(&run).expect("a folder");
    let config = format!(
        "task.kind = 'associative-retrieval'\ntask.pairs = {pairs}\nmodel.kind = 'gru'\nmodel.d_hidden = {}\n\
         optimizer.kind = 'adam'\ntraining.seed = {seed}\ntraining.steps = 1000\n",
        name.len()
    );
    let environment = format!(
        r#"{{"version": "{version}", "burn": "0.22.1", "device": "flex", "threads": 2, "system": "linux x86_64", "started": "2026-11-25T12:00:00Z"}}"#
    );
    let [validation, test] = errors;
    let records = [(500, 0.4, 10.0), (1000, validation, 20.0)].map(|(step, error, seconds)| {
        format!(r#"{{"step": {step}, "split": "validation", "loss": 1.0, "error": {error}, "seconds": {seconds}}}"#)
    });
    let result = format!(
        r#"{{"test": {{"loss": 0.5, "error": {test}}}, "validation": {{"loss": 0.5, "error": {validation}}}, "steps": 1000, "best_step": 1000,
           "slices": [{{"setting": "pairs", "value": 1, "loss": 0.1, "error": 0.0}}, {{"setting": "pairs", "value": 8, "loss": 1.0, "error": 0.75}}],
           "seconds": 20.0, "milliseconds_per_step": 18.5, "peak_memory": 73400320, "parameters": 12345, "state_size": {},
           "task": "associative-retrieval", "model": "gru", "d_hidden": 8, "seed": {seed}}}"#,
        8 * name.len()
    );
    for (file, content) in [
        ("config.toml", config),
        ("environment.json", environment),
        ("metrics.jsonl", records.join("\n")),
        ("result.json", result),
    ] {
        fs::write(run.join(file), content).expect("a file");
    }
}

fn report(here: &Path, folder: &str) -> String {
    succeed(fw_train(here).args(["report", folder]));
    fs::read_to_string(here.join(folder).join("report.md")).expect("a report")
}

/// Lines of a table, and what stands under it.
fn tables(report: &str) -> String {
    let lines = report
        .lines()
        .filter(|line| !line.starts_with("![") && !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn tables_are_as_drawn() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let runs = here.join("runs");
    for (seed, test) in [(0, 0.01), (1, 0.02), (2, 0.03)] {
        made_up(&runs, "good", seed, "0.1.0", 4, [0.04, test]);
        made_up(&runs, "worse", seed, "0.1.0", 4, [0.2, 0.2 + test]);
    }
    let expected = "\
# Comparison
## associative-retrieval
|  | seeds | error, % | loss, nats | parameters | state, numbers a sample | updates | updates to an error of 5 % | training time | ms an update | peak memory, MiB |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
| good | 3 | **2.00 ± 1.00** | 0.5000 ± 0.0000 | 12,345 | 32 | 1,000 | 1,000 | 20 s | 18.5 | 70 |
| worse | 3 | 22.00 ± 1.00 | 0.5000 ± 0.0000 | 12,345 | 40 | 1,000 | - | 20 s | 18.5 | 70 |
Test split, with the checkpoint that was best on the validation split; mean ± standard deviation over seeds. Bold: better than every other row beyond doubt. With five seeds or more in common, the 95 % interval of the mean difference, seed by seed, lies below 0; with fewer, each of its three or more is better than every seed of the other.
| pairs | 1 | 8 |
|---|---:|---:|
| good | 0.00 ± 0.00 | 75.00 ± 0.00 |
| worse | 0.00 ± 0.00 | 75.00 ± 0.00 |
error, % on the test split with other values of pairs.
Made on 2026-11-25 with version 0.1.0, Burn 0.22.1, on flex, 2 threads a run of linux x86_64; 2.0 min of training in all.";
    let text = report(here, "runs");
    assert_eq!(tables(&text), expected);
}

#[test]
fn how_many_seeds_have_reached_a_goal_is_said() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let runs = here.join("runs");
    for (seed, test) in [(4, 0.01), (5, 0.07), (6, 0.02), (7, 0.03)] {
        made_up(&runs, "net", seed, "0.1.0", 4, [0.04, test]);
        let config = runs.join(format!("net-seed{seed}/config.toml"));
        let text = fs::read_to_string(&config).expect("settings");
        let goals = "test.pairs = [1, 8]\ngoal = [{ reach = { error = 0.03 } }, { reach = { loss = 0.9 }, at = { pairs = 8 } }]";
        fs::write(&config, text + goals).expect("settings");
    }
    let text = report(here, "runs");
    let expected = "\
|  | goal | reached | median | worst | seeds | each seed |
|---|---:|---:|---:|---:|---:|---:|
| net | an error of 3 % at most | 3 of 4 | 2.50 | 7.00 | 4 to 7 | 1.00, 7.00, 2.00, 3.00 |
| net | a loss of 0.9 at most, at pairs = 8 | 0 of 4 | 1.0000 | 1.0000 | 4 to 7 | 1.0000, 1.0000, 1.0000, 1.0000 |
What each experiment is to reach on the test split; errors in %.";
    assert!(tables(&text).contains(expected), "{text}");
    let results = results(&runs);
    let goals = &rows(&results, 0)[0]["goals"];
    assert_eq!(goals[0]["reached_by_seeds"], serde_json::json!([4, 6, 7]));
    assert_eq!(goals[1]["goal"]["at"]["pairs"], 8);
    let html = fs::read_to_string(runs.join("report.html")).expect("a report");
    assert!(html.contains("<caption>Goals</caption>") && html.contains("<td>3 of 4</td>"));
}

#[test]
fn other_versions_tasks_and_missing_seeds_are_said_and_not_averaged() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let runs = here.join("runs");
    for seed in 0..3 {
        made_up(&runs, "same", seed, "0.1.0", 4, [0.1, 0.1]);
    }
    made_up(&runs, "alone", 1, "0.1.0", 4, [0.1, 0.1]);
    made_up(&runs, "other", 0, "0.1.0", 8, [0.1, 0.1]);
    fs::create_dir(here.join("later")).expect("a folder");
    made_up(&here.join("later"), "same", 0, "0.2.0", 4, [0.1, 0.5]);
    made_up(&here.join("later"), "alone", 1, "0.1.0", 4, [0.1, 0.1]);
    succeed(fw_train(here).args(["report", "runs", "later", "--out", "out"]));
    let text = fs::read_to_string(here.join("out/report.md")).expect("a report");
    for said in [
        "The runs are of different versions (version 0.1.0 with Burn 0.22.1, version 0.2.0 with Burn 0.22.1)",
        "later/alone-seed1 is the same experiment and seed as runs/alone-seed1: left out.",
        "## associative-retrieval, pairs = 4",
        "## associative-retrieval, pairs = 8",
        "same (version 0.1.0, Burn 0.22.1, flex) | 3 | 10.00 ± 0.00",
        "same (version 0.2.0, Burn 0.22.1, flex) | 1 | 50.00",
        "Not every row has the seeds 0, 1, 2: alone has 1; same (version 0.2.0, Burn 0.22.1, flex) has 0.",
    ] {
        assert!(text.contains(said), "{said}\n{text}");
    }
    assert!(
        !text.contains("**"),
        "one seed is no reason to call a row the best"
    );
}

#[test]
fn costs_are_measured_and_fitted() {
    let folder = TempDir::new().expect("a folder");
    let here = folder.path();
    let arguments = [
        "cost",
        "--models",
        "gru,fast-weights,delta-net",
        "--lengths",
        "24,48",
        "--widths",
        "8,16",
        "--batch-size",
        "2",
    ];
    succeed(fw_train(here).args(arguments).args(["--out", "cost"]));
    let data = json(here.join("cost/cost.json"));
    for sweep in ["by_length", "by_size"] {
        let costs = data[sweep].as_array().expect("costs");
        assert_eq!(costs.len(), 6);
        assert!(
            costs
                .iter()
                .all(|cost| cost["milliseconds"].as_f64() > Some(0.0)
                    && cost["forward_milliseconds"].as_f64() > Some(0.0)
                    && cost["step_microseconds"].as_f64() > Some(0.0))
        );
    }
    // A matrix and three steps of queries, keys and values; a matrix and a state beside it; a state alone.
    assert_eq!(data["by_size"][1]["state_size"], 16 * 16 + 3 * 48);
    assert_eq!(data["by_size"][3]["state_size"], 16 * 16 + 16);
    assert_eq!(data["by_size"][5]["state_size"], 16);
    let text = fs::read_to_string(here.join("cost/cost.md")).expect("a report");
    assert!(text.contains("| fast-weights |") && text.contains("figures/cost-time-by-length.svg"));
    assert!(text.contains("## One step at a time"), "{text}");
    assert!(here.join("cost/figures/cost-time-by-length.svg").is_file());
    let message = fail(fw_train(here).args(["cost", "--lengths", "8"]), 2);
    assert!(
        message.contains("--lengths is 8; it must be at least 21"),
        "{message}"
    );
}
