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
/// Begin with `fw-train train`: it trains fast weights to look up the value of a key, in some twenty seconds.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(train::TrainArgs),
    Test(test::TestArgs),
    Sample(sample::SampleArgs),
    Generate(generate::GenerateArgs),
    Plot(plot::PlotArgs),
    Compare(compare::CompareArgs),
    Cost(cost::CostArgs),
    Report(report::ReportArgs),
    Export(export::ExportArgs),
    List(list::ListArgs),
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
