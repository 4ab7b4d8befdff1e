//! Containers that a command is about to end: they leave their sets first, and it is told what they still hold.
//!
//! Nothing is kept on the disk: a command that waits asks again and again, and what nobody asks about any more serves again
//! after [`LEAVING_FOR`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Instant;

use super::containers::{candidate, not_followed};
use super::drain::is_held;
use super::owner::Owner;
use super::port::{Host, Kernel};
use crate::api::{ApiError, ErrorCode, HeldFlows, LeavingDocument, Reply, SCHEMA};
use crate::discovery::{LEAVING_FOR, Readiness, Seen, Snapshot};
use crate::kernel::KernelError;
use crate::plan::Candidate;

/// Who leaves, by id, and since when.
#[derive(Debug, Default)]
pub(super) struct Leaving(BTreeMap<String, Instant>);

/// Which of the flows at an address are a container's: the host's own address has more than one of them.
#[derive(Clone, Debug)]
enum Ports {
    All,
    These(BTreeSet<u16>),
    AllBut(BTreeSet<u16>),
}

impl Ports {
    fn has(&self, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::These(ports) => ports.contains(&port),
            Self::AllBut(ports) => !ports.contains(&port),
        }
    }
}

impl Leaving {
    pub(super) fn has(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// Those whose time is up serve again; so do those that ended, where they are started again.
    pub(super) fn forget(&mut self, snapshot: &Snapshot, now: Instant) {
        let ended = |id: &String| {
            let mut all = snapshot.containers.iter();
            all.any(|seen| seen.container.id == *id && !seen.container.running)
        };
        self.0
            .retain(|id, since| now.duration_since(*since) < LEAVING_FOR && !ended(id));
    }
}

impl<K: Kernel, H: Host> Owner<K, H> {
    /// Takes containers out of all sets that follow them. When it returns, no new connection goes to one of them.
    pub(super) async fn leave(&mut self, ids: &[String]) -> Result<Reply, ApiError> {
        let snapshot = self.snapshot().ok_or_else(not_followed)?;
        if !snapshot.listed {
            let text = "Docker has not said yet what runs; nothing was changed: try again";
            return Err(ApiError::new(ErrorCode::Refused, text));
        }
        self.leaving.forget(&snapshot, Instant::now());
        if let Some(why) = self.last_of_a_set(&snapshot, ids) {
            return Err(ApiError::new(ErrorCode::Refused, why));
        }
        let new: Vec<&String> = ids.iter().filter(|id| !self.leaving.has(id)).collect();
        let now = Instant::now();
        self.leaving.0.extend(ids.iter().map(|id| (id.clone(), now)));
        self.follow_containers().await;
        if let Some(set) = self.still_leads_to(&snapshot, ids) {
            for id in new {
                self.leaving.0.remove(id);
            }
            let text = format!("{set}; {}", self.container_notes.join("; "));
            return Err(ApiError::new(ErrorCode::HostFailed, text));
        }
        let containers = self.held_by(&snapshot, ids).await?;
        Ok(self.leaving_document(Some(LEAVING_FOR), containers))
    }

    /// Lets containers serve again.
    pub(super) async fn stay(&mut self, ids: &[String]) -> Result<Reply, ApiError> {
        let snapshot = self.snapshot().ok_or_else(not_followed)?;
        self.leaving.0.retain(|id, _| !ids.contains(id));
        self.follow_containers().await;
        let containers = self.held_by(&snapshot, ids).await?;
        Ok(self.leaving_document(None, containers))
    }

    fn leaving_document(&self, time: Option<std::time::Duration>, containers: Vec<HeldFlows>) -> Reply {
        Reply::Leaving(Box::new(LeavingDocument {
            schema: SCHEMA,
            epoch: self.epoch,
            for_ms: time.and_then(|time| u64::try_from(time.as_millis()).ok()),
            containers,
        }))
    }

    /// A set that gets new connections and would have nobody else, as a sentence.
    fn last_of_a_set(&self, snapshot: &Snapshot, ids: &[String]) -> Option<String> {
        let (going, others): (Vec<&Seen>, Vec<&Seen>) = snapshot
            .containers
            .iter()
            .partition(|seen| ids.contains(&seen.container.id));
        let going: Vec<Candidate> = going.into_iter().map(candidate).collect();
        let stays = |seen: &&&Seen| seen.readiness == Readiness::Ready && !self.leaving.has(&seen.container.id);
        let others: Vec<Candidate> = others.iter().filter(stays).map(|seen| candidate(seen)).collect();
        for (name, alias) in &self.desired.aliases {
            for (set_name, set) in alias.sets.iter().filter(|(set, _)| alias.split.has(set)) {
                let addresses: BTreeSet<IpAddr> = set.backends.iter().map(|one| one.address.address).collect();
                let named = |one: &&Candidate| one.addresses.iter().any(|address| addresses.contains(address));
                let Some(source) = &set.containers else {
                    if let Some(one) = going.iter().find(named) {
                        let container = &one.name;
                        return Some(format!(
                            "set {name}/{set_name}, which was given by hand and gets new connections, leads to container {container}; nothing was changed: give its share to another set first"
                        ));
                    }
                    continue;
                };
                let is_of_set = |one: &&Candidate| one.serves(name, set_name, source);
                if let Some(last) = going.iter().find(is_of_set)
                    && !others
                        .iter()
                        .any(|one| one.serves(name, set_name, source) && !one.places(&alias.listen, source).is_empty())
                {
                    let container = &last.name;
                    return Some(format!(
                        "set {name}/{set_name} gets new connections, and without container {container} no container of it would be ready; nothing was changed: give its share to another set first"
                    ));
                }
            }
        }
        None
    }

