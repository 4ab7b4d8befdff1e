//! Where a rollout is, what it sees, and what it asks for.

use serde::{Deserialize, Serialize};

/// Where a rollout is. Times are milliseconds since it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing has changed; the new set is not proven yet.
    CheckingHealth,
    /// A flip was asked for.
    Flipping {
        /// Which step, from 0.
        step: usize,
    },
    /// The step has its share; figures are gathered.
    Observing {
        /// Which step, from 0.
        step: usize,
        /// When it began.
        since_ms: u64,
    },
    /// The new set has everything; flows of the old one are waited for.
    Draining {
        /// When it began.
        since_ms: u64,
    },
    /// The drain's time is up; flows that are left are being reset.
    Resetting {
        /// When it began.
        since_ms: u64,
        /// How long it may take.
        time_ms: u64,
    },
    /// The old split is being restored.
    RollingBack {
        /// Why, as a sentence.
        why: String,
        /// How often it was tried and failed.
        failed: u32,
        /// When it is tried again.
        again_ms: u64,
        /// It was asked for, and the answer is not there yet.
        asked: bool,
    },
    /// The end.
    Done(End),
}

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Nothing has changed.
    Refused {
        /// Why, as a sentence.
        why: String,
        /// The command's time was up.
        timed_out: bool,
    },
    /// Switched, and the old set has no flow left.
    Drained,
    /// Switched, and flows were left when the drain's time was up.
    FlowsLeft,
    /// Switched back.
    RolledBack {
        /// Why, as a sentence.
        why: String,
    },
    /// Flows could not be counted.
    Unknown {
        /// Why, as a sentence.
        why: String,
    },
}

/// What is known of the new set's health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Nobody asked for a check.
    #[default]
    Unchecked,
    /// Not all of its backends are proven.
    Waiting(String),
    /// All of its backends are proven.
    Proven,
    /// At least one fails.
    Failing(String),
}

/// What the command's own check says of this step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// It has not ended in this step yet.
    #[default]
    Waiting,
    /// Its last run, which began in this step, passed.
    Passed,
    /// It failed.
    Failed(String),
}

/// What is seen at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The new set's health.
    pub health: Health,
    /// The command's own check.
    pub check: Check,
    /// How the flip that was asked for went; `None`: none was, or it is on its way.
    pub flip: Option<Result<(), String>>,
    /// New flows of the new set in this step.
    pub new_flows: u64,
    /// The figures of this step, in spite of all the looks at them, are a breach: which.
    pub breach: Option<String>,
    /// The figures are a breach if this is the last look of the step: which.
    pub breach_at_end: Option<String>,
    /// Flows of the old set; `None`: not counted yet.
    pub left: Option<u64>,
    /// Flows that are being reset.
    pub resetting: u64,
    /// Flows that may live in spite of their reset.
    pub reset_failed: u64,
    /// The figures or flows cannot be read.
    pub unreadable: Option<String>,
    /// Somebody wants it to end and go back: who, as a sentence.
    pub recalled: Option<String>,
}

/// What a rollout asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give the new set the share of this step; `Snapshot::flip` says how it went.
    Flip {
        /// Which step, from 0.
        step: usize,
    },
    /// Restore the split from before; `Snapshot::flip` says how it went.
    FlipBack,
}
