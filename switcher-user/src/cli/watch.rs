//! `switcher status --watch`: the status again and again, until Ctrl-C or until the agent has ended.

use std::fmt::Write as _;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use tokio::time::MissedTickBehavior;

use super::End;
use super::client::Client;
use super::printer::{Printer, Reader};
use super::table::status_table;
use crate::api::{ApiError, ErrorCode, StatusDocument};

/// Shorter would keep the agent busy with nothing else.
const INTERVAL_LEAST: Duration = Duration::from_millis(100);
const INTERVAL_MOST: Duration = Duration::from_secs(3_600);

/// A time between two looks.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let interval = super::wait::duration(text)?;
    if (INTERVAL_LEAST..=INTERVAL_MOST).contains(&interval) {
        Ok(interval)
    } else {
        Err(format!("{text} is not between 100ms and 1h"))
    }
}

/// Shows what is at `path` each `interval`.
pub(super) async fn run(path: &str, interval: Duration, client: &Client, printer: &Printer) -> End {
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut has_seen = false;
    loop {
        let look = async {
            tick.tick().await;
            client.get::<StatusDocument>(path).await
        };
        let answer = tokio::select! {
            Ok(()) = &mut interrupt => return Ok(0),
            answer = look => answer,
        };
        match answer {
            Ok(status) => match printer.frame(&status, || status_table(&status), || log_lines(&status)) {
                Reader::Reads => has_seen = true,
                Reader::HasGone => return Ok(0),
            },
            Err(_) if has_seen && client.nobody_listens() => return Err(ended()),
            Err(error) => return Err(error),
        }
    }
}

fn ended() -> ApiError {
    let text = "the agent has ended; the kernel goes on by the image that it has: start it again with: switcher agent";
    ApiError::new(ErrorCode::NoAgent, text)
}

/// A line for each set, for logs.
fn log_lines(status: &StatusDocument) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(status.clock.unix_ns);
    let time = humantime::format_rfc3339_seconds(time);
    let mut lines = String::new();
    for alias in &status.aliases {
        let running = if alias.running.is_some() { " upgrading" } else { "" };
        if let Some(text) = alias.progress.as_deref().and_then(super::upgrade::text) {
            let _ = writeln!(lines, "{time} {}: {text}", alias.name);
        }
        for set in &alias.sets {
            let _ = writeln!(
                lines,
                "{time} epoch {} {}/{} weight {} share {:.1}% pending {} established {} closing {} opened {}{running}",
                status.epoch,
                alias.name,
                set.name,
                set.weight,
                set.share * 100.0,
                set.flows.pending,
                set.flows.established,
                set.flows.closing,
                set.counters.flows_opened
            );
        }
    }
    if lines.is_empty() {
        let _ = writeln!(lines, "{time} epoch {} no sets", status.epoch);
    }
    lines
}
