//! Which aliases an upgrade moves, and which it has moved already: what is left of those is their connections at FROM.

use std::collections::BTreeMap;

use super::stack::KernelAlias;
use crate::api::{AliasStatus, StatusDocument};
use crate::compose::ServiceName;
use crate::model::{Action, AliasName};

/// The aliases of the files that an upgrade is about.
#[derive(Debug, Default)]
pub(super) struct Moves<'p> {
    /// FROM has a share.
    pub moving: Vec<KernelAlias<'p>>,
    /// An upgrade has moved them, and FROM's set is still there.
    pub moved: Vec<AliasName>,
    /// FROM has no share: an upgrade has moved at least one.
    pub was_moved: bool,
    /// TO has a share of at least one.
    pub serves: bool,
}

impl<'p> Moves<'p> {
    pub fn of(all: Vec<KernelAlias<'p>>, status: &StatusDocument, from: &ServiceName, to: &ServiceName) -> Self {
        let mut moves = Self::default();
        for alias in all {
            let Some(known) = status.aliases.iter().find(|one| one.name == alias.name) else {
                continue;
            };
            moves.serves |= has(&known.split, to);
            if has(&known.split, from) {
                moves.moving.push(alias);
            } else if is_moved(known, from, to) {
                moves.was_moved = true;
                if known.sets.iter().any(|set| set.name == *from) {
                    moves.moved.push(alias.name);
                }
            }
        }
        moves
    }

    /// What the agent is asked for: where all has moved it only waits for the rest.
    pub fn names(&self) -> Vec<AliasName> {
        let moving = self.moving.iter().map(|alias| &alias.name);
        moving.chain(&self.moved).cloned().collect()
    }
}

fn has(split: &BTreeMap<ServiceName, u32>, set: &ServiceName) -> bool {
    split.get(set).is_some_and(|weight| *weight > 0)
}

/// By an upgrade: where `up` or a rollback went back from FROM, the arguments are more likely the wrong way round.
fn is_moved(alias: &AliasStatus, from: &ServiceName, to: &ServiceName) -> bool {
    let had = alias.previous.as_ref().is_some_and(|split| has(split, from));
    let upgraded = alias.last_change.is_some_and(|change| change.action == Action::Upgrade);
    has(&alias.split, to) && had && (upgraded || alias.progress.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(action: &str) -> AliasStatus {
        let text = format!(
            r#"{{"name": "lb", "stack": null, "listen": [], "path": "auto", "running": null, "split": {{"v1": 1}},
                "previous": {{"v2": 1}}, "sets": [],
                "last_change": {{"receipt": 1, "action": "{action}", "outcome": "done", "command_us": 1, "flows_left": 0}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn only_an_upgrade_has_moved_it() {
        let (v1, v2) = ("v1".parse().unwrap(), "v2".parse().unwrap());
        assert!(is_moved(&alias("upgrade"), &v2, &v1));
        for action in ["apply", "rollback", "split"] {
            assert!(!is_moved(&alias(action), &v2, &v1), "{action}");
        }
        assert!(!is_moved(&alias("upgrade"), &v1, &v2));
    }
}
