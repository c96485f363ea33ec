//! Only the content addressing of a Neural Turing Machine, in a model of one's own.
//!
//! ```text
//! cargo run --release -p content-lookup            a few seconds
//! ```
//!
//! The model classifies from examples that it is shown: five labelled points, then one without a label (matching
//! networks, Vinyals et al. 2016). No machine, no recurrence: the examples are the rows of a memory, what they are
//! compared by is learned, and [`ntm::content`] and [`ntm::read`] do the look-up. Two numbers of a point say where on a
//! circle it is, which is what makes it alike; six more are noise, three times as large.

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::softplus;
use burn::tensor::{Device, Tensor, TensorData};
use fw_core::ops::ntm;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const N_SHOWN: usize = 5;
const WIDTH: usize = 8;
const BATCH: usize = 64;

/// Learns by what points are alike.
#[derive(Module, Debug)]
struct Lookup {
    embedding: Linear,
    /// How sure the look-up is, before a softplus: β.
    strength: Param<Tensor<1>>,
}

impl Lookup {
    fn new(device: &Device) -> Self {
        Lookup {
            embedding: LinearConfig::new(WIDTH, 4).with_bias(false).init(device),
            strength: Param::from_data([2.0], device),
        }
    }

    /// The probability of each label: shown `[batch, N_SHOWN, WIDTH]`, their labels (one-hot) `[batch, N_SHOWN,
    /// N_SHOWN]`, asked `[batch, 1, WIDTH]` to `[batch, N_SHOWN]`.
    fn forward(&self, shown: Tensor<3>, labels: Tensor<3>, asked: Tensor<3>) -> Tensor<2> {
        let memory = self.embedding.forward(shown);
        let key = self.embedding.forward(asked);
        let strength = softplus(self.strength.val(), 1.0);
        let strength = strength.reshape([1, 1, 1]).expand([key.dims()[0], 1, 1]);
        ntm::read(labels, ntm::content(memory, key, strength)).squeeze_dim(1)
    }
}

/// Points shown, their labels and the point asked for, whose label is that of the shown one nearest on the circle.
fn batch(rng: &mut ChaCha8Rng, device: &Device) -> [Tensor<3>; 4] {
    let (mut shown, mut labels, mut asked, mut answers) = (vec![], vec![], vec![], vec![]);
    for _ in 0..BATCH {
        let turn: f32 = rng.random_range(0.0..1.0);
        let mut order: Vec<usize> = (0..N_SHOWN).collect();
        order.shuffle(rng);
        let right = rng.random_range(0..N_SHOWN);
        let one_hot = |label: usize| (0..N_SHOWN).map(move |other| f32::from(other == label));
        for &place in &order {
            let at = turn + place as f32 / N_SHOWN as f32;
            shown.extend(point(rng, at));
            labels.extend(one_hot(place));
        }
        let near: f32 = rng.random_range(-0.05..0.05);
        asked.extend(point(rng, turn + right as f32 / N_SHOWN as f32 + near));
        answers.extend(one_hot(right));
    }
    let tensor = |values: Vec<f32>, shape: [usize; 3]| {
        Tensor::from_data(TensorData::new(values, shape), device)
    };
    [
        tensor(shown, [BATCH, N_SHOWN, WIDTH]),
        tensor(labels, [BATCH, N_SHOWN, N_SHOWN]),
        tensor(asked, [BATCH, 1, WIDTH]),
        tensor(answers, [BATCH, 1, N_SHOWN]),
    ]
}

/// A point at a place on the circle, a full turn being 1, and noise.
fn point(rng: &mut ChaCha8Rng, at: f32) -> [f32; WIDTH] {
    let (sin, cos) = (at * std::f32::consts::TAU).sin_cos();
    let mut point = [0.0; WIDTH];
    point[..2].copy_from_slice(&[sin, cos]);
    point[2..].fill_with(|| rng.random_range(-3.0..3.0));
    point
}

/// Share of right answers, in %.
fn accuracy(model: &Lookup, rng: &mut ChaCha8Rng, device: &Device) -> f32 {
    let [shown, labels, asked, answers] = batch(rng, device);
    let said = model.forward(shown, labels, asked).argmax(1);
    let right = said.equal(answers.squeeze_dim::<2>(1).argmax(1));
    100.0 * right.float().mean().into_scalar::<f32>()
}

fn main() {
    let device = Device::flex().autodiff();
    device.seed(1);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut model = Lookup::new(&device);
    let mut optimizer = AdamConfig::new().init();
    println!(
        "{:.0} % right before training",
        accuracy(&model, &mut rng, &device)
    );
    for _ in 0..1000 {
        let [shown, labels, asked, answers] = batch(&mut rng, &device);
        let said = model.forward(shown, labels, asked).clamp_min(1e-6).log();
        let loss = (said * answers.squeeze_dim(1)).sum() / -(BATCH as f64);
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(0.01, model, gradients);
    }
    println!(
        "{:.0} % right after 1000 updates",
        accuracy(&model, &mut rng, &device)
    );
}
