//! Time and peak memory of long sequences, forward and backward, with and without gradient checkpointing: each in a process of its own.
//!
//! ```text
//! cargo bench -p fw-benches --bench checkpointed
//! ```

use std::error::Error;
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use fw_core::{Checkpointed, ExecutionPath, FastWeightsConfig, NtmConfig, Recurrent};

const BATCH_SIZE: usize = 8;
const SEQ_LENGTH: usize = 1024;
const INTERVALS: [usize; 4] = [SEQ_LENGTH, 128, 32, 8];
const CASES: [&str; 3] = ["ntm, composed", "ntm, fused", "fast weights, composed"];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [case, interval] = arguments.as_slice()
        && let Ok(interval) = interval.parse()
    {
        return measure(case, interval);
    }
    println!(
        "{SEQ_LENGTH} steps, batch {BATCH_SIZE}, forward and backward; seconds, peak memory in MiB"
    );
    for case in CASES {
        for interval in INTERVALS {
            let program = std::env::current_exe()?;
            let output = Command::new(program)
                .args([case, &interval.to_string()])
                .output()?;
            let line = String::from_utf8(output.stdout)?;
            let what = match interval {
                SEQ_LENGTH => "all kept".into(),
                interval => format!("every {interval}"),
            };
            println!("{case:24} {what:10} {}", line.trim_end());
        }
    }
    Ok(())
}

/// One line: seconds of the quickest of three passes, and the most memory that this process ever had.
fn measure(case: &str, interval: usize) -> Result<(), Box<dyn Error>> {
    let device = Device::flex().autodiff();
    let path = match case {
        "ntm, fused" => ExecutionPath::Fused,
        _ => ExecutionPath::Composed,
    };
    let seconds = match case {
        "fast weights, composed" => {
            let config = FastWeightsConfig::new(32, 64).with_path(path);
            passes(config.init(&device), interval)
        }
        _ => passes(
            NtmConfig::new(9, 100).with_path(path).init(&device),
            interval,
        ),
    };
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = peak
        .and_then(|peak| peak.split_whitespace().next())
        .ok_or("there is no VmHWM")?
        .parse()?;
    println!("{seconds:8.2} s {:8.0} MiB", kib / 1024.0);
    Ok(())
}

fn passes<L: Recurrent + Sync + 'static>(layer: L, interval: usize) -> f64
where
    L::State: Sync + 'static,
{
    let device = Device::flex().autodiff();
    let shape = [BATCH_SIZE, SEQ_LENGTH, layer.d_input()];
    let input = Tensor::<3>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let layer = Checkpointed::new(layer, interval);
    let pass = || {
        let start = Instant::now();
        let (output, _) = layer.forward(input.clone(), None);
        black_box(output.sum().backward());
        start.elapsed().as_secs_f64()
    };
    [pass(), pass(), pass()]
        .into_iter()
        .fold(f64::MAX, f64::min)
}
