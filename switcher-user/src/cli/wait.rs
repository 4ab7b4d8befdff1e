//! Times on the command line.

use std::time::Duration;

use clap::Args;

/// `--timeout`, of every command that waits.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct WaitArgs {
    /// How long the whole command may take; over before anything changed: exit 1, after: roll back, exit 3.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
}

/// `500ms`, `30s`, `5m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("'{text}' is no time; write it as 500ms, 30s or 5m"))
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
