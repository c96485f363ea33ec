//! A layer alone: forward and backward, to the gradients of the input and every parameter.

use std::hint::black_box;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use fw_benches::Sizes;
use fw_core::{
    ElmanConfig, ExecutionPath, FastWeights, FastWeightsConfig, GruConfig, LstmConfig, Recurrent,
    SLstmConfig,
};

use crate::Work;
use crate::numbers::{fingerprint, wave};

/// The work of a variant, if it is one of these.
pub fn work(variant: &str, sizes: Sizes, device: &Device) -> Option<Box<dyn Work>> {
    let (d_input, d_hidden) = (sizes.d_input, sizes.d_hidden);
    let shape = [sizes.batch_size, sizes.seq_length, d_input];
    let input = TensorData::new(wave(0.9, shape.iter().product()), shape);
    let input = Tensor::<3>::from_data(input, device);
    Some(match variant {
        "fused" => layer(input, fast_weights(sizes, ExecutionPath::Fused, device)),
        "composed" => layer(input, fast_weights(sizes, ExecutionPath::Composed, device)),
        "lstm" => layer(input, LstmConfig::new(d_input, d_hidden).init(device)),
        "gru" => layer(input, GruConfig::new(d_input, d_hidden).init(device)),
        "rnn" => layer(input, ElmanConfig::new(d_input, d_hidden).init(device)),
        "slstm" => layer(input, SLstmConfig::new(d_input, d_hidden).init(device)),
        "burn-lstm" => {
            let layer = burn::nn::LstmConfig::new(d_input, d_hidden, true).init(device);
            gradients(input, move |input| layer.forward(input, None).0)
        }
        "burn-gru" => {
            let layer = burn::nn::GruConfig::new(d_input, d_hidden, true).init(device);
            gradients(input, move |input| layer.forward(input, None))
        }
        "burn-rnn" => {
            let layer = burn::nn::RnnConfig::new(d_input, d_hidden, true).init(device);
            gradients(input, move |input| layer.forward(input, None).0)
        }
        _ => return None,
    })
}

/// The layer with the parameters that the peers have (`protocol.py`).
fn fast_weights(sizes: Sizes, path: ExecutionPath, device: &Device) -> FastWeights {
    let (d_input, d_hidden) = (sizes.d_input, sizes.d_hidden);
    let mut layer = FastWeightsConfig::new(d_input, d_hidden)
        .with_inner_steps(sizes.inner_steps)
        .with_path(path)
        .init(device);
    let row = |frequency| Tensor::<1>::from_data(wave(frequency, d_hidden).as_slice(), device);
    let weight = TensorData::new(wave(0.7, d_input * d_hidden), [d_input, d_hidden]);
    layer.input.weight = Param::from_tensor(Tensor::from_data(weight, device) * 0.3);
    layer.input.bias = Some(Param::from_tensor(row(1.1) * 0.1));
    if let Some(norm) = &mut layer.norm {
        norm.gamma = Param::from_tensor(row(1.3) * 0.1 + 0.5);
        norm.beta = Some(Param::from_tensor(row(1.7) * 0.1));
    }
    layer
}

fn layer<L: Recurrent + 'static>(input: Tensor<3>, layer: L) -> Box<dyn Work> {
    gradients(input, move |input| layer.forward(input, None).0)
}

struct Gradients<F> {
    input: Tensor<3>,
    forward: F,
}

fn gradients<F: Fn(Tensor<3>) -> Tensor<3> + 'static>(
    input: Tensor<3>,
    forward: F,
) -> Box<dyn Work> {
    Box::new(Gradients { input, forward })
}

impl<F: Fn(Tensor<3>) -> Tensor<3>> Gradients<F> {
    /// The output, and the gradient of the input when that of the output is ones.
    fn call(&self) -> (Tensor<3>, Tensor<3>) {
        let input = self.input.clone().require_grad();
        let output = (self.forward)(input.clone());
        let gradients = output.backward();
        let gradient = input.grad(&gradients).expect("the input is a leaf");
        (output.inner(), gradient)
    }
}

impl<F: Fn(Tensor<3>) -> Tensor<3>> Work for Gradients<F> {
    fn run(&mut self) {
        black_box(self.call());
    }

    fn fingerprint(&mut self) -> [f64; 2] {
        let (output, gradient) = self.call();
        [fingerprint(output), fingerprint(gradient)]
    }
}
