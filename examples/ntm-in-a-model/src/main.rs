//! A Neural Turing Machine as one part of a larger model.
//!
//! ```text
//! cargo run --release -p ntm-in-a-model            about half a minute
//! ```
//!
//! Letters are read and then said again. The machine stands between an embedding and a linear map, with a layer
//! normalisation behind it, like any recurrent layer of Burn. At the end the trained model is fed letter by letter, the machine's
//! state handed on by the caller: what was read is in there, and nowhere else.

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use fw_core::{Ntm, NtmConfig, NtmState, Recurrent};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const N_LETTERS: usize = 6;
/// What the model reads while it speaks.
const SILENCE: i64 = N_LETTERS as i64;
const LENGTH: usize = 5;
const BATCH: usize = 32;

/// Embedding -> Neural Turing Machine -> layer normalisation -> linear.
#[derive(Module, Debug)]
struct Parrot {
    embedding: Embedding,
    machine: Ntm,
    norm: LayerNorm,
    output: Linear,
}

impl Parrot {
    fn new(device: &Device) -> Self {
        let machine = NtmConfig::new(8, 32)
            .with_memory_size(12)
            .with_word_size(10)
            .init(device);
        let width = machine.d_output();
        Parrot {
            embedding: EmbeddingConfig::new(N_LETTERS + 1, 8).init(device),
            machine,
            norm: LayerNormConfig::new(width).init(device),
            output: LinearConfig::new(width, N_LETTERS).init(device),
        }
    }

    /// `[batch, steps]` to logits `[batch, steps, N_LETTERS]`, going on from `state`.
    fn forward(&self, letters: Tensor<2, Int>, state: Option<NtmState>) -> (Tensor<3>, NtmState) {
        let (signal, state) = self.machine.forward(self.embedding.forward(letters), state);
        (self.output.forward(self.norm.forward(signal)), state)
    }
}

/// Random letters, `[BATCH, LENGTH]`, and the same followed by silence, `[BATCH, 2 LENGTH]`.
fn batch(rng: &mut ChaCha8Rng, device: &Device) -> (Tensor<2, Int>, Tensor<2, Int>) {
    let letters: Vec<i64> = (0..BATCH * LENGTH)
        .map(|_| rng.random_range(0..SILENCE))
        .collect();
    let letters = Tensor::from_data(TensorData::new(letters, [BATCH, LENGTH]), device);
    let silence = Tensor::full([BATCH, LENGTH], SILENCE, device);
    (letters.clone(), Tensor::cat(vec![letters, silence], 1))
}

fn main() {
    let device = Device::flex().autodiff();
    device.seed(0);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut model = Parrot::new(&device);
    let mut optimizer = AdamConfig::new().init();
    for step in 1..=1500 {
        let (letters, input) = batch(&mut rng, &device);
        let (logits, _) = model.forward(input, None);
        let said = log_softmax(logits.narrow(1, LENGTH, LENGTH), 2);
        let loss = said.gather(2, letters.unsqueeze_dim(2)).mean().neg();
        if step % 300 == 0 {
            println!("step {step}: {:.4} nats", loss.clone().into_scalar::<f32>());
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(0.005, model, gradients);
    }

    // Letter by letter, without gradients.
    let model = model.valid();
    let (letters, input) = batch(&mut rng, &device.inner());
    let (mut state, mut said) = (None, Vec::new());
    for letter in input.split(1, 1) {
        let (logits, next) = model.forward(letter, state);
        said.push(logits.argmax(2).squeeze_dim::<2>(2));
        state = Some(next);
    }
    let said = Tensor::cat(said.split_off(LENGTH), 1);
    let right = 100.0 * said.equal(letters).float().mean().into_scalar::<f32>();
    println!("{right:.1} % of letters right, fed one by one");
}
