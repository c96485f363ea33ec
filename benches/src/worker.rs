//! Times our side of the comparison with the peers: `benches/peers/bench.py` speaks to it in lines of JSON.
//!
//! A request names a variant, sizes and a number of seconds; the answer has the milliseconds of each call that
//! fitted. A request for a check is answered with numbers that all variants must agree on.

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use fw_benches::Sizes;
use fw_core::{FastWeights, FastWeightsConfig, GruConfig, LstmConfig, Path, Recurrent};
use macerator::{AutoArch, Scalar, Simd, WithSimd};
use serde::{Deserialize, Serialize};

/// What our own binary `fw-train` uses, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Deserialize)]
struct Request {
    variant: String,
    sizes: Sizes,
    #[serde(default)]
    seconds: f64,
    #[serde(default)]
    check: bool,
}

#[derive(Default, Serialize)]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<Vec<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_gfma: Option<f64>,
    peak_mib: Option<f64>,
}

fn main() -> std::io::Result<()> {
    say(Answer::default())?;
    for line in std::io::stdin().lock().lines() {
        say(match serde_json::from_str::<Request>(&line?) {
            Ok(request) => answer(&request),
            Err(error) => Answer {
                error: Some(error.to_string()),
                ..Answer::default()
            },
        })?;
    }
    Ok(())
}

fn say(answer: Answer) -> std::io::Result<()> {
    let answer = Answer {
        peak_mib: peak_mib(),
        ..answer
    };
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &answer)?;
    writeln!(out)?;
    out.flush()
}

/// The most memory that this process has held, where the system tells.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

fn answer(request: &Request) -> Answer {
    let sizes = request.sizes;
    let device = Device::flex().autodiff();
    let run = Run {
        request,
        device: &device,
    };
    match request.variant.as_str() {
        "fma-peak" => Answer {
            peak_gfma: Some(fma_peak()),
            ..Answer::default()
        },
        "fused" => run.layer(fast_weights(sizes, Path::Fused, &device)),
        "composed" => run.layer(fast_weights(sizes, Path::Composed, &device)),
        "lstm" => run.layer(LstmConfig::new(sizes.d_input, sizes.d_hidden).init(&device)),
        "gru" => run.layer(GruConfig::new(sizes.d_input, sizes.d_hidden).init(&device)),
        "burn-lstm" => {
            let config = burn::nn::LstmConfig::new(sizes.d_input, sizes.d_hidden, true);
            let layer = config.init(&device);
            run.gradients(|input| layer.forward(input, None).0)
        }
        "burn-gru" => {
            let config = burn::nn::GruConfig::new(sizes.d_input, sizes.d_hidden, true);
            let layer = config.init(&device);
            run.gradients(|input| layer.forward(input, None))
        }
        other => Answer {
            error: Some(format!("no variant is called {other}")),
            ..Answer::default()
        },
    }
}

/// The most multiply-adds in f32 that all threads together make in a nanosecond, on registers alone.
fn fma_peak() -> f64 {
    const ROUNDS: usize = 20_000_000;
    const SUMS: usize = 12;
    struct Loop;
    impl WithSimd for Loop {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self) -> usize {
            let factor = black_box(0.999_f32).splat::<S>();
            let mut sums = [factor; SUMS];
            for _ in 0..ROUNDS {
                for sum in &mut sums {
                    *sum = sum.mul_add(factor, factor);
                }
            }
            black_box(sums);
            ROUNDS * SUMS * f32::lanes::<S>()
        }
    }
    let start = Instant::now();
    let count: usize = rayon::broadcast(|_| AutoArch::new().dispatch(Loop))
        .iter()
        .sum();
    count as f64 / start.elapsed().as_nanos() as f64
}

/// `sin(frequency * index)`: numbers that every language makes alike.
fn wave(frequency: f64, count: usize) -> Vec<f32> {
    (0..count)
        .map(|index| (frequency * index as f64).sin() as f32)
        .collect()
}

/// The layer with the parameters that the peers have (`protocol.py`).
fn fast_weights(sizes: Sizes, path: Path, device: &Device) -> FastWeights {
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

struct Run<'a> {
    request: &'a Request,
    device: &'a Device,
}

impl Run<'_> {
    fn layer<L: Recurrent>(&self, layer: L) -> Answer {
        self.gradients(|input| layer.forward(input, None).0)
    }

    /// Forward and backward, to the gradients of the input and every parameter.
    fn gradients(&self, forward: impl Fn(Tensor<3>) -> Tensor<3>) -> Answer {
        let Sizes {
            batch_size,
            seq_length,
            d_input,
            ..
        } = self.request.sizes;
        let shape = [batch_size, seq_length, d_input];
        let input = TensorData::new(wave(0.9, shape.iter().product()), shape);
        let input = Tensor::<3>::from_data(input, self.device);
        let call = || {
            let input = input.clone().require_grad();
            let output = forward(input.clone());
            let gradients = output.backward();
            let gradient = input.grad(&gradients).expect("the input is a leaf");
            (output.inner(), gradient)
        };
        let (output, gradient) = call();
        if self.request.check {
            return Answer {
                fingerprint: Some([fingerprint(output), fingerprint(gradient)]),
                ..Answer::default()
            };
        }
        let end = Instant::now() + Duration::from_secs_f64(self.request.seconds);
        let mut times = Vec::new();
        while times.is_empty() || Instant::now() < end {
            let start = Instant::now();
            black_box(call());
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        Answer {
            ms: Some(times),
            ..Answer::default()
        }
    }
}

/// A number that depends on every value.
fn fingerprint(values: Tensor<3>) -> f64 {
    let values = values.try_into_vec_as::<f32>().expect("floats");
    let weights = wave(0.3, values.len());
    let products = values
        .iter()
        .zip(weights)
        .map(|(value, weight)| f64::from(value * weight));
    products.sum()
}
