//! What a model's forward and backward pass cost, by the length of the sequence and by the size of the state.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::Device;
use fw_core::{AnyState, Recurrent};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::Error;
use crate::device::DeviceName;
use crate::error::require;
use crate::experiment::Experiment;
use crate::models::Model;
use crate::plain::{from_json, to_json};
use crate::tasks::{Inputs, Split, Task};
use crate::training::{measure, memory_now, peak_memory, reset_peak_memory};

/// What is measured: a kind of model of a width, on sequences of a length, copy memory as the task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The model's kind.
    pub model: String,
    /// Units of the layer; of a Turing machine the units of its controller, and as many locations in its memory.
    pub width: usize,
    /// Steps of a sequence.
    pub length: usize,
    /// Sequences at once.
    pub batch_size: usize,
}

/// What a report measures: models of one width on sequences of several lengths, and of several widths on sequences of one length.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweeps {
    /// Of one width.
    pub by_length: Vec<Case>,
    /// Of one length.
    pub by_size: Vec<Case>,
}

impl Sweeps {
    /// The lengths are measured at the first width, and the widths at the first length of at least 128, or else at the first. All are sorted, and none comes
    /// twice.
    ///
    /// # Errors
    /// If there is no width or no length, or a case cannot be measured.
    pub fn new(
        models: &[String],
        widths: &[usize],
        lengths: &[usize],
        batch_size: usize,
    ) -> Result<Self, Error> {
        let (Some(&width), Some(&first)) = (widths.first(), lengths.first()) else {
            return Err(Error::usage("--widths and --lengths need a number each"));
        };
        let length = lengths.iter().copied().find(|&length| length >= 128);
        let length = length.unwrap_or(first);
        let of_all = |sizes: &[[usize; 2]]| {
            let models = sorted(models).into_iter();
            let cases = models.flat_map(|model| {
                let sizes = sizes.iter();
                let case = move |&[width, length]: &[usize; 2]| Case {
                    model: model.clone(),
                    width,
                    length,
                    batch_size,
                };
                sizes.map(case).collect::<Vec<Case>>()
            });
            cases.collect::<Vec<Case>>()
        };
        let lengths: Vec<_> = sorted(lengths).into_iter().map(|of| [width, of]).collect();
        let widths: Vec<_> = sorted(widths).into_iter().map(|of| [of, length]).collect();
        let sweeps = Sweeps {
            by_length: of_all(&lengths),
            by_size: of_all(&widths),
        };
        let cases = sweeps.by_length.iter().chain(&sweeps.by_size);
        cases.clone().try_for_each(Case::validate)?;
        Ok(sweeps)
    }
}

fn sorted<T: Clone + Ord>(all: &[T]) -> Vec<T> {
    let mut all = all.to_vec();
    all.sort_unstable();
    all.dedup();
    all
}

/// What it costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// What was measured.
    #[serde(flatten)]
    pub case: Case,
    /// Numbers carried for each sample at the end of a sequence.
    pub state_size: usize,
    /// Time of a forward and a backward pass, in milliseconds: the median of several.
    pub milliseconds: f64,
    /// Time of a forward pass alone, without a graph, in milliseconds.
    pub forward_milliseconds: f64,
    /// Time of one more step after the sequence, by itself and without a graph, in microseconds.
    pub step_microseconds: f64,
    /// Memory that these take at most, the parameters left out, in bytes; where the system tells.
    pub memory: Option<u64>,
}

/// Symbols of the task, twice in a sequence.
const SYMBOLS: usize = 10;
/// The shortest sequence that the task has.
pub const LEAST_LENGTH: usize = 2 * SYMBOLS + 1;

impl Case {
    fn experiment(&self) -> Result<Experiment, Error> {
        let mut model = Table::new();
        model.insert("kind".to_owned(), Value::from(self.model.as_str()));
        let widths: &[&str] = match self.model.as_str() {
            "ntm-lstm" | "ntm-ff" => &["d_controller", "memory_size"],
            _ => &["d_hidden"],
        };
        for &field in widths {
            model.insert(field.to_owned(), Value::from(self.width as i64));
        }
        let mut document: Table = "optimizer.kind = 'adam'\ntask.kind = 'copy-memory'"
            .parse()
            .expect("valid TOML");
        document.insert("model".to_owned(), model.into());
        let assignments = [
            format!("task.symbols={SYMBOLS}"),
            format!("task.steps={}", self.length.saturating_sub(2 * SYMBOLS)),
        ];
        Experiment::from_document(document, &assignments)
    }

