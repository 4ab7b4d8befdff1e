//! Rollouts as they stand on the disk, so that the next agent goes on with them; and the splits of their steps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Desired, Refusal, Split};
use crate::model::{AliasName, Caller, SetName, StepBy, UpgradeRequest};
use crate::rollout::State;

/// A rollout that has begun and has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// What was asked for.
    pub request: UpgradeRequest,
    /// Who asked.
    pub caller: Caller,
    /// When, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Its time in all, from there, in milliseconds.
    pub timeout_ms: u64,
    /// Where it is. On the disk before the kernel has it.
    pub state: State,
    /// What it moves, alias by alias.
    pub moves: Vec<RolloutMove>,
    /// Number of its receipt, once it has one.
    pub receipt: Option<u64>,
}

/// What a rollout moves at one alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutMove {
    /// The alias.
    pub alias: AliasName,
    /// The set that gives its share; `None`: nobody is known.
    pub from: Option<SetName>,
    /// False: TO has the share already, and there is only a drain.
    pub changes: bool,
    /// The split before it began.
    pub before: Split,
    /// What `rollback` would have restored then.
    pub previous: Option<Split>,
}

impl Rollout {
    /// True where TO has everything already, and there is only a drain.
    #[must_use]
    pub fn only_drains(&self) -> bool {
        self.moves.iter().all(|one| !one.changes)
    }
}

impl Desired {
    /// Gives TO this percentage of what FROM had in the beginning; others keep theirs to the hash.
    ///
    /// # Errors
    /// When an alias is gone.
    pub fn rollout_step(&mut self, rollout: &Rollout, percent: u32) -> Result<(), Refusal> {
        for one in rollout.moves.iter().filter(|one| one.changes) {
            let Some(from) = &one.from else { continue };
            let alias = self.alias_mut(&one.alias)?;
            let weights = weights(&one.before.weights, from, &rollout.request.to, percent);
            alias.split = alias.split.change(&weights);
            alias.previous = Some(one.before.clone());
            alias.step_by = if percent < 100 {
                rollout.request.rollout.step_by
            } else {
                StepBy::Client
            };
        }
        Ok(())
    }

    /// True where the rollout's sets are there, and the shares are those that it has made where it says that it is.
    #[must_use]
    pub fn is_still_at(&self, rollout: &Rollout) -> bool {
        let to = &rollout.request.to;
        rollout.moves.iter().all(|one| {
            let Some(alias) = self.aliases.get(&one.alias) else {
                return false;
            };
            let sets = alias.sets.contains_key(to) && one.from.iter().all(|from| alias.sets.contains_key(from));
            let before = &one.before.weights;
            let step = |percent: u32| match &one.from {
                Some(from) if one.changes => weights(before, from, to, percent),
                _ => before.clone(),
            };
            let is = &alias.split.weights;
            let steps = rollout.request.rollout.steps.percent();
            let shares = match &rollout.state {
                State::CheckingHealth => is == before,
                State::Observing { step: at, .. } => *is == step(steps.get(*at).copied().unwrap_or(100)),
                State::Draining { .. } | State::Resetting { .. } => *is == step(100),
                State::Flipping { .. } | State::RollingBack { .. } | State::Done(_) => {
                    is == before || steps.iter().any(|percent| *is == step(*percent))
                }
            };
            sets && shares
        })
    }

    /// Restores what was, `previous` too: else a `rollback` that follows would go forward again.
    pub fn rollout_back(&mut self, rollout: &Rollout) {
        for one in rollout.moves.iter().filter(|one| one.changes) {
            if let Some(alias) = self.aliases.get_mut(&one.alias) {
                alias.split.clone_from(&one.before);
                alias.previous.clone_from(&one.previous);
                alias.step_by = StepBy::Client;
            }
        }
    }
}

/// Small again where it can be: 95 and 5, not 9,500 and 500.
fn weights(before: &BTreeMap<SetName, u32>, from: &SetName, to: &SetName, percent: u32) -> BTreeMap<SetName, u32> {
    let mut weights: BTreeMap<SetName, u32> = before.iter().map(|(set, weight)| (set.clone(), weight * 100)).collect();
    let whole = before.get(from).copied().unwrap_or(0);
    let moved = whole * percent;
    weights.insert(from.clone(), whole * 100 - moved);
    *weights.entry(to.clone()).or_insert(0) += moved;
    weights.retain(|_, weight| *weight > 0);
    if weights.values().all(|weight| weight % 100 == 0) {
        weights.values_mut().for_each(|weight| *weight /= 100);
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str) -> SetName {
        name.parse().unwrap()
    }

    fn of(list: &[(&str, u32)]) -> BTreeMap<SetName, u32> {
        list.iter().map(|(name, weight)| (set(name), *weight)).collect()
    }

    #[test]
    fn weights_of_steps_are_exact_and_small() {
        let step = |before: &[(&str, u32)], percent| weights(&of(before), &set("v1"), &set("v2"), percent);
        assert_eq!(step(&[("v1", 100)], 5), of(&[("v1", 95), ("v2", 5)]));
        assert_eq!(step(&[("v1", 100)], 100), of(&[("v2", 100)]));
        assert_eq!(step(&[("v1", 1)], 5), of(&[("v1", 95), ("v2", 5)]));
        assert_eq!(
            step(&[("v1", 60), ("v2", 10), ("v3", 30)], 50),
            of(&[("v1", 30), ("v2", 40), ("v3", 30)])
        );
        assert_eq!(
            step(&[("v1", 333), ("v3", 667)], 5),
            of(&[("v1", 31_635), ("v2", 1_665), ("v3", 66_700)])
        );
    }

    /// A client that has seen the new set stays there, and sets that have nothing to do with it keep their clients.
    #[test]
    fn a_client_that_has_moved_never_goes_back() {
        let before = Split::default().change(&of(&[("v1", 333), ("v2", 7), ("v3", 660)]));
        let owner = |split: &Split, hash: u64| {
            let segment = split.segments.iter().find(|segment| hash < segment.end).unwrap();
            segment.set.clone()
        };
        let mut split = before.clone();
        for percent in [1, 5, 6, 25, 50, 51, 99, 100] {
            let next = split.change(&weights(&before.weights, &set("v1"), &set("v2"), percent));
            for hash in (0..super::super::HASH_SPACE).step_by(1 << 16) {
                let (was, is) = (owner(&split, hash), owner(&next, hash));
                assert!(
                    was == is || (was == set("v1") && is == set("v2")),
                    "{was} -> {is} at {percent} %"
                );
            }
            split = next;
        }
        assert!(!split.has(&set("v1")));
    }
}
