//! A step of training: forward, backward and an update by Adam, of a model that copies.

use burn::module::Module;
use burn::nn::loss::{BinaryCrossEntropyLossConfig, CrossEntropyLossConfig};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Int, Tensor, TensorData};
use fw_core::ops::project_linear;
use fw_core::{
    ExecutionPath, Lstm, LstmConfig, Ntm, NtmConfig, NtmController, Recurrent, Sab, SabConfig,
};
use serde::Deserialize;

use crate::Work;
use crate::numbers::{parameter, wave};

const RATE: f64 = 1e-3;
/// As in PyTorch.
const EPSILON: f32 = 1e-8;

/// Sizes of the Neural Turing Machine's step: memory 128 x 20, a controller of 100 units, 8 bits.
#[derive(Clone, Copy, Deserialize)]
pub struct NtmSizes {
    batch_size: usize,
    /// Vectors to copy: the sequence has twice as many steps, and one.
    length: usize,
}

const BITS: usize = 8;
const D_CONTROLLER: usize = 100;

/// The work of a variant, if it is one of these.
pub fn ntm(variant: &str, sizes: NtmSizes, device: &Device) -> Option<Box<dyn Work>> {
    let path = match variant {
        "ntm-fused" => ExecutionPath::Fused,
        "ntm-composed" => ExecutionPath::Composed,
        _ => return None,
    };
    let NtmSizes { batch_size, length } = sizes;
    let config = NtmConfig::new(BITS + 1, D_CONTROLLER).with_path(path);
    let mut layer = config.init(device);
    let (d_reads, d_gates) = (config.word_size, 4 * D_CONTROLLER);
    let NtmController::Lstm(controller) = &mut layer.controller else {
        unreachable!("the default controller is an LSTM");
    };
    let lstm = &mut controller.layers[0];
    lstm.input.weight = parameter(0.1, 0.7, [BITS + 1 + d_reads, d_gates], device);
    lstm.input.bias = Some(parameter(0.1, 1.1, [d_gates], device));
    lstm.w_hidden = parameter(0.1, 1.3, [D_CONTROLLER, d_gates], device);
    for (head, frequency) in [
        (&mut layer.read_head.linear, 1.7),
        (&mut layer.write_head.linear, 1.9),
    ] {
        let width = head.weight.dims()[1];
        head.weight = parameter(0.3, frequency, [D_CONTROLLER, width], device);
        head.bias = Some(parameter(0.1, frequency, [width], device));
    }
    let memory = [config.memory_size, config.word_size];
    layer.initial_memory = parameter(0.1, 2.3, memory, device).set_require_grad(false);
    let model = Copier {
        output: output(D_CONTROLLER + d_reads, BITS, device),
        layer,
    };

    let steps = 2 * length + 1;
    let mut input = vec![0.0_f32; batch_size * steps * (BITS + 1)];
    let bits = wave(0.9, batch_size * length * BITS);
    for (index, bit) in bits.iter().enumerate() {
        let (row, bit_index) = (index / BITS, index % BITS);
        let step = row / length * steps + row % length;
        input[step * (BITS + 1) + bit_index] = f32::from(u8::from(*bit > 0.0));
    }
    for sample in 0..batch_size {
        input[(sample * steps + length) * (BITS + 1) + BITS] = 1.0;
    }
    let input = TensorData::new(input, [batch_size, steps, BITS + 1]);
    let input = Tensor::<3>::from_data(input, device);
    let target = input
        .clone()
        .narrow(1, 0, length)
        .narrow(2, 0, BITS)
        .int()
        .inner();
    let loss = BinaryCrossEntropyLossConfig::new()
        .with_logits(true)
        .init(device);
    Some(training(model, move |model: &Copier<Ntm>| {
        let answer = model.forward(input.clone()).narrow(1, length + 1, length);
        loss.forward(answer, Tensor::from_inner(target.clone()))
    }))
}

/// Sizes of the step of Sparse Attentive Backtracking over an LSTM: ten symbols, a wait, and their copy.
#[derive(Clone, Copy, Deserialize)]
pub struct SabSizes {
    batch_size: usize,
    /// Steps between the symbols and their copy.
    steps: usize,
    d_hidden: usize,
    top_k: usize,
    attention_interval: usize,
    truncation_length: usize,
}

const SYMBOLS: usize = 10;
const N_TOKENS: usize = 10;

