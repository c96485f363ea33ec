//! `fw-train data`

use std::path::{Path, PathBuf};

use clap::Args;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Serialize;
use toml::{Table, Value};

use crate::Error;
use crate::cli::loaded::only_task;
use crate::cli::output;
use crate::files::write_new;
use crate::settings::{self, Section};
use crate::tasks::{Sample, Split, Task, TaskConfig};

/// Write a task's samples to a file: the very ones that `train` and `test` use, for other frameworks.
///
/// FILE.jsonl holds one object a line; FILE.safetensors holds `tokens` [n, seq_length] and `classes` [n], int64.
#[derive(Debug, Args)]
pub(super) struct DataArgs {
    /// The task, by the name that `fw-train list` shows
    task: String,

    /// Which part of the data
    #[arg(long, value_enum, default_value_t = Split::Train)]
    split: Split,

    /// How many samples [default: the whole split]
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    number: Option<u64>,

    /// The first sample's index
    #[arg(long, default_value_t = 0)]
    first: u64,

    /// The file, which must not exist yet: *.jsonl or *.safetensors
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Change the task, for example task.pairs=6 (may be repeated)
    #[arg(long = "set", value_name = "task.FIELD=VALUE")]
    assignments: Vec<String>,
}

impl DataArgs {
    pub fn run(self) -> Result<(), Error> {
        let format = Format::of(&self.out)?;
        let config = self.task_config()?;
        let task = config.task();
        let number = self.number.or_else(|| {
            let n_samples = task.n_samples(self.split)?;
            n_samples.checked_sub(self.first).filter(|&rest| rest > 0)
        });
        let number = number.ok_or_else(|| {
            Error::usage(
                "how many samples is not known (the split is endless, or --first lies behind its \
                          end); give a number with -n",
            )
        })?;
        let samples: Vec<Sample> = task
            .range(self.split, self.first, number)?
            .map(|index| task.sample(self.split, index))
            .collect();
        let content = match format {
            Format::Jsonl => jsonl(task, &samples),
            Format::Safetensors => safetensors(task, &samples),
        };
        write_new(&self.out, &content)?;
        output::line(format_args!("{}: {number} samples", self.out.display()))?;
        Ok(())
    }

    fn task_config(&self) -> Result<TaskConfig, Error> {
        let mut document = Table::new();
        let kind = Value::String(self.task.clone());
        document.insert(
            "task".to_owned(),
            Value::Table(Table::from_iter([("kind".to_owned(), kind)])),
        );
        only_task(&self.assignments)?;
        settings::set_all(&mut document, &self.assignments)?;
        let section = Section::take(&mut document, "task")?;
        TaskConfig::from_section(section)
    }
}

enum Format {
    Jsonl,
    Safetensors,
}

impl Format {
    fn of(path: &Path) -> Result<Self, Error> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("jsonl") => Ok(Format::Jsonl),
            Some("safetensors") => Ok(Format::Safetensors),
            _ => Err(Error::usage(format!(
                "--out is {}; its name must end in .jsonl or .safetensors",
                path.display()
            ))),
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    input: String,
    target: String,
    tokens: &'a [u32],
    class: u32,
}

fn jsonl(task: &dyn Task, samples: &[Sample]) -> Vec<u8> {
    let mut content = Vec::new();
    for sample in samples {
        let line = Line {
            input: task.input_text(sample),
            target: task.class_text(sample.class),
            tokens: &sample.tokens,
            class: sample.class,
        };
        serde_json::to_writer(&mut content, &line).expect("plain data can be written as JSON");
        content.push(b'\n');
    }
    content
}

fn safetensors(task: &dyn Task, samples: &[Sample]) -> Vec<u8> {
    let bytes = |ids: &mut dyn Iterator<Item = u32>| -> Vec<u8> {
        ids.flat_map(|id| i64::from(id).to_le_bytes()).collect()
    };
    let tokens = bytes(
        &mut samples
            .iter()
            .flat_map(|sample| sample.tokens.iter().copied()),
    );
    let classes = bytes(&mut samples.iter().map(|sample| sample.class));
    let view =
        |shape, data| TensorView::new(Dtype::I64, shape, data).expect("the shape fits the data");
    let tensors = [
        (
            "tokens",
            view(vec![samples.len(), task.seq_length()], &tokens),
        ),
        ("classes", view(vec![samples.len()], &classes)),
    ];
    safetensors::serialize(tensors, None).expect("plain tensors can be written")
}
