//! Switcher's build, demo and test verbs: `cargo xtask --help`.

mod bench;
mod bpf_toolchain;
mod build;
mod ci;
mod demo;
mod kill;
mod lab;
mod libtest;
mod machine;
mod patch;
mod process;
mod repo;
mod rollouts;
mod root;
mod sabotage;
mod setup;
mod steps;
mod suites;
mod test;
mod tree;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, shows and tests Switcher.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what this machine lacks to build and test Switcher
    Setup(setup::Args),
    /// Build `switcher` and the lab
    Build(build::Args),
    /// Upgrade an application under load in a lab of network namespaces
    Demo(lab::Args),
    /// Measure what the switch costs, as ratios to plain routing
    Bench(lab::Args),
    /// Run every check: style, unit, kernel and end-to-end tests, sabotage, the demo
    Test(test::Args),
    /// Prove that the tests catch the faults in tests/sabotage
    Sabotage(sabotage::Args),
    /// Roll out versions that are bad in one way each, and equal ones, again and again, and count
    Rollouts(rollouts::Args),
    /// What continuous integration runs: `test` within an hour
    Ci,
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Setup(args) => setup::run(&args),
        Verb::Build(args) => build::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Sabotage(args) => sabotage::run(&args),
        Verb::Rollouts(args) => rollouts::run(&args),
        Verb::Ci => ci::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
