//! A comparison as data: JSON and CSV.

use serde_json::{Value, json};

use crate::plain::to_json_pretty;
use crate::report::comparison::numbers::{Summary, interval};
use crate::report::comparison::{Comparison, Row, Run, TaskSection};

impl Comparison {
    /// `results.json`: sections, rows, runs.
    pub(super) fn json(&self) -> String {
        let sections = self.sections.iter().map(|section| {
            let rows = section.rows.iter().map(|row| row.json(section));
            json!({
                "task": section.title,
                "settings": section.task,
                "score": section.score_name(),
                "threshold": section.threshold().map(|threshold| threshold.to_string()),
                "notes": section.notes,
                "rows": rows.collect::<Vec<Value>>(),
            })
        });
        let all = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "notes": self.notes,
            "skipped": self.skipped,
            "sections": sections.collect::<Vec<Value>>(),
        });
        String::from_utf8(to_json_pretty(&all)).expect("JSON is UTF-8")
    }

    /// `results.csv`: a line for each run that has ended.
    pub(super) fn csv(&self) -> String {
        let mut csv = csv::Writer::from_writer(Vec::new());
        let mut write = |fields: &[String]| csv.write_record(fields).expect("memory takes all");
        write(&HEADER.map(str::to_owned));
        for section in &self.sections {
            for row in &section.rows {
                let ended = row.runs.iter().filter_map(|run| run.csv(section, row));
                ended.for_each(|fields| write(&fields));
            }
        }
        let csv = csv.into_inner().expect("memory takes all");
        String::from_utf8(csv).expect("all fields are UTF-8")
    }
}

const HEADER: [&str; 24] = [
    "task",
    "name",
    "model",
    "seed",
    "version",
    "burn",
    "device",
    "threads",
    "started",
    "steps",
    "restarts",
    "best_step",
    "batch_size",
    "test_error",
    "test_loss",
    "test_perfect",
    "validation_error",
    "validation_loss",
    "parameters",
    "state_size",
    "seconds",
    "milliseconds_per_step",
    "peak_memory",
    "steps_to_threshold",
];

impl Row {
    fn json(&self, section: &TaskSection) -> Value {
        let scores = section.scores(self).into_iter().map(|(_, score)| score);
        let scores: Vec<f64> = scores.collect();
        let summary = Summary::of(&scores);
        let runs = self.runs.iter().chain(&self.unfinished).map(|run| {
            json!({
                "path": run.path,
                "seed": run.seed(),
                "environment": run.environment,
                "result": run.result,
                "steps_to_threshold": section.threshold().and_then(|threshold| run.step_to(threshold)),
            })
        });
        let goals = self.any().experiment.goals.iter().map(|goal| {
            let reached = self.results().filter(|result| goal.is_reached_by(result));
            let seeds = reached.map(|result| result.seed);
            json!({ "goal": goal, "reached_by_seeds": seeds.collect::<Vec<u64>>() })
        });
        json!({
            "name": self.name,
            "choice": self.any().choice(),
            "goals": goals.collect::<Vec<Value>>(),
            "model": self.any().experiment.model.layer.kind(),
            "experiment": self.any().experiment,
            "mean": summary.map(|summary| summary.mean),
            "interval": interval(&scores),
            "standard_deviation": summary.and_then(|summary| summary.deviation),
            "runs": runs.collect::<Vec<Value>>(),
        })
    }
}

impl Run {
    fn csv(&self, section: &TaskSection, row: &Row) -> Option<[String; HEADER.len()]> {
        let result = self.result.as_ref()?;
        let environment = &self.environment;
        let or_empty = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let threshold = section.threshold();
        Some([
            section.title.clone(),
            row.name.clone(),
            result.model.clone(),
            result.seed.to_string(),
            environment.version.clone(),
            environment.burn.clone(),
            environment.devices.to_string(),
            environment.threads.to_string(),
            environment.started.clone(),
            result.steps.to_string(),
            result.restarts.to_string(),
            result.best_step.to_string(),
            self.experiment.training.batch_size.to_string(),
            result.test.error.to_string(),
            result.test.loss.to_string(),
            or_empty(result.test.perfect),
            result.validation.error.to_string(),
            result.validation.loss.to_string(),
            result.parameters.to_string(),
            result.state_size.to_string(),
            result.seconds.to_string(),
            or_empty(result.milliseconds_per_step),
            or_empty(result.peak_memory.map(|bytes| bytes as f64)),
            or_empty(threshold.and_then(|threshold| Some(self.step_to(threshold)? as f64))),
        ])
    }
}
