//! Time of a layer's forward pass, and of forward and backward, at sizes that users have.
//!
//! ```text
//! cargo bench -p fw-benches
//! ```

use std::hint::black_box;

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use fw_core::{FastWeightsConfig, Form, GruConfig, LstmConfig, Recurrent};

/// Batch size, sequence length, input width, hidden width.
const SIZES: [[usize; 4]; 3] = [[128, 11, 100, 20], [128, 11, 100, 50], [128, 50, 64, 64]];

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
            black_box(layer.forward(input, None).0.sum().backward())
        });
    });
}

fn layers(criterion: &mut Criterion) {
    let device = Device::flex().autodiff();
    for [batch_size, seq_length, d_input, d_hidden] in SIZES {
        let mut group =
            criterion.benchmark_group(format!("{batch_size}x{seq_length}x{d_input}x{d_hidden}"));
        let shape = [batch_size, seq_length, d_input];
        let input = Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let fast = FastWeightsConfig::new(d_input, d_hidden);
        let matrix = fast.clone().with_form(Form::Matrix).init(&device);
        let attention = fast.with_form(Form::Attention).init(&device);
        bench_layer(&mut group, "fast-weights-matrix", matrix, &input);
        bench_layer(&mut group, "fast-weights-attention", attention, &input);
        bench_layer(
            &mut group,
            "lstm",
            LstmConfig::new(d_input, d_hidden).init(&device),
            &input,
        );
        bench_layer(
            &mut group,
            "gru",
            GruConfig::new(d_input, d_hidden).init(&device),
            &input,
        );
        group.finish();
    }
}

criterion_group!(benches, layers);
criterion_main!(benches);
