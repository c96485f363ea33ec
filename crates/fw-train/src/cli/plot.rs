//! `fw-train plot`

use std::path::{Path, PathBuf};

use burn::tensor::activation::{sigmoid, softmax};
use clap::Args;

use crate::cli::loaded::{Loaded, ModelArgs};
use crate::cli::output;
use crate::error::require;
use crate::models::{Model, WithModel};
use crate::report::{SampleTrace, check_figure_name, draw_curves, draw_heat_maps};
use crate::tasks::{Answer, AnswerFormat, Input, InputFormat, Split};
use crate::training::RunFolder;
use crate::{CheckpointChoice, Error};

/// Draw learning curves, several runs overlaid, and what a model did on a sample.
///
/// One run: curves.svg and curves.png in its folder, and sample.svg and sample.png: target, answer and error of a sample, and heat
/// maps of what the model wrote, read, recalled and attended to at each step. Several runs: curves.svg and curves.png here.
#[derive(Debug, Args)]
pub(super) struct PlotArgs {
    /// The folders of one or more runs
    #[arg(required = true)]
    runs: Vec<PathBuf>,

    /// Only the curves, or with --sample only the sample, in this file: *.svg or *.png, replaced if it exists
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Which sample of the test split to draw [default: 0]
    #[arg(long, value_name = "INDEX")]
    sample: Option<u64>,

    /// Change the task of the sample, for example task.length=60 (may be repeated)
    #[arg(long = "set", value_name = "task.FIELD=VALUE")]
    assignments: Vec<String>,
}

impl PlotArgs {
    pub fn run(self) -> Result<(), Error> {
        self.out.as_deref().map_or(Ok(()), check_figure_name)?;
        let runs = self
            .runs
            .iter()
            .map(|path| RunFolder::open(path))
            .collect::<Result<Vec<_>, _>>()?;
        let asks_for_sample = self.sample.is_some() || !self.assignments.is_empty();
        let single = match runs.as_slice() {
            [run] => Some(run),
            _ if asks_for_sample => {
                return Err(Error::usage(
                    "--sample and --set draw what one run did; give one folder",
                ));
            }
            _ => None,
        };
        let only_sample = asks_for_sample && self.out.is_some();
        if !only_sample {
            let paths = self.paths(single, "curves");
            draw_curves(&runs, &paths)?;
            print(&paths)?;
        }
        let Some(run) = single else { return Ok(()) };
        // Curves can be drawn from the first records on, a sample from the first checkpoint on.
        let wants_sample = self.out.is_none() && run.has_checkpoint()?;
        if wants_sample && !asks_for_sample {
            let n_steps = run.experiment(&[])?.task.task().seq_length();
            if n_steps > MOST_STEPS {
                eprintln!(
                    "a sample of {n_steps} steps is not drawn: at most {MOST_STEPS} can be told apart"
                );
                return Ok(());
            }
        }
        if asks_for_sample || wants_sample {
            let paths = self.paths(single, "sample");
            self.draw_sample(run.path(), &paths)?;
            print(&paths)?;
        }
        Ok(())
    }

    /// The files of a figure.
    fn paths(&self, single: Option<&RunFolder>, name: &str) -> Vec<PathBuf> {
        if let Some(out) = &self.out {
            return vec![out.clone()];
        }
        let folder = single.map_or(Path::new(""), RunFolder::path);
        ["svg", "png"]
            .map(|extension| folder.join(format!("{name}.{extension}")))
            .to_vec()
    }