/// The work of a variant, if it is one of these.
pub fn sab(variant: &str, sizes: SabSizes, device: &Device) -> Option<Box<dyn Work>> {
    let path = match variant {
        "sab-fused" => ExecutionPath::Fused,
        "sab-composed" => ExecutionPath::Composed,
        _ => return None,
    };
    let SabSizes {
        batch_size,
        steps,
        d_hidden,
        ..
    } = sizes;
    let mut lstm = LstmConfig::new(N_TOKENS, d_hidden).init(device);
    lstm.input.weight = parameter(0.3, 0.7, [N_TOKENS, 4 * d_hidden], device);
    lstm.input.bias = Some(parameter(0.1, 1.1, [4 * d_hidden], device));
    lstm.w_hidden = parameter(0.1, 1.3, [d_hidden, 4 * d_hidden], device);
    let mut layer = SabConfig::new()
        .with_top_k(Some(sizes.top_k))
        .with_attention_interval(sizes.attention_interval)
        .with_truncation_length(Some(sizes.truncation_length))
        .with_path(path)
        .init(lstm, device);
    let attention = layer.attention.as_mut().expect("top_k is above 0");
    attention.query = parameter(0.3, 1.7, [d_hidden, d_hidden], device);
    attention.key = parameter(0.3, 1.9, [d_hidden, d_hidden], device);
    attention.v = Some(parameter(0.3, 2.3, [d_hidden], device));
    let model = Copier {
        output: output(2 * d_hidden, N_TOKENS, device),
        layer,
    };

    // Symbols 0 to 7, 8 to wait, 9 to ask for the copy.
    let seq_length = 2 * SYMBOLS + steps;
    let mut tokens = vec![8_i64; batch_size * seq_length];
    let mut answers = tokens.clone();
    let symbols = wave(0.9, batch_size * SYMBOLS);
    for (sample, symbols) in symbols.chunks(SYMBOLS).enumerate() {
        let first = sample * seq_length;
        for (place, number) in symbols.iter().enumerate() {
            let symbol = ((number + 1.0) * 4.0).floor().min(7.0) as i64;
            tokens[first + place] = symbol;
            answers[first + SYMBOLS + steps + place] = symbol;
        }
        tokens[first + SYMBOLS + steps - 1] = 9;
    }
    let mut input = vec![0.0_f32; tokens.len() * N_TOKENS];
    for (step, token) in tokens.iter().enumerate() {
        input[step * N_TOKENS + *token as usize] = 1.0;
    }
    let input = TensorData::new(input, [batch_size, seq_length, N_TOKENS]);
    let input = Tensor::<3>::from_data(input, device);
    let answers = TensorData::new(answers, [batch_size * seq_length]);
    let answers = Tensor::<1, Int>::from_data(answers, device);
    let loss = CrossEntropyLossConfig::new().init(device);
    Some(training(model, move |model: &Copier<Sab<Lstm>>| {
        let logits = model.forward(input.clone());
        let logits = logits.reshape([batch_size * seq_length, N_TOKENS]);
        loss.forward(logits, answers.clone())
    }))
}

/// A recurrent layer and a linear map.
#[derive(Module, Debug)]
struct Copier<L: Recurrent> {
    layer: L,
    output: Linear,
}

impl<L: Recurrent> Copier<L> {
    fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        project_linear(&self.output, self.layer.forward(input, None).0)
    }
}

fn output(d_input: usize, d_output: usize, device: &Device) -> Linear {
    let mut output = LinearConfig::new(d_input, d_output).init(device);
    output.weight = parameter(0.3, 2.9, [d_input, d_output], device);
    output.bias = Some(parameter(0.1, 3.1, [d_output], device));
    output
}

struct Training<M, F> {
    model: Option<M>,
    optimizer: ModuleOptimizer,
    loss: F,
}

fn training<M: Module + 'static, F: Fn(&M) -> Tensor<1> + 'static>(
    model: M,
    loss: F,
) -> Box<dyn Work> {
    Box::new(Training {
        model: Some(model),
        optimizer: AdamConfig::new().with_epsilon(EPSILON).init(),
        loss,
    })
}

impl<M: Module, F: Fn(&M) -> Tensor<1>> Training<M, F> {
    /// The loss before the update.
    fn step(&mut self) -> Tensor<1> {
        let model = self.model.take().expect("put back after each step");
        let loss = (self.loss)(&model);
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        self.model = Some(self.optimizer.step(RATE, model, gradients));
        loss
    }
}

impl<M: Module, F: Fn(&M) -> Tensor<1>> Work for Training<M, F> {
    fn run(&mut self) {
        self.step();
    }

    /// The loss at first, and after three updates.
    fn fingerprint(&mut self) -> [f64; 2] {
        let losses = [0; 4].map(|_| self.step().into_scalar::<f32>());
        [losses[0], losses[3]].map(f64::from)
    }
}
