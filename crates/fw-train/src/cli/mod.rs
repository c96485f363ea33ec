//! What was typed.

mod compare;
mod cost;
mod data;
mod export;
mod generate;
mod list;
mod loaded;
mod output;
mod plot;
mod report;
mod sample;
mod signals;
mod test;
mod train;

use clap::{Parser, Subcommand};

use crate::Error;

/// Train, test and compare memory mechanisms: fast weights, Neural Turing Machines, Sparse Attentive Backtracking and the recurrent nets
/// they compete with.
///
/// Begin with `fw-train train`: it trains fast weights to look up the value of a key, in a few seconds.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(
        after_help = "Examples:\n  fw-train train\n  fw-train train experiments/graves2014/copy-ntm-lstm.toml --seed 1 --out runs/copy\n  fw-train train --set model.kind=gru --set task.pairs=2 --print-config"
    )]
    Train(train::TrainArgs),
    #[command(
        after_help = "Examples:\n  fw-train test runs/default-seed0 --json\n  fw-train test runs/default-seed0 --sweep task.pairs=2,4,8\n  fw-train test --pretrained ntm-copy --set task.length=60"
    )]
    Test(test::TestArgs),
    #[command(
        after_help = "Examples:\n  fw-train sample runs/default-seed0 -n 5\n  fw-train sample --pretrained fast-weights-retrieval"
    )]
    Sample(sample::SampleArgs),
    #[command(
        after_help = "Examples:\n  fw-train generate runs/plays --prime ROMEO: --temperature 0.7\n  fw-train generate runs/plays -n 400 --seed 1"
    )]
    Generate(generate::GenerateArgs),
    #[command(
        after_help = "Examples:\n  fw-train plot runs/default-seed0\n  fw-train plot runs/copy --sample 0 --set task.length=20\n  fw-train plot runs/a-seed0 runs/b-seed0 --out curves.svg"
    )]
    Plot(plot::PlotArgs),
    #[command(
        after_help = "Examples:\n  fw-train compare experiments/mqar\n  fw-train compare experiments/ba2016-table1/lstm-20.toml mine.toml --seeds 3 --out runs/mine"
    )]
    Compare(compare::CompareArgs),
    #[command(
        after_help = "Examples:\n  fw-train cost\n  fw-train cost --models lstm,fast-weights"
    )]
    Cost(cost::CostArgs),
    #[command(
        after_help = "Examples:\n  fw-train report runs/mqar\n  fw-train report runs/a-seed0 runs/b-seed0 --out both"
    )]
    Report(report::ReportArgs),
    #[command(
        after_help = "Examples:\n  fw-train export runs/default-seed0 --out retrieval.safetensors\n  fw-train export runs/lstm-seed0 --out lstm.safetensors --for pytorch"
    )]
    Export(export::ExportArgs),
    #[command(
        after_help = "Examples:\n  fw-train list\n  fw-train list fast-weights\n  fw-train list copy-memory"
    )]
    List(list::ListArgs),
    #[command(
        after_help = "Examples:\n  fw-train data associative-retrieval --split test -n 1000 --out test.jsonl\n  fw-train data copy -n 100 --out copy.safetensors --set task.length=10"
    )]
    Data(data::DataArgs),
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> Result<(), Error> {
        match self.command {
            Command::Train(args) => args.run(),
            Command::Test(args) => args.run(),
            Command::Sample(args) => args.run(),
            Command::Generate(args) => args.run(),
            Command::Plot(args) => args.run(),
            Command::Compare(args) => args.run(),
            Command::Cost(args) => args.run(),
            Command::Report(args) => args.run(),
            Command::Export(args) => args.run(),
            Command::List(args) => args.run(),
            Command::Data(args) => args.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// What the help shows can be typed.
    #[test]
    fn examples_in_the_help_are_commands() {
        let command = Cli::command();
        for subcommand in command.get_subcommands() {
            let name = subcommand.get_name();
            let help = subcommand.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_else(|| panic!("{name} has no examples"));
            let lines: Vec<&str> = help.lines().skip(1).map(str::trim).collect();
            assert!(!lines.is_empty(), "{name}");
            for line in lines {
                assert!(line.starts_with(&format!("fw-train {name}")), "{line}");
                let typed = Cli::try_parse_from(line.split(' '));
                assert!(typed.is_ok(), "{line}: {}", typed.unwrap_err());
            }
        }
    }
}