    /// Whether it can be measured.
    ///
    /// # Errors
    /// If there is no such model, it cannot have this width, or the sequence is too short.
    pub fn validate(&self) -> Result<(), Error> {
        require(
            self.length >= LEAST_LENGTH,
            "--lengths",
            self.length,
            &format!("be at least {LEAST_LENGTH}"),
        )?;
        self.experiment().map(drop)
    }

    /// Measures it in this process, which should have done nothing else: what it held before counts as memory that was free.
    ///
    /// # Errors
    /// As [`validate`](Self::validate), and if the device is not to be had.
    pub fn measure(&self, device: DeviceName) -> Result<Cost, Error> {
        let experiment = self.experiment()?;
        let on = device.open()?.autodiff();
        let task = experiment.task.task();
        let model = experiment.model.init(task, 0, &on)?;
        Ok(self.time(model, task, &on, device.is_cpu()))
    }

    fn time(&self, model: Model, task: &dyn Task, device: &Device, is_on_cpu: bool) -> Cost {
        let indices = || 0..self.batch_size as u64;
        let batch = task.batch(Split::Train, indices(), device);
        let pass = || {
            let started = Instant::now();
            let objective =
                measure(model.logits(batch.inputs.clone()), batch.targets.clone()).objective;
            let loss = objective.clone().inner();
            drop(objective.backward());
            // Waits for the device.
            let _: f32 = loss.into_scalar();
            started.elapsed().as_secs_f64() * 1000.0
        };
        reset_peak_memory();
        let before = memory_now();
        let milliseconds = median(pass);
        let memory = peak_memory().zip(before).filter(|_| is_on_cpu);

        let (model, device) = (model.valid(), device.clone().inner());
        let inputs = task.batch(Split::Train, indices(), &device).inputs;
        let answer = |inputs: &Inputs, state: Option<AnyState>| {
            let started = Instant::now();
            let (logits, state) = model.logits_from(inputs.clone(), state);
            let _: f32 = logits.sum().into_scalar();
            (started.elapsed().as_secs_f64() * 1000.0, state)
        };
        let forward_milliseconds = median(|| answer(&inputs, None).0);
        let (_, after_all) = answer(&inputs, None);
        let last = inputs.last_step();
        // Each step is given the state of the one before, as in use: who keeps it has what is remembered copied. It begins anew now and then,
        // so that it is a step at this length that is timed.
        let (mut before, mut n_steps) = (None, 0);
        let step = || {
            if n_steps % STEPS_ON == 0 {
                before = None;
            }
            n_steps += 1;
            let given = before.take().unwrap_or_else(|| after_all.clone());
            let (milliseconds, after) = answer(&last, Some(given));
            before = Some(after);
            milliseconds
        };
        let step_microseconds = 1000.0 * median(step);
        Cost {
            case: self.clone(),
            state_size: model.layer.state_size(self.length),
            milliseconds,
            forward_milliseconds,
            step_microseconds,
            memory: memory.map(|(peak, before)| peak.saturating_sub(before)),
        }
    }

    /// Measures it in a process of its own, by `fw-train cost --case`.
    ///
    /// # Errors
    /// If that process cannot be started, or fails.
    pub fn measure_apart(&self, program: &Path, device: DeviceName) -> Result<Cost, Error> {
        let case = to_json(self);
        let child = Command::new(program)
            .args(["cost", "--device", device.name(), "--case", &case])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.map_err(Error::file("start", program))?;
        // The pipe closes when this process ends, however it ends, and so ends the other.
        let pipe = child.stdin.take();
        let output = child.wait_with_output();
        let output = output.map_err(Error::file("wait for", program))?;
        drop(pipe);
        let failed = || {
            Error::Incomplete(format!(
                "{} of width {} could not be measured at length {}",
                self.model, self.width, self.length
            ))
        };
        if !output.status.success() {
            return Err(failed());
        }
        from_json(&output.stdout).map_err(|_| failed())
    }
}

