//! Times our side of the comparison with the peers: `benches/peers/bench.py` speaks to it in lines of JSON.
//!
//! A request names a variant, sizes and a number of seconds; the answer has the milliseconds of each call that
//! fitted.

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use burn::tensor::{Device, Distribution, Tensor};
use fw_benches::Sizes;
use fw_core::{FastWeightsConfig, GruConfig, LstmConfig, Path, Recurrent};
use serde::{Deserialize, Serialize};

/// What our own binary `fw-train` uses, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Deserialize)]
struct Request {
    variant: String,
    sizes: Sizes,
    seconds: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Ms(Vec<f64>),
    Error(String),
}

fn main() -> std::io::Result<()> {
    for line in std::io::stdin().lock().lines() {
        let answer = match serde_json::from_str::<Request>(&line?) {
            Ok(request) => measure(&request),
            Err(error) => Answer::Error(error.to_string()),
        };
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &answer)?;
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}

fn measure(request: &Request) -> Answer {
    let sizes = request.sizes;
    let device = Device::flex().autodiff();
    let fast_weights = |path| {
        FastWeightsConfig::new(sizes.d_input, sizes.d_hidden)
            .with_inner_steps(sizes.inner_steps)
            .with_path(path)
            .init(&device)
    };
    let time = Timing {
        sizes,
        device: &device,
        seconds: request.seconds,
    };
    Answer::Ms(match request.variant.as_str() {
        "fused" => time.layer(fast_weights(Path::Fused)),
        "composed" => time.layer(fast_weights(Path::Composed)),
        "lstm" => time.layer(LstmConfig::new(sizes.d_input, sizes.d_hidden).init(&device)),
        "gru" => time.layer(GruConfig::new(sizes.d_input, sizes.d_hidden).init(&device)),
        "burn-lstm" => {
            let layer =
                burn::nn::LstmConfig::new(sizes.d_input, sizes.d_hidden, true).init(&device);
            time.gradients(|input| layer.forward(input, None).0)
        }
        "burn-gru" => {
            let layer = burn::nn::GruConfig::new(sizes.d_input, sizes.d_hidden, true).init(&device);
            time.gradients(|input| layer.forward(input, None))
        }
        other => return Answer::Error(format!("no variant is called {other}")),
    })
}

struct Timing<'a> {
    sizes: Sizes,
    device: &'a Device,
    seconds: f64,
}

impl Timing<'_> {
    fn layer<L: Recurrent>(&self, layer: L) -> Vec<f64> {
        self.gradients(|input| layer.forward(input, None).0)
    }

    /// Milliseconds of each call of forward and backward, to the gradients of the input and every parameter.
    fn gradients(&self, forward: impl Fn(Tensor<3>) -> Tensor<3>) -> Vec<f64> {
        let Sizes {
            batch_size,
            seq_length,
            d_input,
            ..
        } = self.sizes;
        let shape = [batch_size, seq_length, d_input];
        let input = Tensor::<3>::random(shape, Distribution::Normal(0.0, 1.0), self.device);
        let call = || {
            let input = input.clone().require_grad();
            let gradients = forward(input.clone()).backward();
            black_box(input.grad(&gradients));
        };
        call();
        let end = Instant::now() + Duration::from_secs_f64(self.seconds);
        let mut times = Vec::new();
        while times.len() < 3 || Instant::now() < end {
            let start = Instant::now();
            call();
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times
    }
}
