//! `fw-train generate`

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use burn::tensor::{Int, Tensor, TensorData};
use clap::Args;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::cli::loaded::ModelArgs;
use crate::device::DeviceName;
use crate::error::require;

use crate::models::likeliest;
use crate::tasks::{Inputs, Split};
use crate::{CheckpointChoice, Error};

/// Let a net that was trained on a text write more of it, symbol by symbol.
///
/// It reads the prime, and then what it writes itself. The text goes to standard output as it comes; the data that the net was trained on
/// are not needed.
#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// The run's folder, or a file that `export` has written
    run: PathBuf,

    /// What the text begins with; it is printed as well [default: the end of a line, where the net knows it, else a blank, else its first
    /// symbol]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prime: Option<OsString>,

    /// How many symbols to write, characters or bytes
    #[arg(short = 'n', long, default_value_t = 500)]
    length: usize,

    /// Below 1 the net's likelier symbols become likelier still, above 1 less so; at 0 always the likeliest is written
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    temperature: f64,

    /// The seed of the choices: the same run, prime, temperature and seed give the same text
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Which checkpoint: the one that did best on the validation split, or the newest
    #[arg(long, value_enum, default_value_t = CheckpointChoice::Best)]
    checkpoint: CheckpointChoice,

    /// Where to compute: flex, ndarray, wgpu or cuda [default: the first of them that is in this build]
    #[arg(long)]
    device: Option<DeviceName>,
}

impl GenerateArgs {
    pub fn run(self) -> Result<(), Error> {
        let holds = self.temperature.is_finite() && self.temperature >= 0.0;
        let rule = "be a number of at least 0";
        require(holds, "--temperature", self.temperature, rule)?;
        let is_empty = self.prime.as_ref().is_some_and(|prime| prime.is_empty());
        require(!is_empty, "--prime", "empty", "have a symbol at least")?;
        let model = ModelArgs {
            run: Some(self.run.clone()),
            pretrained: None,
            split: Split::Test,
            checkpoint: self.checkpoint,
            assignments: Vec::new(),
            device: self.device,
        };
        let loaded = model.load_without_data(&[])?;
        let task = loaded.experiment.task.task();
        let prime = match &self.prime {
            Some(prime) => task.tokens_of(prime.as_encoded_bytes()),
            None => {
                let known = ["\n", " "]
                    .iter()
                    .find_map(|text| task.tokens_of(text.as_bytes())?.ok());
                task.tokens_of(b"").map(|_| Ok(known.unwrap_or(vec![0])))
            }
        };
        let prime = prime.ok_or_else(|| {
            Error::usage(format!(
                "{} was trained on {}, which is no text; a net that was trained on characters can write one",
                self.run.display(),
                loaded.experiment.task.kind()
            ))
        })?;
        let prime = prime.map_err(|stranger| {
            let n = task.format().d_output() as u32;
            let known: String = (0..n).map(|token| task.token_text(token)).collect();
            Error::usage(format!(
                "--prime has the character {stranger:?}; it must be made of those that the run was trained on: {known:?}"
            ))
        })?;
        let model = loaded.model()?;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut tokens = prime;
        let mut state = None;
        for &token in &tokens {
            if !show(&task.token_bytes(token))? {
                return Ok(());
            }
        }
        for _ in 0..self.length {
            let n = tokens.len();
            let read: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
            let read = Tensor::<2, Int>::from_data(TensorData::new(read, [1, n]), &loaded.device);
            let (logits, last) = model.logits_from(Inputs::Tokens(read), state);
            state = Some(last);
            let logits = logits.narrow(1, n - 1, 1).try_into_vec_as::<f32>();
            let logits = logits.expect("a tensor that was computed can be read");
            let token = chosen(&logits, self.temperature, &mut rng);
            if !show(&task.token_bytes(token))? {
                return Ok(());
            }
            tokens = vec![token];
        }
        show(b"\n").map(drop)
    }
}

/// Writes to standard output at once; false, if nobody reads any more.
fn show(bytes: &[u8]) -> Result<bool, Error> {
    let mut output = std::io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::file("write", Path::new("standard output"))(error)),
    }
}

/// A place drawn with the probabilities that `softmax(logits / temperature)` gives; the likeliest, at 0.
fn chosen(logits: &[f32], temperature: f64, rng: &mut impl Rng) -> u32 {
    let (best, most) = likeliest(logits);
    if temperature == 0.0 {
        return best;
    }
    let weight = |logit: &f32| ((f64::from(*logit) - f64::from(most)) / temperature).exp();
    let total: f64 = logits.iter().map(weight).sum();
    let mut left = total * (rng.next_u32() as f64 / 4_294_967_296.0);
    for (place, logit) in logits.iter().enumerate() {
        left -= weight(logit);
        if left < 0.0 {
            return place as u32;
        }
    }
    // Rounding has left a rest.
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_chosen_as_often_as_the_temperature_says() {
        let logits = [0.0, 1.0, -1.0];
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for temperature in [0.0, 0.5, 1.0, 2.0] {
            let n = 20_000;
            let mut counts = [0; 3];
            for _ in 0..n {
                counts[chosen(&logits, temperature, &mut rng) as usize] += 1;
            }
            let weights = logits.map(|logit: f32| match temperature {
                0.0 => f64::from(u8::from(logit == 1.0)),
                temperature => (f64::from(logit) / temperature).exp(),
            });
            let total: f64 = weights.iter().sum();
            for (count, weight) in counts.into_iter().zip(weights) {
                let expected = n as f64 * weight / total;
                let off = (f64::from(count) - expected).abs();
                assert!(
                    off <= 5.0 * expected.sqrt(),
                    "{temperature}: {count} for {expected}"
                );
            }
        }
    }
}