/// Passes go on until so many are made and so much time is spent.
const LEAST_PASSES: usize = 5;
const LEAST_TIME: Duration = Duration::from_millis(400);
/// Steps that are timed one after another, before they begin again behind the sequence.
const STEPS_ON: usize = 16;

/// The median of the times that a pass tells. The first, which also makes ready what later ones find, does not count.
fn median(mut pass: impl FnMut() -> f64) -> f64 {
    pass();
    let started = Instant::now();
    let mut times = Vec::new();
    while times.len() < LEAST_PASSES || started.elapsed() < LEAST_TIME {
        times.push(pass());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The power p of `y ∝ x^p` that fits points best, by least squares of the logarithms over the upper half of them: below, what
/// is the same at every x still shows. Nothing, of fewer than two.
pub fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let upper = &points[points.len() / 2..];
    let upper = if upper.len() < 3 { points } else { upper };
    let logs: Vec<(f64, f64)> = upper
        .iter()
        .filter(|(x, y)| *x > 0.0 && *y > 0.0)
        .map(|(x, y)| (x.ln(), y.ln()))
        .collect();
    let n = logs.len() as f64;
    let mean_x = logs.iter().map(|point| point.0).sum::<f64>() / n;
    let mean_y = logs.iter().map(|point| point.1).sum::<f64>() / n;
    let spread: f64 = logs.iter().map(|point| (point.0 - mean_x).powi(2)).sum();
    let together: f64 = logs
        .iter()
        .map(|point| (point.0 - mean_x) * (point.1 - mean_y))
        .sum();
    (logs.len() >= 2 && spread > 0.0).then(|| together / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_law_has_its_exponent() {
        let points = |y: fn(f64) -> f64| {
            let points = [16.0, 32.0, 64.0, 128.0, 256.0, 512.0].map(|x| (x, y(x)));
            exponent(&points).expect("an exponent")
        };
        assert!((points(|x| 3.0 * x * x) - 2.0).abs() < 1e-9);
        assert!((points(|x| 0.1 * x) - 1.0).abs() < 1e-9);
        // A constant is left behind in the lower half.
        assert!((points(|x| x + 10.0) - 1.0).abs() < 0.1);
        assert_eq!(exponent(&[(1.0, 2.0)]), None);
    }

    #[test]
    fn a_sweep_goes_over_sizes_in_order_and_none_comes_twice() {
        let models = ["lstm", "gru", "lstm"].map(str::to_owned);
        let sweeps = Sweeps::new(&models, &[16, 8], &[256, 32, 128, 32], 2).expect("sweeps");
        let told = |cases: &[Case]| -> Vec<String> {
            let cases = cases.iter();
            let told = cases.map(|case| format!("{} {} {}", case.model, case.width, case.length));
            told.collect()
        };
        let lengths = [32, 128, 256];
        let of = |model: &str| lengths.map(|length| format!("{model} 16 {length}"));
        assert_eq!(told(&sweeps.by_length), [of("gru"), of("lstm")].concat());
        assert_eq!(
            told(&sweeps.by_size),
            ["gru 8 256", "gru 16 256", "lstm 8 256", "lstm 16 256"]
        );
        let error = Sweeps::new(&models, &[], &[32], 2).expect_err("no width");
        assert_eq!(
            error.to_string(),
            "--widths and --lengths need a number each"
        );
    }

    #[test]
    fn a_case_that_cannot_be_measured_says_why() {
        let case = |model: &str, length| Case {
            model: model.to_owned(),
            width: 8,
            length,
            batch_size: 2,
        };
        assert!(case("gru", 21).validate().is_ok());
        let error = |case: Case| case.validate().expect_err("refused").to_string();
        assert_eq!(
            error(case("gru", 20)),
            "--lengths is 20; it must be at least 21"
        );
        assert!(error(case("gro", 30)).contains("model.kind is \"gro\"; it must be one of"));
    }
}
