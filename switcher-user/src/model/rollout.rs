//! What `upgrade` asks for.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{AliasName, Limit, SetName};

/// Most steps of an upgrade.
pub const STEPS_MAX: usize = 100;

/// What a step moves from the old set to the new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepBy {
    /// Clients: one that has seen the new set stays there.
    #[default]
    Client,
    /// Flows, each for itself: for clients that all come from one address.
    Flow,
}

impl StepBy {
    /// As it is written.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Flow => "flow",
        }
    }
}

/// Why steps are refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StepsError {
    /// Not a percentage.
    #[error("'{0}' is no percentage; write steps as 5,25,50,100")]
    NoNumber(String),
    /// Out of range.
    #[error("step {0} is out of range; steps are percentages from 1 to 100, as 5,25,50,100")]
    Range(u32),
    /// Not rising.
    #[error("step {next} follows step {before}; steps rise, as 5,25,50,100")]
    NotRising {
        /// A step.
        before: u32,
        /// The one after it.
        next: u32,
    },
    /// The new set would not get everything.
    #[error(
        "the last step is {0}; it must be 100, else the upgrade has no end (for a share that stays: switcher split)"
    )]
    LastNot100(u32),
    /// Too many.
    #[error("{0} steps are too many; at most {STEPS_MAX} fit")]
    TooMany(usize),
}

/// Percentages of the old set's share that the new one has after each step: rising, the last is 100.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u32>", into = "Vec<u32>")]
pub struct Steps(Vec<u32>);

impl Default for Steps {
    /// Everything at once.
    fn default() -> Self {
        Self(vec![100])
    }
}

impl Steps {
    /// The percentages.
    #[must_use]
    pub fn percent(&self) -> &[u32] {
        &self.0
    }
}

impl TryFrom<Vec<u32>> for Steps {
    type Error = StepsError;

    fn try_from(steps: Vec<u32>) -> Result<Self, StepsError> {
        if steps.len() > STEPS_MAX {
            return Err(StepsError::TooMany(steps.len()));
        }
        if let Some(step) = steps.iter().find(|step| !(1..=100).contains(*step)) {
            return Err(StepsError::Range(*step));
        }
        if let Some(pair) = steps.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(StepsError::NotRising {
                before: pair[0],
                next: pair[1],
            });
        }
        match steps.last() {
            Some(100) => Ok(Self(steps)),
            Some(last) => Err(StepsError::LastNot100(*last)),
            None => Err(StepsError::NoNumber(String::new())),
        }
    }
}

impl From<Steps> for Vec<u32> {
    fn from(steps: Steps) -> Self {
        steps.0
    }
}

impl std::str::FromStr for Steps {
    type Err = StepsError;

    fn from_str(text: &str) -> Result<Self, StepsError> {
        let number = |word: &str| {
            let word = word.trim();
            word.parse().map_err(|_| StepsError::NoNumber(word.to_owned()))
        };
        text.split(',').map(number).collect::<Result<Vec<u32>, _>>()?.try_into()
    }
}

/// How an upgrade goes on between its first flip and its drain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutOptions {
    /// The steps.
    pub steps: Steps,
    /// How long each step is observed, in milliseconds.
    pub interval_ms: u64,
    /// What a step moves.
    pub step_by: StepBy,
    /// New flows that the new set must have had in a step before the next.
    pub min_flows: u64,
    /// What the new set must not exceed, beside the rules that always hold.
    pub fail_on: Vec<Limit>,
    /// A command that is run through every step.
    pub check: Option<String>,
    /// Who says that the old set may go.
    pub confirm: Confirm,
    /// What becomes of flows that are left when the drain's time is up.
    pub drain_action: DrainAction,
}

/// What becomes of flows that are left when the drain's time is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DrainAction {
    /// They stay.
    #[default]
    Keep,
    /// Both ends of each get a RST, the longest idle first.
    Reset,
}

impl DrainAction {
    /// As it is written.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Reset => "reset",
        }
    }
}

/// Who says that the old set may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confirm {
    /// The end of the upgrade.
    #[default]
    Auto,
    /// `confirm`; until then the old set cannot be removed.
    Manual,
}

impl Confirm {
    /// As it is written.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Manual => "manual",
        }
    }
}

/// `POST /v1/upgrade`. Two that are equal are one: the later attaches to the earlier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpgradeRequest {
    /// The aliases, all flipped at once.
    pub aliases: Vec<AliasName>,
    /// The set that gets the share.
    pub to: SetName,
    /// The set that gives it; `None`: the only one with a share.
    #[serde(default)]
    pub from: Option<SetName>,
    /// How long flows of FROM may take to end.
    pub drain_timeout_ms: u64,
    /// Its steps.
    #[serde(default)]
    pub rollout: RolloutOptions,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_rise_and_end_with_100() {
        let steps = |text: &str| text.parse::<Steps>();
        assert_eq!(steps("5, 25,50,100").unwrap().percent(), [5, 25, 50, 100]);
        assert_eq!(steps("100").unwrap(), Steps::default());
        assert_eq!(steps("5,50").unwrap_err(), StepsError::LastNot100(50));
        assert_eq!(
            steps("50,5,100").unwrap_err(),
            StepsError::NotRising { before: 50, next: 5 }
        );
        assert_eq!(
            steps("50,50,100").unwrap_err(),
            StepsError::NotRising { before: 50, next: 50 }
        );
        assert_eq!(steps("0,100").unwrap_err(), StepsError::Range(0));
        assert_eq!(steps("5,101").unwrap_err(), StepsError::Range(101));
        assert_eq!(steps("5%,100").unwrap_err(), StepsError::NoNumber("5%".to_owned()));
        assert_eq!(steps("").unwrap_err(), StepsError::NoNumber(String::new()));
        assert!(serde_json::from_str::<Steps>("[5,50]").is_err(), "the API is not laxer");
    }
}
