//! `switcher compose`: the project that compose files describe.

mod config;
mod files;

use self::files::FileArgs;
use super::End;
use super::printer::Printer;

/// What `compose` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    files: FileArgs,
    #[command(subcommand)]
    verb: Verb,
}

/// What `compose` does.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Check the files, and show what they ask for.
    Config,
}

pub(super) fn run(args: &Args, printer: &Printer) -> End {
    let loaded = args.files.load()?;
    for warning in &loaded.project.warnings {
        printer.note(&format!("warning: {warning}"));
    }
    match args.verb {
        Verb::Config => config::run(&loaded, printer),
    }
}
