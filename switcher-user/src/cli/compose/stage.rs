//! How far an upgrade of one service has come, told by what is there: a killed command leaves nothing else.
//!
//! While one is not confirmed, the sets of the service are pinned to the hashes of the containers that serve.

use super::bring::Site;
use super::renew::Follower;
use super::stack;
use crate::api::ApiError;
use crate::compose::ServiceName;
use crate::discovery::Container;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// New containers are there, or were begun with, and nobody was ever sent there; or it went back, and they are still there.
    Begun,
    /// The new ones serve, and old ones run.
    Switched,
    /// The new ones serve, and the old ones are there, stopped.
    Spent,
    /// Only the pin is left.
    Settled,
    /// Nobody has what the sets are pinned to.
    Lost,
}

/// What is left of an upgrade of a service that nobody has confirmed.
#[derive(Clone, Debug)]
pub(super) struct Unconfirmed {
    pub stage: Stage,
    /// Containers that serve.
    pub serving: Vec<Container>,
    /// Containers that would, and are stopped.
    pub silent: Vec<Container>,
    /// Running ones of the other kind: those that served before, or, where it never got to its switch, those that were to.
    pub others: Vec<Container>,
    /// The same, stopped.
    pub stopped: Vec<Container>,
}

impl Unconfirmed {
    /// False: it failed or was killed before its switch.
    pub const fn is_switched(&self) -> bool {
        matches!(self.stage, Stage::Switched | Stage::Spent)
    }

    /// All of the other kind.
    pub fn all_others(&self) -> Vec<Container> {
        self.others.iter().chain(&self.stopped).cloned().collect()
    }

    fn of(own: Vec<Container>, pinned: &[String]) -> Self {
        // What was made by hand is of no kind: it is neither what an upgrade made nor what it goes back to.
        let of_a_kind = own
            .into_iter()
            .filter(|one| one.number().is_some() && one.hash().is_some());
        let is_pinned = |one: &Container| one.hash().is_some_and(|hash| pinned.iter().any(|own| own == hash));
        let (kept, others): (Vec<Container>, Vec<Container>) = of_a_kind.partition(is_pinned);
        let stage = stage(&kept, &others);
        // Of an upgrade that is not switched only what it made is its own: the higher numbers.
        let last = kept.iter().filter_map(Container::number).max();
        let counts = |one: &Container| stage != Stage::Begun || (one.is_ours() && one.number() > last);
        let (serving, silent) = kept.into_iter().partition(|one| one.running);
        let (others, stopped) = others.into_iter().filter(counts).partition(|one| one.running);
        Self {
            stage,
            serving,
            silent,
            others,
            stopped,
        }
    }
}

/// Numbers rise, so the new ones have the higher. `kept`: the kind that the sets are pinned to.
fn stage(kept: &[Container], others: &[Container]) -> Stage {
    let Some(last) = kept.iter().filter_map(Container::number).max() else {
        return Stage::Lost;
    };
    if others.iter().any(|one| one.is_ours() && one.number() > Some(last)) {
        Stage::Begun
    } else if others.iter().any(|one| one.running) {
        Stage::Switched
    } else if others.is_empty() {
        Stage::Settled
    } else {
        Stage::Spent
    }
}

impl Site<'_> {
    /// The two kinds of containers of a service whose upgrade is not confirmed; `None`: all serve.
    pub(super) async fn unconfirmed(
        &self,
        name: &ServiceName,
        followers: &[Follower],
    ) -> Result<Option<Unconfirmed>, ApiError> {
        // Sets of aliases that are not in the files switch after those that are.
        let in_files = stack::kernel_aliases(&self.loaded.project)?;
        let in_files = |one: &&Follower| in_files.iter().any(|alias| alias.name == one.alias);
        let mut all = followers.iter().filter(|one| !one.hashes.is_empty());
        let Some(pinned) = all.clone().find(in_files).or_else(|| all.next()) else {
            return Ok(None);
        };
        let own = self.containers_of(name).await?;
        Ok(Some(Unconfirmed::of(own, &pinned.hashes)))
    }

    /// Those that serve, as they are now that all of them were started.
    pub(super) async fn unconfirmed_serving(
        &self,
        name: &ServiceName,
        left: &Unconfirmed,
    ) -> Result<Vec<Container>, ApiError> {
        let mut now = self.running_of(name).await?;
        let kept = |one: &Container| left.serving.iter().chain(&left.silent).any(|had| had.id == one.id);
        now.retain(kept);
        Ok(now)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::discovery::{Health, LABEL_HASH, LABEL_NUMBER};

    /// A container of a service; `kind`: one letter, which `switcher compose` would have written 32 times.
    pub(in super::super) fn container(number: u32, kind: &str, running: bool) -> Container {
        let hash = if kind.len() == 1 {
            kind.repeat(32)
        } else {
            kind.to_owned()
        };
        let labels = [(LABEL_NUMBER, number.to_string()), (LABEL_HASH, hash)];
        let labels: HashMap<String, String> = labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Container {
            id: number.to_string(),
            name: format!("app-{number}"),
            image: String::new(),
            labels,
            addresses: Vec::new(),
            ports: Vec::new(),
            running,
            exit_code: None,
            on_host_network: false,
            health: Health::Unchecked,
        }
    }

    #[test]
    fn what_is_there_says_how_far_it_is() {
        let (on, off) = (true, false);
        let theirs = "c".repeat(64);
        // Pinned to `a`.
        for (all, expected) in [
            (vec![(1, "a", on)], Stage::Settled),
            (vec![(1, "a", off)], Stage::Settled),
            (vec![(1, "a", on), (2, "b", on)], Stage::Begun),
            (vec![(1, "a", on), (2, "b", off)], Stage::Begun),
            (vec![(1, "b", on), (2, "a", on)], Stage::Switched),
            (vec![(1, "b", on), (2, "a", off)], Stage::Switched),
            (vec![(1, "b", off), (2, "a", on)], Stage::Spent),
            (vec![(1, "b", off), (2, "a", on), (3, "b", on)], Stage::Begun),
            // Somebody else's are no new version of ours, and may be an old one.
            (vec![(1, "a", on), (2, &theirs, on)], Stage::Switched),
            (vec![(1, "b", on)], Stage::Lost),
            (vec![], Stage::Lost),
        ] {
            let own = all
                .iter()
                .map(|(number, kind, running)| container(*number, kind, *running))
                .collect();
            let left = Unconfirmed::of(own, &["a".repeat(32)]);
            assert_eq!(left.stage, expected, "{all:?}");
        }
    }

    #[test]
    fn of_an_upgrade_that_never_switched_only_what_it_made_is_its_own() {
        let own = [(1, "b", false), (2, "a", true), (3, "b", true), (4, "b", false)];
        let own = own.map(|(number, kind, running)| container(number, kind, running));
        let left = Unconfirmed::of(own.into(), &["a".repeat(32)]);
        let numbers: Vec<u32> = left.all_others().iter().filter_map(Container::number).collect();
        assert_eq!(numbers, [3, 4]);
        assert!(!left.is_switched());
    }
}
