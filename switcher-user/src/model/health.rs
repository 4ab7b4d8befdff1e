//! How it is found out whether a backend works.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What is asked of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Probe {
    /// It takes a TCP connection.
    Tcp,
    /// It answers `GET PATH` over HTTP.
    Http {
        /// The path, with its `/`.
        path: String,
        /// The answers that prove it.
        statuses: Statuses,
    },
    /// It answers `GET PATH` over HTTPS. Its certificate may be anybody's.
    Https {
        /// The path, with its `/`.
        path: String,
        /// The answers that prove it.
        statuses: Statuses,
    },
    /// A command of the agent's user exits with 0.
    Command(String),
}

/// Statuses of HTTP, from one to another; 100 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    first: u16,
    last: u16,
}

impl Statuses {
    /// 200 and no other.
    pub const OK: Self = Self { first: 200, last: 200 };

    /// Whether this one is among them.
    #[must_use]
    pub const fn has(self, status: u16) -> bool {
        self.first <= status && status <= self.last
    }

    fn read(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let one = |text: &str| {
            let status = text.parse().ok()?;
            (text.len() == 3 && (100..600).contains(&status)).then_some(status)
        };
        let (first, last) = (one(first)?, one(last)?);
        (first <= last).then_some(Self { first, last })
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { first, last } if first == last => write!(f, "{first}"),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// Why a probe is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "'{0}' is no health check; write it as tcp, http:/healthz, https:/healthz (with another status than 200: 'http:/healthz 200-399') or command:CMD"
)]
pub struct ProbeError(String);

impl FromStr for Probe {
    type Err = ProbeError;

    fn from_str(text: &str) -> Result<Self, ProbeError> {
        if text == "tcp" {
            return Ok(Self::Tcp);
        }
        if let Some((path, statuses)) = text.strip_prefix("http:").and_then(asked) {
            return Ok(Self::Http { path, statuses });
        }
        if let Some((path, statuses)) = text.strip_prefix("https:").and_then(asked) {
            return Ok(Self::Https { path, statuses });
        }
        match text.strip_prefix("command:").map(str::trim) {
            Some(command) if !command.is_empty() => Ok(Self::Command(command.to_owned())),
            _ => Err(ProbeError(text.chars().take(60).collect())),
        }
    }
}

/// A path, and behind a space the statuses where they are not 200 alone.
fn asked(text: &str) -> Option<(String, Statuses)> {
    let (path, statuses) = match text.split_once(' ') {
        Some((path, statuses)) => (path, Statuses::read(statuses.trim())?),
        None => (text, Statuses::OK),
    };
    let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    is_path.then(|| (path.to_owned(), statuses))
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Http { path, statuses } => write_asked(f, "http", path, *statuses),
            Self::Https { path, statuses } => write_asked(f, "https", path, *statuses),
            Self::Command(command) => write!(f, "command:{command}"),
        }
    }
}

fn write_asked(f: &mut fmt::Formatter<'_>, scheme: &str, path: &str, statuses: Statuses) -> fmt::Result {
    write!(f, "{scheme}:{path}")?;
    if statuses != Statuses::OK {
        write!(f, " {statuses}")?;
    }
    Ok(())
}

impl TryFrom<String> for Probe {
    type Error = ProbeError;

    fn try_from(text: String) -> Result<Self, ProbeError> {
        text.parse()
    }
}

impl From<Probe> for String {
    fn from(probe: Probe) -> Self {
        probe.to_string()
    }
}

/// The health check of a set: each of its backends is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthSpec {
    /// What is asked.
    pub probe: Probe,
    /// From the end of one question to the next, in milliseconds.
    pub interval_ms: u64,
    /// How long an answer may take, in milliseconds.
    pub timeout_ms: u64,
    /// So many good answers in a row prove a backend.
    pub rise: u32,
    /// So many bad ones in a row take it out.
    pub fall: u32,
}

impl HealthSpec {
    /// The check with its usual times: each second, a second for the answer, out after three.
    #[must_use]
    pub const fn new(probe: Probe) -> Self {
        Self {
            probe,
            interval_ms: 1_000,
            timeout_ms: 1_000,
            rise: 1,
            fall: 3,
        }
    }

    /// What is wrong with its numbers, as a part of a sentence.
    #[must_use]
    pub fn mistake(&self) -> Option<&'static str> {
        match self {
            _ if !(10..=3_600_000).contains(&self.interval_ms) => Some("the interval is from 10ms to 1h"),
            _ if !(1..=60_000).contains(&self.timeout_ms) => Some("the time-out is from 1ms to 60s"),
            _ if !(1..=100).contains(&self.rise) || !(1..=100).contains(&self.fall) => {
                Some("rise and fall are from 1 to 100")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_read_and_written_alike() {
        for text in [
            "tcp",
            "http:/healthz?full=1",
            "https:/healthz",
            "http:/healthz 204",
            "https:/healthz 200-399",
            "command:test -e /run/ok",
        ] {
            assert_eq!(text.parse::<Probe>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "udp",
            "http:healthz",
            "http:/a b",
            "command: ",
            "https://a/x y",
            "https:x",
            "http:/healthz 99",
            "http:/healthz 600",
            "http:/healthz 0200",
            "http:/healthz 399-200",
            "http:/healthz 2xx",
            "http:/healthz -1",
        ] {
            assert!(text.parse::<Probe>().is_err(), "{text}");
        }
        let same: Probe = "http:/healthz 200".parse().unwrap();
        assert_eq!(same.to_string(), "http:/healthz");
    }
}
