//! Time of a layer's forward pass, and of forward and backward, at sizes that users have.
//!
//! ```text
//! cargo bench -p fw-benches
//! cargo bench -p fw-benches -- '128x50x64x64.*fused'
//! ```

use std::hint::black_box;

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use fw_benches::{GRID, Sizes};
use fw_core::{ElmanConfig, ExecutionPath, FastWeightsConfig, GruConfig, LstmConfig, Recurrent};

fn bench_layer<L: Recurrent>(
    group: &mut BenchmarkGroup<WallTime>,
    name: &str,
    layer: L,
    input: &Tensor<3>,
) {
    let plain = layer.valid();
    let plain_input = input.clone().inner();
    group.bench_function(format!("{name}/forward"), |bencher| {
        bencher.iter(|| black_box(plain.forward(plain_input.clone(), None).0));
    });
    group.bench_function(format!("{name}/forward+backward"), |bencher| {
        bencher.iter(|| {
            let input = input.clone().require_grad();
            black_box(layer.forward(input, None).0.backward())
        });
    });
}

fn layers(criterion: &mut Criterion) {
    let device = Device::flex().autodiff();
    for sizes in GRID {
        let Sizes {
            batch_size,
            seq_length,
            d_input,
            d_hidden,
            inner_steps,
        } = sizes;
        let name = format!("{batch_size}x{seq_length}x{d_input}x{d_hidden}x{inner_steps}");
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        let shape = [batch_size, seq_length, d_input];
        let input = Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let config = FastWeightsConfig::new(d_input, d_hidden).with_inner_steps(inner_steps);
        for (name, path) in [
            ("fused", ExecutionPath::Fused),
            ("composed", ExecutionPath::Composed),
        ] {
            let layer = config.clone().with_path(path).init(&device);
            bench_layer(&mut group, &format!("fast-weights-{name}"), layer, &input);
        }
        let lstm = LstmConfig::new(d_input, d_hidden).init(&device);
        bench_layer(&mut group, "lstm", lstm, &input);
        let gru = GruConfig::new(d_input, d_hidden).init(&device);
        bench_layer(&mut group, "gru", gru, &input);
        let rnn = ElmanConfig::new(d_input, d_hidden).init(&device);
        bench_layer(&mut group, "rnn", rnn, &input);
        group.finish();
    }
}

criterion_group!(benches, layers);
criterion_main!(benches);