    /// A set with a share that was to let one of these go and could not, as a sentence.
    fn still_leads_to(&self, snapshot: &Snapshot, ids: &[String]) -> Option<String> {
        let going = snapshot
            .containers
            .iter()
            .filter(|seen| ids.contains(&seen.container.id));
        // One that shares the host's network is where others are.
        let mut going = going.filter(|seen| !seen.container.on_host_network).map(candidate);
        going.find_map(|one| {
            let aliases = self.desired.aliases.iter();
            let mut sets = aliases.flat_map(|(name, alias)| {
                let sets = alias.sets.iter().filter(|(set, _)| alias.split.has(set));
                sets.map(move |(set, had)| (name, set, had))
            });
            let leads = |backend: &crate::plan::Backend| one.addresses.contains(&backend.address.address);
            let (name, set, _) = sets.find(|(_, _, set)| set.backends.iter().any(leads))?;
            Some(format!(
                "container {} could not be taken out of set {name}/{set}",
                one.name
            ))
        })
    }

    /// At which ports the flows at its address are a container's own.
    fn ports_of(&self, snapshot: &Snapshot, seen: &Seen) -> Ports {
        if !seen.container.on_host_network {
            return Ports::All;
        }
        let own = self.ports_led_to(seen);
        if !own.is_empty() {
            return Ports::These(own);
        }
        // An old version that no set follows any more may have had the ports of the new one, but none of another service.
        let service = seen.container.project_and_service();
        let others = snapshot.containers.iter().filter(|other| {
            let container = &other.container;
            container.on_host_network && container.running && container.project_and_service() != service
        });
        Ports::AllBut(others.flat_map(|other| self.ports_led_to(other)).collect())
    }

    /// The port of a container's label, else those that the sets which follow it lead to.
    fn ports_led_to(&self, seen: &Seen) -> BTreeSet<u16> {
        if let Some(port) = seen.container.labelled_port() {
            return BTreeSet::from([port.get()]);
        }
        let one = candidate(seen);
        let mut ports = BTreeSet::new();
        for (alias, set, source) in self.desired.following() {
            if one.serves(&alias, &set, &source) {
                let listen = self.desired.aliases[&alias].listen.iter();
                ports.extend(listen.map(|listener| source.port().map_or(listener.port, NonZeroU16::get)));
            }
        }
        ports
    }

    /// Flows of all aliases that these containers hold.
    async fn held_by(&self, snapshot: &Snapshot, ids: &[String]) -> Result<Vec<HeldFlows>, KernelError> {
        let mut held = Vec::with_capacity(ids.len());
        let mut places: BTreeMap<IpAddr, Vec<(Ports, usize)>> = BTreeMap::new();
        for (index, id) in ids.iter().enumerate() {
            let seen = snapshot.containers.iter().find(|seen| seen.container.id == *id);
            held.push(HeldFlows {
                id: id.clone(),
                name: seen.map(|seen| seen.container.name.clone()).unwrap_or_default(),
                flows: 0,
            });
            // What does not run any more holds nothing, whatever the table says.
            let Some(seen) = seen.filter(|seen| seen.container.running) else {
                continue;
            };
            let ports = self.ports_of(snapshot, seen);
            for address in &seen.container.addresses {
                let of_address = places.entry(address.address).or_default();
                of_address.push((ports.clone(), index));
            }
        }
        let counts = self.kernel.run(move |kernel| {
            let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
            kernel.for_each_flow(&mut |flow| {
                let at = places.get(&flow.backend.ip()).filter(|_| is_held(&flow));
                let of_port = |(ports, _): &&(Ports, usize)| ports.has(flow.backend.port());
                for (_, index) in at.into_iter().flatten().filter(of_port) {
                    *counts.entry(*index).or_default() += 1;
                }
            })?;
            Ok(counts)
        });
        for (index, count) in counts.await? {
            held[index].flows = count;
        }
        Ok(held)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_left_serves_again_when_the_time_is_up() {
        let (mut leaving, now) = (Leaving::default(), Instant::now());
        leaving.0.insert("a".to_owned(), now);
        let snapshot = Snapshot::default();
        leaving.forget(&snapshot, now + LEAVING_FOR - Duration::from_secs(1));
        assert!(leaving.has("a"));
        leaving.forget(&snapshot, now + LEAVING_FOR);
        assert!(!leaving.has("a"));
    }
}
