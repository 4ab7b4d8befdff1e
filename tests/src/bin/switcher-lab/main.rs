//! `switcher-lab`: the demo and the lab by hand.

mod bench;
mod demo;
mod generate;
mod smoke;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use switcher_tests::interrupt;

#[derive(Parser)]
#[command(
    version,
    about = "Switcher's lab: network namespaces, real nginx, and traffic whose every request is accounted for"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Upgrade real nginx under load, through the kernel, and count what is lost
    Demo(switcher_tests::demo::Options),
    /// What the switch costs, as ratios to plain routing
    Bench(bench::Arguments),
    /// One lab, one request before and one after an upgrade
    Smoke(smoke::Arguments),
    /// Remove a lab that was kept, or with no id those that dead processes left
    Down {
        /// The lab's id, as in swt-ID
        id: Option<String>,
    },
    /// The traffic generator, started by the lab inside the client's namespace
    #[command(hide = true)]
    Generate {
        /// The plan, a JSON file
        plan: PathBuf,
    },
    /// A local client that does what stdin says, started by a test
    #[command(hide = true)]
    Talk,
}

fn main() -> ExitCode {
    let verb = Arguments::parse().verb;
    let result = match verb {
        // The generator ends with its stdin or its parent; it leaves signals as they are.
        Verb::Generate { plan } => generate::run(&plan),
        Verb::Talk => switcher_tests::talk::serve(),
        Verb::Demo(options) => interrupt::install().and_then(|()| demo::run(&options)),
        Verb::Bench(arguments) => interrupt::install().and_then(|()| bench::run(&arguments)),
        Verb::Smoke(arguments) => interrupt::install().and_then(|()| smoke::run(&arguments)),
        Verb::Down { id: Some(id) } => switcher_tests::lab::tear_down(id.trim_start_matches("swt-")),
        Verb::Down { id: None } => {
            switcher_tests::lab::sweep();
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("switcher-lab: {error:#}");
            ExitCode::from(if interrupt::pending() { 130 } else { 1 })
        }
    }
}