    fn draw_sample(&self, run: &Path, paths: &[PathBuf]) -> Result<(), Error> {
        let split = Split::Test;
        let model = ModelArgs {
            run: run.to_owned(),
            split,
            checkpoint: CheckpointChoice::Best,
            assignments: self.assignments.clone(),
            device: None,
        };
        let loaded = model.load()?;
        let index = self.sample.unwrap_or(0);
        let task = loaded.experiment.task.task();
        task.range(split, index, 1)?;
        let n_steps = task.sample(split, index).input.seq_length();
        let rule = format!("have at most {MOST_STEPS} steps to be drawn; set the task to less");
        require(
            n_steps <= MOST_STEPS,
            "sample",
            format!("{n_steps} steps long"),
            &rule,
        )?;
        let trace = loaded.with_model(Trace {
            loaded: &loaded,
            split,
            index,
        })?;
        paths
            .iter()
            .try_for_each(|path| draw_heat_maps(&trace, path))
    }
}

/// More cannot be told apart, and make a file of hundreds of megabytes.
const MOST_STEPS: usize = 2000;

fn print(paths: &[PathBuf]) -> Result<(), Error> {
    paths
        .iter()
        .try_for_each(|path| output::line(format_args!("{}", path.display())))
}

/// What a trained model does on a sample.
struct Trace<'a> {
    loaded: &'a Loaded,
    split: Split,
    index: u64,
}

impl WithModel for Trace<'_> {
    type Output = SampleTrace;

    fn run<M: Model>(self, model: M) -> Result<SampleTrace, Error> {
        let experiment = &self.loaded.experiment;
        let task = experiment.task.task();
        let format = task.format();
        let batch = task.batch(self.split, [self.index], &self.loaded.device);
        let sample = task.sample(self.split, self.index);
        let n_steps = sample.input.seq_length();

        let answers = model.logits(batch.inputs.clone());
        let answers = match format.answer {
            AnswerFormat::Bits { .. } => sigmoid(answers),
            AnswerFormat::Number => answers,
            _ => softmax(answers, 2),
        };
        let numbers: Vec<f32> = answers
            .try_into_vec_as()
            .expect("a tensor that was computed can be read");
        let answers = numbers.chunks_exact(format.d_output());
        let answers: Vec<Option<Vec<f32>>> = answers.map(|row| Some(row.to_vec())).collect();
        let at_the_end = |last| {
            let mut steps = vec![None; n_steps];
            steps[n_steps - 1] = last;
            steps
        };
        let one_hot = |class: u32, n: usize| {
            let places = (0..n).map(|place| f32::from(u8::from(place == class as usize)));
            places.collect::<Vec<f32>>()
        };
        let class = |class| one_hot(class, format.d_output());
        Ok(SampleTrace {
            title: format!(
                "{} on {}: sample {} of the {} split, checkpoint of step {}",
                experiment.model.layer.kind(),
                experiment.task.kind(),
                self.index,
                self.split.name(),
                self.loaded.checkpoint.step
            ),
            inputs: match (sample.input, format.input) {
                (Input::Tokens(tokens), InputFormat::Tokens { n_tokens }) => {
                    let steps = tokens.iter().map(|&token| one_hot(token, n_tokens));
                    steps.collect()
                }
                (Input::Vectors(vectors), _) => vectors,
                (Input::Tokens(_), InputFormat::Vectors { .. }) => {
                    unreachable!("samples are of their task's format")
                }
            },
            input_rows: match format.input {
                InputFormat::Tokens { .. } => "token",
                InputFormat::Vectors { .. } => "number",
            },
            targets: match sample.answer {
                Answer::Bits(targets) => targets,
                Answer::Class(target) => at_the_end(Some(class(target))),
                Answer::Number(target) => at_the_end(Some(vec![target])),
                Answer::Classes(steps) => steps
                    .into_iter()
                    .map(|step| Some(class(step.filter(|step| step.counts)?.class)))
                    .collect(),
            },
            answers: match format.is_answered_at_the_end() {
                true => at_the_end(answers.into_iter().next().flatten()),
                false => answers,
            },
            answer_rows: match format.answer {
                AnswerFormat::Bits { .. } => "bit",
                AnswerFormat::Number => "number",
                _ => "class",
            },
            heat_maps: model.heat_maps(batch.inputs),
        })
    }
}
