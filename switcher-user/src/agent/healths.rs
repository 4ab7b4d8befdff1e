//! Health as the owner holds it: who is asked, what is held of each backend, and who gets no new flows because of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::owner::Owner;
use super::port::{Host, Kernel};
use crate::health::{Asked, BackendHealth, Probers, Report, Verdict};
use crate::plan::{Alias, Backend, Desired, Rollout, Set};
use crate::rollout::Health;

/// What is held of the backends of sets with a health check, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Healths {
    pub(super) probers: Probers,
    held: BTreeMap<u32, BackendHealth>,
}

impl Healths {
    /// Asks the backends that are wanted now. Those that had new flows before go on until they fail; others have to be
    /// proven.
    pub(super) fn follow(&mut self, old: &Desired, new: &Desired) {
        let known = backends(old);
        let wanted = asked(new);
        self.held.retain(|backend, _| wanted.contains_key(backend));
        for (backend, asked) in &wanted {
            let anew = |gets_flows: bool| {
                let assumed = if gets_flows {
                    Verdict::Assumed
                } else {
                    Verdict::Unproven
                };
                BackendHealth::new(assumed)
            };
            let held = self.held.entry(*backend);
            let held = held.or_insert_with(|| anew(known.contains(backend)));
            // What was answered to another question says nothing; who gets flows and who does not stays until this one's answer.
            if self.probers.spec(*backend).is_some_and(|spec| *spec != asked.spec) {
                *held = anew(held.is_usable());
            }
        }
        self.probers.ask(wanted);
    }

    /// Backends of `next` that get no new flows, seen from `now`.
    pub(super) fn unusable(&self, now: &Desired, next: &Desired) -> BTreeSet<u32> {
        let known = backends(now);
        let is_usable = |backend: &u32| match self.held.get(backend) {
            Some(health) => health.is_usable(),
            None => known.contains(backend),
        };
        asked(next).into_keys().filter(|backend| !is_usable(backend)).collect()
    }

    /// For people: by the numbers of the backends.
    pub(super) fn texts(&self) -> BTreeMap<u32, String> {
        let text = |health: &BackendHealth| match health.verdict {
            Verdict::Unproven if health.why.is_empty() => "not asked yet".to_owned(),
            Verdict::Unproven => format!("not proven: {}", health.why),
            Verdict::Assumed => "not asked yet, gets new flows as before".to_owned(),
            Verdict::Healthy => "healthy".to_owned(),
            Verdict::Failed => format!("fails: {}", health.why),
        };
        self.held
            .iter()
            .map(|(backend, health)| (*backend, text(health)))
            .collect()
    }

    fn of(&self, name: &str, set: &Set) -> Health {
        if set.health.is_none() {
            return Health::Unchecked;
        }
        let mut health = Health::Proven;
        for backend in &set.backends {
            let (at, held) = (backend.address, self.held.get(&backend.id));
            match held.map(|held| held.verdict) {
                Some(Verdict::Healthy) => {}
                Some(Verdict::Failed) => {
                    let why = held.map(|held| held.why.clone()).unwrap_or_default();
                    return Health::Failing(format!("backend {at} of set {name} fails its health check: {why}"));
                }
                _ => health = Health::Waiting(format!("backend {at} of set {name} is not proven by its health check")),
            }
        }
        health
    }
}

impl<K: Kernel, H: Host> Owner<K, H> {
    /// An answer of a backend. Where it changes who gets new flows, the next image says so.
    pub(super) async fn health_answer(&mut self, report: Report) {
        let Some(spec) = self.health.probers.spec(report.backend).cloned() else {
            return;
        };
        let Some(held) = self.health.held.get_mut(&report.backend) else {
            return;
        };
        let was = (held.is_usable(), held.verdict);
        held.answer(&spec, report.answer);
        if held.verdict != was.1 {
            tracing::info!("backend number {}: {:?} {}", report.backend, held.verdict, held.why);
        }
        if held.is_usable() != was.0 {
            self.tick().await;
        }
    }

    /// The new set's health, of all aliases together: the worst counts.
    pub(super) fn health_of(&self, rollout: &Rollout) -> Health {
        let to = &rollout.request.to;
        let mut all = Health::Unchecked;
        for one in &rollout.moves {
            let set = self
                .desired
                .aliases
                .get(&one.alias)
                .and_then(|alias| alias.sets.get(to));
            let Some(set) = set else { continue };
            match (self.health.of(&format!("{}/{to}", one.alias), set), &all) {
                (failing @ Health::Failing(_), _) => return failing,
                (waiting @ Health::Waiting(_), _) => all = waiting,
                (Health::Proven, Health::Unchecked) => all = Health::Proven,
                _ => {}
            }
        }
        all
    }

    /// Sets that fail their health check and have a share where the split changes, as sentences.
    pub(super) fn failing_shares(&self, next: &Desired) -> Vec<String> {
        let mut all = Vec::new();
        for (name, alias) in &next.aliases {
            let before = self.desired.aliases.get(name).map(|before| &before.split);
            if before == Some(&alias.split) {
                continue;
            }
            let shares = alias
                .split
                .weights
                .keys()
                .filter_map(|set| alias.sets.get_key_value(set));
            for (set, of) in shares {
                if let Health::Failing(why) = self.health.of(&format!("{name}/{set}"), of) {
                    all.push(format!("{why}; it was given its share all the same"));
                }
            }
        }
        all
    }

    /// Follows what is wanted now.
    pub(super) fn follow_health(&mut self, old: &Arc<Desired>) {
        let new = Arc::clone(&self.desired);
        self.health.follow(old, &new);
    }
}

/// All sets, each with its alias.
pub(super) fn sets(desired: &Desired) -> impl Iterator<Item = (&Alias, &Set)> {
    desired
        .aliases
        .values()
        .flat_map(|alias| alias.sets.values().map(move |set| (alias, set)))
}

fn backends(desired: &Desired) -> BTreeSet<u32> {
    sets(desired)
        .flat_map(|(_, set)| set.backends.iter().map(|backend| backend.id))
        .collect()
}

/// Where a backend is: without a port of its own, at the listener's.
pub(super) fn at(alias: &Alias, backend: &Backend) -> SocketAddr {
    let listener = alias.listen.first().map_or(0, |listener| listener.port);
    let port = backend.address.port.map_or(listener, std::num::NonZero::get);
    SocketAddr::new(backend.address.address, port)
}

fn asked(desired: &Desired) -> BTreeMap<u32, Asked> {
    let mut all = BTreeMap::new();
    for (alias, set) in sets(desired) {
        let Some(spec) = &set.health else { continue };
        for backend in &set.backends {
            let asked = Asked {
                address: at(alias, backend),
                spec: spec.clone(),
            };
            all.insert(backend.id, asked);
        }
    }
    all
}
