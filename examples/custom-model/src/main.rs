//! A model of one's own around [`FastWeights`], trained with Burn's own training loop.
//!
//! ```text
//! cargo run --release -p custom-model              trains for 8 epochs, about half a minute
//! cargo run --release -p custom-model -- 1         .. or for as many as you say
//! ```
//!
//! The task: three colours are shown, each followed by a shape; then one of the colours again. Which shape
//! followed it? A layer of `fw-core` is used like any layer of Burn: made from a configuration, a field of a
//! `#[derive(Module)]` struct, called in `forward`.

use std::error::Error;

use burn::data::dataloader::{DataLoaderBuilder, batcher::Batcher};
use burn::data::dataset::InMemDataset;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::optim::AdamConfig;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::{
    ClassificationOutput, InferenceStep, Learner, SupervisedTraining, TrainOutput, TrainStep,
};
use fw_core::{FastWeights, FastWeightsConfig, Recurrent};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const N_COLORS: usize = 8;
const N_SHAPES: usize = 8;
const N_PAIRS: usize = 3;
const SEQ_LENGTH: usize = 2 * N_PAIRS + 1;

/// Embedding -> fast weights -> linear.
#[derive(Module, Debug)]
struct Recall {
    embedding: Embedding,
    memory: FastWeights,
    output: Linear,
}

impl Recall {
    fn new(device: &Device) -> Self {
        Recall {
            embedding: EmbeddingConfig::new(N_COLORS + N_SHAPES, 32).init(device),
            memory: FastWeightsConfig::new(32, 32).init(device),
            output: LinearConfig::new(32, N_SHAPES).init(device),
        }
    }

    /// `[batch_size, SEQ_LENGTH]` to logits `[batch_size, N_SHAPES]`.
    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let (states, _) = self.memory.forward(self.embedding.forward(tokens), None);
        let last = states.narrow(1, SEQ_LENGTH - 1, 1).squeeze_dim(1);
        self.output.forward(last)
    }

    fn classify(&self, batch: RecallBatch) -> ClassificationOutput {
        let logits = self.forward(batch.tokens);
        let loss = CrossEntropyLossConfig::new()
            .init(&logits.device())
            .forward(logits.clone(), batch.shapes.clone());
        ClassificationOutput::new(loss, logits, batch.shapes)
    }
}

impl TrainStep for Recall {
    type Input = RecallBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: RecallBatch) -> TrainOutput<ClassificationOutput> {
        let output = self.classify(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Recall {
    type Input = RecallBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: RecallBatch) -> ClassificationOutput {
        self.classify(batch)
    }
}

/// Three pairs and a colour, and the shape that followed it.
#[derive(Clone, Debug)]
struct RecallSample {
    tokens: [usize; SEQ_LENGTH],
    shape: usize,
}

fn samples(n: usize, seed: u64) -> Vec<RecallSample> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let sample = |_| {
        let mut colors: Vec<usize> = (0..N_COLORS).collect();
        colors.shuffle(&mut rng);
        let shapes: [usize; N_PAIRS] = std::array::from_fn(|_| rng.random_range(0..N_SHAPES));
        let asked = rng.random_range(0..N_PAIRS);
        let tokens = std::array::from_fn(|i| match i {
            i if i + 1 == SEQ_LENGTH => colors[asked],
            i if i % 2 == 0 => colors[i / 2],
            i => N_COLORS + shapes[i / 2],
        });
        RecallSample {
            tokens,
            shape: shapes[asked],
        }
    };
    (0..n).map(sample).collect()
}

#[derive(Clone, Debug)]
struct RecallBatch {
    tokens: Tensor<2, Int>,
    shapes: Tensor<1, Int>,
}

#[derive(Clone)]
struct RecallBatcher;

impl Batcher<RecallSample, RecallBatch> for RecallBatcher {
    fn batch(&self, items: Vec<RecallSample>, device: &Device) -> RecallBatch {
        let n = items.len();
        let tokens: Vec<i32> = items
            .iter()
            .flat_map(|item| item.tokens)
            .map(|t| t as i32)
            .collect();
        let shapes: Vec<i32> = items.iter().map(|item| item.shape as i32).collect();
        RecallBatch {
            tokens: Tensor::from_data(TensorData::new(tokens, [n, SEQ_LENGTH]), device),
            shapes: Tensor::from_data(TensorData::new(shapes, [n]), device),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let epochs = match std::env::args().nth(1) {
        Some(epochs) => epochs.parse()?,
        None => 8,
    };
    let device = Device::flex();
    device.seed(0);
    let loader = |n, seed| {
        DataLoaderBuilder::new(RecallBatcher)
            .batch_size(64)
            .shuffle(seed)
            .set_device(device.clone())
            .build(InMemDataset::new(samples(n, seed)))
    };
    let folder = std::env::temp_dir().join("fw-core-custom-model");
    let model = Recall::new(&device.clone().autodiff());
    let training = SupervisedTraining::new(&folder, loader(40_000, 1), loader(4_000, 2))
        .metrics((AccuracyMetric::new(), LossMetric::new()))
        .num_epochs(epochs)
        .summary();
    let trained = training
        .launch(Learner::new(model, AdamConfig::new().init(), 2e-3))
        .model;

    let batch = RecallBatcher.batch(samples(2_000, 3), &device);
    let answers = trained.forward(batch.tokens).argmax(1).squeeze_dim::<1>(1);
    let right = answers
        .equal(batch.shapes)
        .float()
        .mean()
        .into_scalar::<f32>();
    println!(
        "{:.1} % of 2,000 new sequences answered rightly",
        100.0 * right
    );
    Ok(())
}
