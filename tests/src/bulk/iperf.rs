//! One transfer by iperf3.

use std::fmt;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::lab::run;

/// What is not through after this stalls: even the slowest way takes a tenth of it.
const STALL_SECONDS: &str = "5";
/// Should even the watch over it hang.
const RUN_LIMIT: Duration = Duration::from_secs(20);
/// `timeout` says so where it had to end the command.
const TIMED_OUT: i32 = 124;

/// The family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Who sends: a way may stall on one side only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The client.
    Upload,
    /// The server.
    Download,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Upload, Self::Download];
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Upload => "upload",
            Self::Download => "download",
        })
    }
}

/// A program that `command` makes, wherever the client is. Bits a second as the receiver saw them; 0 where it stalls.
pub(super) fn transfer(
    command: impl FnOnce(&str) -> Result<Command>,
    to: SocketAddr,
    direction: Direction,
    megabytes: u32,
) -> Result<f64> {
    let mut iperf = command("timeout")?;
    iperf.args([STALL_SECONDS, "iperf3", "--json", "--client", &to.ip().to_string()]);
    iperf.args(["--port", &to.port().to_string(), "--bytes", &format!("{megabytes}M")]);
    if direction == Direction::Download {
        iperf.arg("--reverse");
    }
    let outcome = run(&mut iperf, RUN_LIMIT)?;
    if outcome.code == TIMED_OUT {
        return Ok(0.0);
    }
    let outcome = outcome.expect_code(&[0])?;
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout)?;
    report["end"]["sum_received"]["bits_per_second"]
        .as_f64()
        .with_context(|| format!("iperf3 reports no speed: {}", outcome.stdout))
}
