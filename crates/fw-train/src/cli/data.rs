//! `fw-train data`

use std::path::{Path, PathBuf};

use burn::tensor::{Int, Tensor};
use clap::Args;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Serialize;
use toml::{Table, Value};

use crate::Error;
use crate::cli::loaded::only_task;
use crate::cli::output;
use crate::device::DeviceName;
use crate::files::write_new;
use crate::settings::{self, Section};
use crate::tasks::{Answer, Batch, Input, Inputs, Sample, Split, Targets, Task, TaskConfig};

/// Write a task's samples to a file: the very ones that `train` and `test` use, for other frameworks.
///
/// FILE.jsonl holds one object a line. FILE.safetensors holds what is read, `tokens` [n, seq_length], int64, or `inputs` [n, seq_length,
/// d_input], float32; and what should be answered: `classes` [n] or [n, seq_length], int64, bits as `targets` [n, seq_length, d_output], or
/// numbers as `targets` [n], float32. Where there are answers at some of the steps, `mask` [n, seq_length] is 1 where one is asked for,
/// and for classes `counts` is 1 where a wrong one is an error. Behind the end of a shorter sequence there are zeros.
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
        let format = FileFormat::of(&self.out)?;
        let config = self.task_config()?;
        let task = config.task();
        task.open()?;
        if let Some(note) = task.note() {
            tell!("{note}");
        }
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
            FileFormat::Jsonl => jsonl(task, &samples),
            FileFormat::Safetensors => safetensors(task, &samples)?,
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

enum FileFormat {
    Jsonl,
    Safetensors,
}

impl FileFormat {
    fn of(path: &Path) -> Result<Self, Error> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("jsonl") => Ok(FileFormat::Jsonl),
            Some("safetensors") => Ok(FileFormat::Safetensors),
            _ => Err(Error::usage(format!(
                "--out is {}; its name must end in .jsonl or .safetensors",
                path.display()
            ))),
        }
    }
}

/// A line of a JSONL file: what is read, then what should be answered.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    read: Read<'a>,
    #[serde(flatten)]
    answered: Answered<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Read<'a> {
    Tokens { input: String, tokens: &'a [u32] },
    Vectors { inputs: &'a [Vec<f32>] },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answered<'a> {
    Class {
        target: String,
        class: u32,
    },
    /// `null` where no answer is asked for.
    Classes {
        target: String,
        classes: Vec<Option<u32>>,
        counts: Vec<bool>,
    },
    /// `null` where no answer is asked for.
    Bits {
        targets: &'a [Option<Vec<f32>>],
    },
    Number {
        target: f32,
    },
}

fn jsonl(task: &dyn Task, samples: &[Sample]) -> Vec<u8> {
    let mut content = Vec::new();
    for sample in samples {
        let line = Line {
            read: match &sample.input {
                Input::Tokens(tokens) => Read::Tokens {
                    input: task.input_text(tokens),
                    tokens,
                },
                Input::Vectors(inputs) => Read::Vectors { inputs },
            },
            answered: match &sample.answer {
                Answer::Class(class) => Answered::Class {
                    target: task.class_text(*class),
                    class: *class,
                },
                Answer::Classes(steps) => Answered::Classes {
                    target: steps
                        .iter()
                        .flatten()
                        .map(|step| task.class_text(step.class))
                        .collect(),
                    classes: steps
                        .iter()
                        .map(|step| step.map(|step| step.class))
                        .collect(),
                    counts: steps
                        .iter()
                        .map(|step| step.is_some_and(|step| step.counts))
                        .collect(),
                },
                Answer::Bits(targets) => Answered::Bits { targets },
                Answer::Number(target) => Answered::Number { target: *target },
            },
        };
        serde_json::to_writer(&mut content, &line).expect("plain data can be written as JSON");
        content.push(b'\n');
    }
    content
}

fn safetensors(task: &dyn Task, samples: &[Sample]) -> Result<Vec<u8>, Error> {
    let device = DeviceName::default_of_build().open()?;
    let batch = Batch::new(task.format(), samples, &device);
    let mut tensors = vec![match batch.inputs {
        Inputs::Tokens(tokens) => int_tensor("tokens", tokens),
        Inputs::Vectors(vectors) => float_tensor("inputs", vectors),
    }];
    match batch.targets {
        Targets::Classes { classes, .. } if task.format().is_answered_at_the_end() => {
            tensors.push(int_tensor("classes", classes.squeeze_dim::<1>(1)));
        }
        Targets::Classes {
            classes,
            mask,
            counts,
            ..
        } => tensors.extend([
            int_tensor("classes", classes),
            float_tensor("mask", mask),
            float_tensor("counts", counts),
        ]),
        Targets::Bits { bits, mask, .. } => tensors.extend([
            float_tensor("targets", bits),
            float_tensor("mask", mask.squeeze_dim::<2>(2)),
        ]),
        Targets::Numbers(numbers) => tensors.push(float_tensor("targets", numbers)),
    }
    Ok(write_tensors(&tensors))
}

/// A tensor of a file: name, type, shape, bytes.
type NamedTensor = (&'static str, Dtype, Vec<usize>, Vec<u8>);

fn float_tensor<const D: usize>(name: &'static str, tensor: Tensor<D>) -> NamedTensor {
    let shape = tensor.dims().to_vec();
    let numbers: Vec<f32> = tensor
        .try_into_vec_as()
        .expect("a tensor that was made can be read");
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
    (name, Dtype::F32, shape, bytes.collect())
}

fn int_tensor<const D: usize>(name: &'static str, tensor: Tensor<D, Int>) -> NamedTensor {
    let shape = tensor.dims().to_vec();
    let numbers: Vec<i64> = tensor
        .try_into_vec_as()
        .expect("a tensor that was made can be read");
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
    (name, Dtype::I64, shape, bytes.collect())
}

fn write_tensors(tensors: &[NamedTensor]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes);
        (*name, view.expect("the shape fits the data"))
    });
    safetensors::serialize(views, None).expect("plain tensors can be written")
}
