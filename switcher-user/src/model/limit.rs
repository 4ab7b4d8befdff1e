//! `--fail-on`: what a new version must not exceed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most limits of an upgrade.
pub const LIMITS_MAX: usize = 32;

/// What is measured of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Handshakes that failed, in whatever way; of all that ended.
    Failed,
    /// Handshakes that the backend refused; of all that ended.
    Refused,
    /// Handshakes that nobody completed; of all that ended.
    TimedOut,
    /// SYNs that came again; of new flows.
    Retransmitted,
    /// Established flows that the backend reset; of established ones.
    ServerResets,
    /// Established flows that the client reset; of established ones.
    ClientResets,
    /// Flows, established two seconds ago or longer, whose backend has not said anything; of those.
    Unreplied,
    /// From the client's first data to the backend's: what this share of flows, in permille, does not exceed.
    FirstReply(u16),
    /// From the SYN to the backend's answer: the same.
    Answer(u16),
}

const NAMES: [(&str, Metric); 13] = [
    ("failed", Metric::Failed),
    ("refused", Metric::Refused),
    ("timed_out", Metric::TimedOut),
    ("retransmitted", Metric::Retransmitted),
    ("server_resets", Metric::ServerResets),
    ("client_resets", Metric::ClientResets),
    ("unreplied", Metric::Unreplied),
    ("first_reply_p50", Metric::FirstReply(500)),
    ("first_reply_p95", Metric::FirstReply(950)),
    ("first_reply_p99", Metric::FirstReply(990)),
    ("answer_p50", Metric::Answer(500)),
    ("answer_p95", Metric::Answer(950)),
    ("answer_p99", Metric::Answer(990)),
];

impl Metric {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        let named = NAMES.iter().find(|(_, metric)| *metric == self);
        named.map_or("first_reply", |(name, _)| name)
    }

    /// True: a time; false: a count of flows.
    #[must_use]
    pub const fn is_time(self) -> bool {
        matches!(self, Self::FirstReply(_) | Self::Answer(_))
    }
}

/// In what a limit is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Flows.
    Count,
    /// Percent.
    Percent,
    /// Milliseconds.
    Ms,
    /// Times what the old set has over the same time.
    Times,
}

/// What a new version must not exceed: `METRIC>NUMBER[%|ms|x]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Limit {
    /// What is measured.
    pub metric: Metric,
    /// The limit, in thousandths.
    pub thousandths: u64,
    /// In what it is said.
    pub unit: Unit,
}

/// Why a limit is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LimitError {
    /// No `>`.
    #[error("'{0}' is no limit; write it as 'failed>1%' or 'first_reply_p99>2x'")]
    Form(String),
    /// No such metric.
    #[error("'{name}' is nothing that is measured; there are: {known}")]
    Metric {
        /// The name that was given.
        name: String,
        /// Those there are.
        known: String,
    },
    /// No number.
    #[error("'{0}' is no number from 0 to 1000000 with up to three decimals; write the limit as 'failed>1.5%'")]
    Number(String),
    /// The unit does not go with the metric.
    #[error("{metric} is {is}; write its limit with {units}")]
    Unit {
        /// The metric.
        metric: &'static str,
        /// What it is.
        is: &'static str,
        /// The units that go with it.
        units: &'static str,
    },
}

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let (name, value) = text.split_once('>').ok_or_else(|| LimitError::Form(text.to_owned()))?;
        let name = name.trim();
        let metric = NAMES.iter().find(|(known, _)| *known == name);
        let (_, metric) = metric.ok_or_else(|| LimitError::Metric {
            name: name.to_owned(),
            known: NAMES.map(|(name, _)| name).join(", "),
        })?;
        let value = value.trim();
        let units = [("%", Unit::Percent), ("ms", Unit::Ms), ("x", Unit::Times)];
        let suffix = units
            .iter()
            .find_map(|(suffix, unit)| Some((value.strip_suffix(suffix)?, *unit)));
        let (number, unit) = suffix.unwrap_or((value, Unit::Count));
        let fits = match unit {
            Unit::Times => true,
            Unit::Ms => metric.is_time(),
            Unit::Count | Unit::Percent => !metric.is_time(),
        };
        if !fits {
            let (is, units) = if metric.is_time() {
                ("a time", "ms or x")
            } else {
                ("a count", "%, x or nothing")
            };
            let metric = metric.name();
            return Err(LimitError::Unit { metric, is, units });
        }
        Ok(Self {
            metric: *metric,
            thousandths: thousandths(number.trim()).ok_or_else(|| LimitError::Number(number.to_owned()))?,
            unit,
        })
    }
}

fn thousandths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return None;
    }
    let whole: u64 = whole.parse().ok().filter(|whole| *whole <= 1_000_000)?;
    Some(whole * 1_000 + format!("{part:0<3}").parse::<u64>().ok()?)
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.thousandths / 1_000, self.thousandths % 1_000);
        let part = format!("{part:03}");
        let part = part.trim_end_matches('0');
        let dot = if part.is_empty() { "" } else { "." };
        let unit = match self.unit {
            Unit::Count => "",
            Unit::Percent => "%",
            Unit::Ms => "ms",
            Unit::Times => "x",
        };
        write!(f, "{}>{whole}{dot}{part}{unit}", self.metric.name())
    }
}

impl TryFrom<String> for Limit {
    type Error = LimitError;

    fn try_from(text: String) -> Result<Self, LimitError> {
        text.parse()
    }
}

impl From<Limit> for String {
    fn from(limit: Limit) -> Self {
        limit.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_written_alike() {
        for text in [
            "failed>1%",
            "first_reply_p99>2x",
            "refused>0",
            "answer_p95>12.5ms",
            "server_resets>0.125%",
        ] {
            assert_eq!(text.parse::<Limit>().unwrap().to_string(), text);
        }
        assert_eq!(" failed > 1.50 % ".parse::<Limit>().unwrap().to_string(), "failed>1.5%");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, word) in [
            ("failed", "no limit"),
            ("failed<1%", "no limit"),
            ("http_500>1%", "failed, refused"),
            ("failed>ms", "a count"),
            ("failed>x", "no number"),
            ("failed>-1%", "no number"),
            ("failed>1.0001%", "no number"),
            ("failed>1e3", "no number"),
            ("failed>10ms", "a count"),
            ("first_reply_p99>5%", "a time"),
            ("first_reply_p99>5", "a time"),
            ("failed>99999999%", "no number"),
        ] {
            let error = text.parse::<Limit>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
