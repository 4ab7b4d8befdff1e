//! What a rollout is to do.

use serde::{Deserialize, Serialize};

/// What a rollout is to do. All times are milliseconds since it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Percent of the old set's share that the new one has after each step: rising, the last is 100.
    pub steps: Vec<u32>,
    /// How long each step is observed before the next.
    pub interval_ms: u64,
    /// New flows that the new set must have had in a step before it is judged.
    pub min_flows: u64,
    /// A check is run through every step, and must have passed in it.
    pub checked: bool,
    /// How long the old set's flows may take to end.
    pub drain_timeout_ms: u64,
    /// Flows that are left then are reset.
    pub resets: bool,
    /// The whole command's time is up then.
    pub deadline_ms: u64,
    /// The new set has the share already: there is only a drain, and nothing to go back to.
    pub only_drains: bool,
}

impl Order {
    /// Steps in all.
    #[must_use]
    pub const fn steps(&self) -> usize {
        self.steps.len()
    }
}
