//! Two recurrent layers of one's own beside an LSTM: the same task, budget, seeds and report.
//!
//! `cargo run --release -p own-layer`, then open `runs/own-layer/report.html`. Another folder may be given as the argument, and
//! settings behind it: `cargo run --release -p own-layer -- FOLDER training.steps=100`. Runs that are there are not trained again: remove the folder once
//! you have changed a layer.
//!
//! A layer joins by implementing `Recurrent`, here in the 30 lines of `MinGru`, and `Layer`, which is empty unless it has something to
//! show: weights that a report draws as a picture.

use std::path::PathBuf;

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};
use fw_core::{LstmConfig, Recurrent};
use fw_train::Error;
use fw_train::compare::Study;
use fw_train::models::Layer;

/// Where a number of a sequence is marked, remember it; at the end, say the sum of the two that were.
const EXPERIMENT: &str = "
[task]
kind = 'adding'
length = 40

[optimizer]
kind = 'adam'
learning_rate = 0.005
clip = { norm = 1.0 }

[training]
steps = 2000
batch_size = 64
evaluate_every = 200

[test]
length = [40, 80, 160]
";

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or("runs/own-layer".to_owned());
    let settings: Vec<String> = arguments.collect();
    let study = Study::new(PathBuf::from(&folder), EXPERIMENT, &settings)?;
    study.train("min-gru", |d_input, device| {
        MinGru::new(d_input, 32, device)
    })?;
    study.train("leaky", |d_input, device| Leaky::new(d_input, 32, device))?;
    study.train("lstm", |d_input, device| {
        LstmConfig::new(d_input, 32).init(device)
    })?;
    for section in study.report()?.sections {
        for row in section.rows {
            let format = section.task.task().format();
            for result in row.runs.iter().filter_map(|run| run.result.as_ref()) {
                let test = result.test.in_words(format);
                println!("{}, seed {}: {test}", row.name, result.seed);
            }
        }
    }
    println!("{folder}/report.html");
    Ok(())
}

/// The minimal gated unit of Feng et al. 2024: `h_t = h_{t-1} + z_t (c_t - h_{t-1})`, `z_t = σ(x_t W_z)`, `c_t = x_t W_c`.
#[derive(Module, Debug)]
struct MinGru {
    /// W_z and W_c beside each other.
    input: Linear,
    d_hidden: usize,
}

impl MinGru {
    fn new(d_input: usize, d_hidden: usize, device: &Device) -> Self {
        let input = LinearConfig::new(d_input, 2 * d_hidden).init(device);
        MinGru { input, d_hidden }
    }
}

impl Recurrent for MinGru {
    type State = Tensor<2>;

    fn d_input(&self) -> usize {
        self.input.weight.val().dims()[0]
    }
    fn d_output(&self) -> usize {
        self.d_hidden
    }
    fn state_size(&self, _seq_length: usize) -> usize {
        self.d_hidden
    }
    fn initial_state(&self, batch_size: usize, device: &Device) -> Tensor<2> {
        Tensor::zeros([batch_size, self.d_hidden], device)
    }
    /// What does not depend on the state, for all steps at once.
    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        self.input.forward(input)
    }
    fn advance(&self, projected_t: Tensor<2>, hidden: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let [gate, candidate] =
            [0, self.d_hidden].map(|from| projected_t.clone().narrow(1, from, self.d_hidden));
        let hidden = hidden.clone() + sigmoid(gate) * (candidate - hidden);
        (hidden.clone(), hidden)
    }
}

impl Layer for MinGru {}

/// Units that forget at rates of their own: `h_t = a h_{t-1} + x_t W`, `a = σ(rate)`.
#[derive(Module, Debug)]
struct Leaky {
    input: Linear,
    rate: Param<Tensor<1>>,
}

impl Leaky {
    fn new(d_input: usize, d_hidden: usize, device: &Device) -> Self {
        Leaky {
            input: LinearConfig::new(d_input, d_hidden).init(device),
            rate: Param::from_tensor(Tensor::full([d_hidden], 3.0, device)),
        }
    }
}

impl Recurrent for Leaky {
    type State = Tensor<2>;

    fn d_input(&self) -> usize {
        self.input.weight.val().dims()[0]
    }
    fn d_output(&self) -> usize {
        self.rate.val().dims()[0]
    }
    fn state_size(&self, _seq_length: usize) -> usize {
        self.d_output()
    }
    fn initial_state(&self, batch_size: usize, device: &Device) -> Tensor<2> {
        Tensor::zeros([batch_size, self.d_output()], device)
    }
    fn project(&self, input: Tensor<3>) -> Tensor<3> {
        self.input.forward(input)
    }
    fn advance(&self, projected_t: Tensor<2>, hidden: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let hidden = hidden * sigmoid(self.rate.val()).unsqueeze_dim(0) + projected_t;
        (hidden.clone(), hidden)
    }
}

impl Layer for Leaky {}
