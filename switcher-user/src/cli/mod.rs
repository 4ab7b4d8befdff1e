//! The command line: a file a verb. Deploy jobs depend on its words and exit codes.

mod agent;
mod alias;
mod apply;
mod client;
mod compose;
mod confirm;
mod detach;
mod doctor;
mod flows;
mod forecast;
mod hold;
mod host;
mod live;
mod page;
mod printer;
mod receipt;
mod release;
mod rollback;
mod set;
mod split;
mod status;
mod table;
mod upgrade;
mod wait;
mod watch;

use std::ffi::OsStr;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::client::Client;
use self::host::HostArgs;
use self::printer::Printer;
use crate::api::{ApiError, ErrorCode};

const EXIT_CODES: &str = "\
Exit codes:
  0  done (for upgrade: the old set has no flow left and may be stopped)
  1  the agent refused or failed, nothing changed
  2  the command or file is wrong
  3  rolled back
  4  switched, flows left at the deadline
  5  no agent, nothing sent
  6  another change is running, nothing changed
  7  outcome unknown or partial: run `switcher status`";

/// Switches traffic between versions of an application, in the kernel.
#[derive(Debug, Parser)]
#[command(name = "switcher", version, after_help = EXIT_CODES, infer_subcommands = false)]
struct Cli {
    #[command(flatten)]
    host: HostArgs,
    /// Print one JSON document on stdout, and everything else on stderr.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the host agent (in the foreground).
    Agent(agent::Args),
    /// Converge on a stack file; returns when it is active.
    Apply(apply::Args),
    /// Create, replace, remove or list aliases.
    #[command(subcommand)]
    Alias(alias::Verb),
    /// Create, replace or remove the sets of an alias.
    #[command(subcommand)]
    Set(set::Verb),
    /// Change who gets new flows, at once.
    Split(split::Args),
    /// Move a set's share to another set and wait until the old set's flows have ended.
    Upgrade(upgrade::Args),
    /// Say that an upgrade with --confirm manual is good: the old set may be removed.
    Confirm(confirm::Args),
    /// Let an alias's new flows wait; none is refused.
    Hold(hold::Args),
    /// Let new flows that wait go.
    Release(release::Args),
    /// Restore the split before the last change.
    Rollback(rollback::Args),
    /// Show aliases, sets, flows and figures.
    Status(status::Args),
    /// List the flows of an alias, the oldest first.
    Flows(flows::Args),
    /// List or show receipts of changes.
    #[command(subcommand)]
    Receipt(receipt::Verb),
    /// Bring up what compose files describe.
    Compose(compose::Args),
    /// See whether this host has what the agent needs; changes nothing.
    Doctor(doctor::Args),
    /// Remove the data path: links, programs and maps.
    Detach(detach::Args),
}

/// A verb's end: its exit code, or the error to print.
type End = Result<u8, ApiError>;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let host = std::env::var_os("SWITCHER_HOST");
    let matches = command(host.as_deref()).try_get_matches();
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let printer = Printer::new(cli.json);
    let end = match cli.verb {
        Verb::Agent(args) => agent::run(args),
        verb => on_runtime(verb, &Client::new(&cli.host), &printer),
    };
    ExitCode::from(end.unwrap_or_else(|error| {
        printer.error(&error);
        error.code.exit_code()
    }))
}

/// The command line; an empty variable names no agent, as an unset one.
fn command(host: Option<&OsStr>) -> clap::Command {
    let command = Cli::command();
    if host.is_some_and(OsStr::is_empty) {
        return command.mut_arg("host", |argument| argument.env(Resettable::Reset));
    }
    command
}

fn on_runtime(verb: Verb, client: &Client, printer: &Printer) -> End {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ApiError::new(ErrorCode::HostFailed, format!("no runtime: {error}")))?;
    runtime.block_on(async {
        match verb {
            Verb::Agent(args) => agent::run(args),
            Verb::Apply(args) => apply::run(args, client, printer).await,
            Verb::Alias(verb) => alias::run(verb, client, printer).await,
            Verb::Set(verb) => set::run(verb, client, printer).await,
            Verb::Split(args) => split::run(args, client, printer).await,
            Verb::Upgrade(args) => upgrade::run(args, client, printer).await,
            Verb::Confirm(args) => confirm::run(args, client, printer).await,
            Verb::Hold(args) => hold::run(args, client, printer).await,
            Verb::Release(args) => release::run(args, client, printer).await,
            Verb::Rollback(args) => rollback::run(args, client, printer).await,
            Verb::Status(args) => status::run(args, client, printer).await,
            Verb::Flows(args) => flows::run(args, client, printer).await,
            Verb::Receipt(verb) => receipt::run(verb, client, printer).await,
            Verb::Compose(args) => compose::run(&args, client, printer).await,
            Verb::Doctor(args) => doctor::run(args, client, printer).await,
            Verb::Detach(args) => detach::run(args, client, printer).await,
        }
    })
}

/// Help and version are no errors; everything else is exit 2, as a document too where one was asked for.
fn usage(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && wants_json {
        Printer::new(true).error(&ApiError::new(
            ErrorCode::Invalid,
            error.to_string().trim_start_matches("error: ").trim_end(),
        ));
        return ExitCode::from(ErrorCode::Invalid.exit_code());
    }
    let _ = error.print();
    ExitCode::from(if error.use_stderr() {
        ErrorCode::Invalid.exit_code()
    } else {
        0
    })
}

#[cfg(test)]
mod tests;
