//! Time of batches with lengths and with resets beside plain ones, forward and backward; and of one step alone beside 100 steps together.
//!
//! ```text
//! cargo bench -p fw-benches --bench sequences
//! cargo bench -p fw-benches --bench sequences -- 'lstm.*resets'
//! ```

use std::hint::black_box;

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use fw_core::{
    DeltaNetConfig, FastWeightsConfig, GruConfig, LstmConfig, NtmConfig, Recurrent, SabConfig,
    Segments,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const BATCH_SIZE: usize = 64;
const SEQ_LENGTH: usize = 100;

/// Calls `$bench(criterion, name, layer)` with each layer, at sizes that users have.
macro_rules! for_each_layer {
    ($criterion:expr, $device:expr, $bench:ident) => {{
        let device = $device;
        let lstm = || LstmConfig::new(64, 128).init(&device);
        $bench($criterion, "lstm", lstm());
        $bench($criterion, "gru", GruConfig::new(64, 128).init(&device));
        let fast_weights = FastWeightsConfig::new(64, 64).init(&device);
        $bench($criterion, "fast-weights", fast_weights);
        let delta_net = DeltaNetConfig::gated(64, 2, 32).init(&device);
        $bench($criterion, "gated-delta-net", delta_net);
        $bench($criterion, "ntm", NtmConfig::new(9, 100).init(&device));
        let sab = SabConfig::new().init(lstm(), &device);
        $bench($criterion, "sab", sab);
    }};
}

/// Nothing begins anew; one step in ten does; samples are of 20 to 99 steps.
fn segments(criterion: &mut Criterion) {
    fn bench<L: Recurrent>(criterion: &mut Criterion, name: &str, layer: L) {
        let device = Device::flex().autodiff();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let row = |rng: &mut ChaCha8Rng| {
            (0..SEQ_LENGTH)
                .map(|_| rng.random_range(0..10) == 0)
                .collect()
        };
        let flags: Vec<Vec<bool>> = (0..BATCH_SIZE).map(|_| row(&mut rng)).collect();
        let lengths: Vec<usize> = (0..BATCH_SIZE).map(|_| rng.random_range(20..100)).collect();
        let plain = Segments::new(BATCH_SIZE, SEQ_LENGTH);
        let resets = plain.clone().with_resets(&flags).expect("flags that fit");
        let lengths = plain
            .clone()
            .with_lengths(&lengths)
            .expect("lengths that fit");
        let shape = [BATCH_SIZE, SEQ_LENGTH, layer.d_input()];
        let input = Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for (name, segments) in [("plain", plain), ("resets", resets), ("lengths", lengths)] {
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let input: Tensor<3> = input.clone().require_grad();
                    let (output, _) = layer.forward_segments(input, None, &segments);
                    black_box(output.backward())
                });
            });
        }
    }
    for_each_layer!(criterion, Device::flex().autodiff(), bench);
}

/// One step after a hundred, and a hundred steps together, without autodiff.
fn steps(criterion: &mut Criterion) {
    fn bench<L: Recurrent>(criterion: &mut Criterion, name: &str, layer: L) {
        for batch_size in [1, 32] {
            let device = Device::flex();
            let shape = [batch_size, SEQ_LENGTH, layer.d_input()];
            let input = Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device);
            let (_, state) = layer.forward(input.clone(), None);
            let mut group = criterion.benchmark_group(format!("{name}, batch {batch_size}"));
            group.sample_size(10);
            group.bench_function("100-steps", |bencher| {
                bencher.iter(|| black_box(layer.forward(input.clone(), None)));
            });
            let one: Tensor<2> = input.clone().narrow(1, 0, 1).squeeze_dim(1);
            group.bench_function("one-step", |bencher| {
                // Each step has the state of the one before to itself; they begin again now and then, so that what is remembered stays of one
                // size.
                let (mut before, mut n_steps) = (None, 0);
                bencher.iter(|| {
                    if n_steps % 100 == 0 {
                        before = None;
                    }
                    n_steps += 1;
                    let given = before.take().unwrap_or_else(|| state.clone());
                    let (output, after) = layer.step(one.clone(), given);
                    before = Some(after);
                    output
                });
            });
        }
    }
    for_each_layer!(criterion, Device::flex(), bench);
}

criterion_group!(benches, segments, steps);
criterion_main!(benches);
