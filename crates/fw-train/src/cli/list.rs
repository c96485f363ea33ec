//! `fw-train list`

use clap::Args;

use crate::Error;
use crate::cli::output;
use crate::device::DeviceName;
use crate::models::KINDS;
use crate::tasks::TaskConfig;
use crate::training::{OptimizerKind, PRETRAINED};

/// List the tasks, models, optimisers, pretrained nets and devices of this build.
#[derive(Debug, Args)]
pub(super) struct ListArgs {}

impl ListArgs {
    pub fn run(self) -> Result<(), Error> {
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
}

fn print(title: &str, kinds: &[(&str, &str)]) -> Result<(), Error> {
    output::line(format_args!("{title}"))?;
    for (name, about) in kinds {
        output::line(format_args!("  {name:<26} {about}"))?;
    }
    output::line(format_args!(""))
}
