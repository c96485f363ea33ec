//! `fw-train list`

use clap::Args;

use crate::Error;
use crate::cli::output;
use crate::device::DeviceName;
use crate::models::{AroundSettings, KINDS};
use crate::settings::Field;
use crate::tasks::TaskConfig;
use crate::training::{OptimizerKind, PRETRAINED, TrainingConfig};

/// List the tasks, models, optimisers, pretrained nets and devices of this build; or the settings of one of them.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// A task, a model, an optimiser, or `training`: every setting with its default, what it can be and what it means
    kind: Option<String>,
}

/// The section that settings stand in, what is said about their kind, and what they are.
type Listed = (&'static str, &'static str, Vec<Field>);

impl ListArgs {
    pub fn run(self) -> Result<(), Error> {
        let Some(kind) = &self.kind else {
            return all();
        };
        let found = settings_of(kind);
        if found.is_empty() {
            return Err(Error::usage(format!(
                "there is no task, model or optimiser {kind}; `fw-train list` names them all"
            )));
        }
        for (section, about, fields) in found {
            output::line(format_args!("[{section}], {kind}: {about}\n"))?;
            for field in fields {
                let default = match &field.default {
                    Some(default) => format!(" = {default}"),
                    None => ", not set".to_owned(),
                };
                output::line(format_args!("  {}{default}", field.name))?;
                for line in wrapped(&format!("{}. {}", field.values, field.meaning)) {
                    output::line(format_args!("      {line}"))?;
                }
            }
            output::line(format_args!(""))?;
        }
        Ok(())
    }
}

/// Everything that is called so.
fn settings_of(kind: &str) -> Vec<Listed> {
    let about = |kinds: &[(&str, &'static str)]| {
        let mut kinds = kinds.iter();
        kinds
            .find(|(name, _)| *name == kind)
            .map(|(_, about)| *about)
    };
    let task = TaskConfig::fields(kind).zip(about(TaskConfig::KINDS));
    let task = task.map(|(fields, about)| ("task", about, fields));
    let mut models = KINDS.iter();
    let model = models.find(|known| known.name() == kind).map(|known| {
        let settings = known.settings();
        let fields = settings.fields().iter().cloned();
        let fields = fields.chain(AroundSettings::fields()).collect();
        ("model", known.about(), fields)
    });
    let optimizer = OptimizerKind::fields(kind).zip(about(OptimizerKind::KINDS));
    let optimizer = optimizer.map(|(fields, about)| ("optimizer", about, fields));
    let training = (kind == "training").then(|| {
        let about = "how long, in which steps, and when it ends";
        ("training", about, TrainingConfig::fields())
    });
    let all = [task, model, optimizer, training];
    all.into_iter().flatten().collect()
}

/// Lines of at most 90 letters, broken between words.
fn wrapped(text: &str) -> Vec<String> {
    const WIDTH: usize = 90;
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(word.to_owned());
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines
}

fn all() -> Result<(), Error> {
    print("tasks", TaskConfig::KINDS)?;
    let models = KINDS.iter().map(|kind| (kind.name(), kind.about()));
    print("models", &models.collect::<Vec<_>>())?;
    print("optimizers", OptimizerKind::KINDS)?;
    let nets = PRETRAINED.iter().map(|(name, about, _)| (*name, *about));
    print("pretrained nets", &nets.collect::<Vec<_>>())?;
    output::line(format_args!("devices"))?;
    for device in DeviceName::ALL {
        let state = if device.is_in_build() {
            ""
        } else {
            " (not in this build)"
        };
        output::line(format_args!(
            "  {:<26} {}{state}",
            device.name(),
            device.description()
        ))?;
        if let Some(instructions) = device.instructions() {
            let known = device.known_instructions().join(", ");
            output::line(format_args!(
                "  {:<26}   instructions: {instructions} (FW_INSTRUCTIONS: one of {known})",
                ""
            ))?;
        }
        for (index, adapter) in device.adapters().iter().enumerate() {
            output::line(format_args!("  {:<26}   {index}: {adapter}", ""))?;
        }
    }
    Ok(())
}

fn print(title: &str, kinds: &[(&str, &str)]) -> Result<(), Error> {
    output::line(format_args!("{title}"))?;
    for (name, about) in kinds {
        output::line(format_args!("  {name:<26} {about}"))?;
    }
    output::line(format_args!(""))
}
