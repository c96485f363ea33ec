//! `fw-train cost`

use std::path::PathBuf;

use clap::Args;

use crate::Error;
use crate::cli::output;
use crate::cli::signals::end_with_input;
use crate::cost::{Case, Sweeps};
use crate::device::DeviceName;
use crate::plain::{from_json, to_json};
use crate::report::CostReport;
use crate::training::Environment;

/// Measure what models cost: time and memory of a forward and a backward pass, by the length of the sequence and by the size of the
/// state; and the time of one step by itself.
///
/// It writes cost.html, cost.md with its figures, and cost.json. Each case runs in a process of its own, one after the other.
#[derive(Debug, Args)]
pub(super) struct CostArgs {
    /// Which models, by the names that `fw-train list` shows
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "fast-weights,delta-net,mlstm,rwkv7,rnn,lstm,slstm,gru,ntm-lstm,sab,self-attention"
    )]
    models: Vec<String>,

    /// Steps of the sequence, at the first of the widths
    #[arg(long, value_delimiter = ',', default_value = "32,64,128,256,512,1024")]
    lengths: Vec<usize>,

    /// Units of the layer, at the first of the lengths that is 128 or more; of a Turing machine also locations of its memory
    #[arg(long, value_delimiter = ',', default_value = "64,16,32,128,256")]
    widths: Vec<usize>,

    /// Sequences at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    batch_size: u16,

    /// Where to write the report
    #[arg(long, value_name = "DIR", default_value = "runs/cost")]
    out: PathBuf,

    /// Where to compute: flex, ndarray, wgpu or cuda [default: the first of them that is in this build]
    #[arg(long)]
    device: Option<DeviceName>,

    /// Measure this one here, and print what it costs
    #[arg(long, hide = true)]
    case: Option<String>,
}

impl CostArgs {
    pub fn run(self) -> Result<(), Error> {
        let device = self.device.unwrap_or_else(DeviceName::default_of_build);
        if let Some(case) = &self.case {
            end_with_input();
            let case: Case = from_json(case.as_bytes())
                .map_err(|error| Error::usage(format!("--case {case} is no case ({error})")))?;
            let cost = case.measure(device)?;
            let json = to_json(&cost);
            return output::line(format_args!("{json}"));
        }
        device.open()?;
        // What is refused is refused before minutes are spent.
        let batch_size = usize::from(self.batch_size);
        let sweeps = Sweeps::new(&self.models, &self.widths, &self.lengths, batch_size)?;
        let program = std::env::current_exe();
        let program = program.map_err(Error::file("find", "this program".as_ref()))?;
        let mut n_failed = 0;
        let mut measured = |cases: &[Case]| {
            let mut costs = Vec::with_capacity(cases.len());
            for case in cases {
                match case.measure_apart(&program, device) {
                    Ok(cost) => {
                        tell!(
                            "{} of width {}, {} steps: {:.2} ms",
                            case.model,
                            case.width,
                            case.length,
                            cost.milliseconds
                        );
                        costs.push(cost);
                    }
                    // The others are measured, and the report has a gap.
                    Err(error) => {
                        tell!("error: {}", error.in_full());
                        n_failed += 1;
                    }
                }
            }
            costs
        };
        let (by_length, by_size) = (measured(&sweeps.by_length), measured(&sweeps.by_size));
        let report = CostReport {
            by_length: &by_length,
            by_size: &by_size,
            environment: &Environment::now(device),
        };
        report.write(&self.out)?;
        for name in ["cost.html", "cost.md", "cost.json"] {
            output::line(format_args!("{}", self.out.join(name).display()))?;
        }
        if n_failed > 0 {
            return Err(Error::Incomplete(format!(
                "{n_failed} cases could not be measured; the report lacks them"
            )));
        }
        Ok(())
    }
}
