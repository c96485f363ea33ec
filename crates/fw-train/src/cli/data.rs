//! `fw-train data`

use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
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
use crate::tasks::{Batch, Format, Sample, Split, Targets, Task, TaskConfig};

/// Write a task's samples to a file: the very ones that `train` and `test` use, for other frameworks.
///
/// FILE.jsonl holds one object a line. FILE.safetensors holds, for a task of tokens, `tokens` [n, seq_length] and `classes` [n],
/// int64; for a task of vectors `inputs` [n, seq_length, d_input], `targets` [n, seq_length, d_output] and `mask` [n, seq_length] (1 where
/// an answer is asked for), float32, with zeros behind the end of a shorter sequence.
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

#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Tokens {
        input: String,
        target: String,
        tokens: &'a [u32],
        class: u32,
    },
    Vectors {
        inputs: &'a [Vec<f32>],
        /// `null` where no answer is asked for.
        targets: &'a [Option<Vec<f32>>],
    },
}

fn jsonl(task: &dyn Task, samples: &[Sample]) -> Vec<u8> {
    let mut content = Vec::new();
    for sample in samples {
        let line = match sample {
            Sample::Tokens(sample) => Line::Tokens {
                input: task.input_text(&sample.tokens),
                target: task.class_text(sample.class),
                tokens: &sample.tokens,
                class: sample.class,
            },
            Sample::Vectors(sample) => Line::Vectors {
                inputs: &sample.inputs,
                targets: &sample.targets,
            },
        };
        serde_json::to_writer(&mut content, &line).expect("plain data can be written as JSON");
        content.push(b'\n');
    }
    content
}

fn safetensors(task: &dyn Task, samples: &[Sample]) -> Result<Vec<u8>, Error> {
    Ok(match task.format() {
        Format::Tokens { .. } => {
            let samples: Vec<_> = samples.iter().map(Sample::tokens).collect();
            let bytes = |ids: &mut dyn Iterator<Item = u32>| -> Vec<u8> {
                ids.flat_map(|id| i64::from(id).to_le_bytes()).collect()
            };
            let tokens = samples.iter().flat_map(|sample| &sample.tokens);
            let tokens = bytes(&mut tokens.copied());
            let classes = bytes(&mut samples.iter().map(|sample| sample.class));
            write_tensors(&[
                (
                    "tokens",
                    Dtype::I64,
                    vec![samples.len(), task.seq_length()],
                    tokens,
                ),
                ("classes", Dtype::I64, vec![samples.len()], classes),
            ])
        }
        Format::Vectors { .. } => {
            let device = DeviceName::default_of_build().open()?;
            let batch = Batch::new(task.format(), samples, &device);
            let Targets::Bits { bits, mask, .. } = batch.targets else {
                unreachable!("a task of vectors has bits as targets");
            };
            let mask = mask.squeeze_dim::<2>(2);
            write_tensors(&[
                float_tensor("inputs", batch.inputs.vectors()),
                float_tensor("targets", bits),
                float_tensor("mask", mask),
            ])
        }
    })
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

fn write_tensors(tensors: &[NamedTensor]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes);
        (*name, view.expect("the shape fits the data"))
    });
    safetensors::serialize(views, None).expect("plain tensors can be written")
}
