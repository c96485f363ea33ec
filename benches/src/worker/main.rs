//! Times our side of the comparison with the peers: `benches/peers/bench.py` speaks to it in lines of JSON.
//!
//! A request names a variant, sizes and a number of seconds; the answer has the milliseconds of each call that
//! fitted. A request for a check is answered with numbers that all variants must agree on.

mod layers;
mod memories;
mod numbers;
mod training;

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use burn::tensor::Device;
use macerator::{AutoArch, Scalar, Simd, WithSimd};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What our own binary `fw-train` uses, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Deserialize)]
struct Request {
    variant: String,
    sizes: Value,
    /// `cpu`, `wgpu` or `cuda`.
    #[serde(default)]
    device: Option<String>,
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

/// What a variant does again and again.
trait Work {
    /// One call, which is timed.
    fn run(&mut self);

    /// Two numbers that all variants of a suite must agree on; asked for before anything is run.
    fn fingerprint(&mut self) -> [f64; 2];
}

fn answer(request: &Request) -> Answer {
    if request.variant == "fma-peak" {
        return Answer {
            peak_gfma: Some(fma_peak()),
            ..Answer::default()
        };
    }
    let (device, mut work) = match work(request) {
        Ok(work) => work,
        Err(error) => {
            return Answer {
                error: Some(error),
                ..Answer::default()
            };
        }
    };
    if request.check {
        return Answer {
            fingerprint: Some(work.fingerprint()),
            ..Answer::default()
        };
    }
    let mut run = || {
        work.run();
        // A GPU computes after it was told to.
        device.sync().expect("the device computes");
    };
    run();
    let end = Instant::now() + Duration::from_secs_f64(request.seconds);
    let mut times = Vec::new();
    while times.is_empty() || Instant::now() < end {
        let start = Instant::now();
        run();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Answer {
        ms: Some(times),
        ..Answer::default()
    }
}

/// The work that a request names, at the sizes that it gives, and the device that does it.
fn work(request: &Request) -> Result<(Device, Box<dyn Work>), String> {
    let variant = request.variant.as_str();
    let device = device(request.device.as_deref().unwrap_or("cpu"))?.autodiff();
    let work = match variant.split('-').next() {
        Some("delta" | "mlstm" | "rwkv7") => memories::work(variant, sizes(request)?, &device),
        Some("ntm") => training::ntm(variant, sizes(request)?, &device),
        Some("sab") => training::sab(variant, sizes(request)?, &device),
        _ => layers::work(variant, sizes(request)?, &device),
    };
    let work = work.ok_or_else(|| format!("no variant is called {variant}"))?;
    Ok((device, work))
}

fn device(name: &str) -> Result<Device, String> {
    match name {
        "cpu" => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(burn::tensor::DeviceIndex::Default)),
        _ => Err(format!("device {name} is not in this build of the worker")),
    }
}

fn sizes<T: DeserializeOwned>(request: &Request) -> Result<T, String> {
    serde_json::from_value(request.sizes.clone()).map_err(|error| error.to_string())
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
