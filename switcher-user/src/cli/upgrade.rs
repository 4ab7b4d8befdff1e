//! `switcher upgrade`.

use std::time::{Duration, Instant};

use super::End;
use super::client::Client;
use super::page::finish;
use super::printer::Printer;
use super::wait::{WaitArgs, duration, millis};
use crate::api::{ApiError, ErrorCode, Progress, UpgradeRequest};
use crate::model::{AliasName, SetName};

/// A log gets a line this often.
const LOG_EVERY: Duration = Duration::from_secs(2);

/// What `upgrade` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The aliases, all switched at the same instant.
    #[arg(required = true, value_name = "ALIAS")]
    aliases: Vec<AliasName>,
    /// The set that gets the share.
    #[arg(long, value_name = "SET")]
    to: SetName,
    /// The set that gives it [default: the only other set with a share].
    #[arg(long, value_name = "SET")]
    from: Option<SetName>,
    /// How long flows of the old set may take to end; 0s looks once.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    drain_timeout: Duration,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(args: Args, client: &Client, printer: &Printer) -> End {
    let request = UpgradeRequest {
        aliases: args.aliases,
        to: args.to,
        from: args.from,
        drain_timeout_ms: millis(args.drain_timeout),
    };
    let mut printed: Option<Instant> = None;
    let seen = |progress: &Progress| {
        let due = printer.is_live() || printed.is_none_or(|at| at.elapsed() >= LOG_EVERY);
        if due && let Some(text) = text(progress) {
            printer.progress(&text);
            printed = Some(Instant::now());
        }
    };
    match client.follow("/v1/upgrade", &request, args.wait.timeout, seen).await? {
        Progress::Finished { receipt, .. } => Ok(finish(&receipt, printer)),
        Progress::StillRunning { .. } => Err(ApiError::new(
            ErrorCode::Unknown,
            "the upgrade, which another command began, is still running; this command stopped waiting, as its --timeout is over: run: switcher status",
        )),
        Progress::Draining { .. } => Err(ApiError::new(ErrorCode::Unknown, "the agent did not say how it ended")),
    }
}

fn text(progress: &Progress) -> Option<String> {
    match progress {
        Progress::Draining {
            epoch,
            pending,
            established,
            left_ms,
            ..
        } if pending + established > 0 => Some(format!(
            "switched (epoch {epoch}); waiting for {} flow(s) of the old set ({pending} pending, {established} established), {}.{} s left",
            pending + established,
            left_ms / 1_000,
            left_ms % 1_000 / 100,
        )),
        _ => None,
    }
}
