//! Sets that follow containers: what discovery sees goes through the same door as every other change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::door::Look;
use super::flows::set_ids_in_flows;
use super::interest::Discovery;
use super::owner::Owner;
use super::port::{Host, Kernel};
use crate::api::{ApiError, ContainerStatus, ContainersDocument, ContainersQuery, ErrorCode, Reply, SCHEMA};
use crate::discovery::{Health, Occupant, Readiness, Seen, Snapshot};
use crate::model::{AliasName, BACKENDS_PER_SET_MAX, BackendAddress, ContainerSource, Listener, SetName};
use crate::plan::{Candidate, Desired, places_of};

/// How long such a change may wait for the kernel.
const LAND_TIME: Duration = Duration::from_secs(30);

/// `None`: discovery is off.
pub(super) type Containers = Option<Discovery>;

/// Waits for news; for ever where there are none to come.
pub(super) async fn changed(containers: &mut Containers) {
    if let Some(discovery) = containers
        && discovery.seen.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

impl<K: Kernel, H: Host> Owner<K, H> {
    /// Lets the sets follow. What fails is tried again with the next tick.
    pub(super) async fn follow_containers(&mut self) {
        if let Some(discovery) = &self.containers {
            discovery.tell(&self.desired, Instant::now());
        }
        let Some(snapshot) = self.snapshot().filter(|snapshot| snapshot.listed) else {
            return;
        };
        self.leaving.forget(&snapshot, Instant::now());
        self.tell_names();
        if let Err(error) = self.try_to_follow(&snapshot).await {
            let text = format!("the containers could not be followed: {error}");
            if !self.container_notes.contains(&text) {
                tracing::warn!("{text}");
            }
            self.container_notes = vec![text];
        }
    }

    async fn try_to_follow(&mut self, snapshot: &Snapshot) -> Result<(), ApiError> {
        let ready = self.ready(snapshot);
        let taken: BTreeSet<u32> = self.desired.set_ids().collect();
        let mut next = (*self.desired).clone();
        // Looking through all flows is worth it only where something changes.
        let mut notes = next.follow(&ready, &taken, None);
        if !self.desired.differences(&next).is_empty() {
            let in_flows = set_ids_in_flows(&self.kernel).await?;
            notes = match self.follow_in(&ready, &in_flows, None).await {
                Ok(notes) => notes,
                // One of them cannot be done: the others are not to wait for it.
                Err(_) => self.follow_each(&ready, &in_flows).await,
            };
        }
        for (_, (set, address, owner)) in self.foreign(&self.desired) {
            notes.push(format!(
                "set {set}: {address} is container {owner}'s by now, which does not serve it: it gets no new connection there"
            ));
        }
        self.container_notes = notes;
        Ok(())
    }

    fn ready(&self, snapshot: &Snapshot) -> Vec<Candidate> {
        let is_ready = |seen: &&Seen| seen.readiness == Readiness::Ready && !self.leaving.has(&seen.container.id);
        snapshot.containers.iter().filter(is_ready).map(candidate).collect()
    }

    /// The backends that a set would have with the next tick, in place of those that were given with its source: what is given
    /// names all its containers, also those that are not ready. Where the ready ones would not do, those that are given are
    /// better than none.
    pub(super) fn backends_by_source(
        &self,
        (alias, set): (&AliasName, &SetName),
        listen: &[Listener],
        source: &ContainerSource,
        given: &[BackendAddress],
    ) -> Vec<BackendAddress> {
        let mut places = match self.snapshot().filter(|snapshot| snapshot.listed) {
            Some(snapshot) => places_of(&self.ready(&snapshot), alias, set, listen, source),
            None => Vec::new(),
        };
        places.truncate(BACKENDS_PER_SET_MAX);
        // A set with a share needs a backend of each family.
        let has_family = |v4: bool| places.iter().any(|place| place.address.is_ipv4() == v4);
        if places.is_empty() || !listen.iter().all(|one| has_family(one.address.is_ipv4())) {
            return given.to_vec();
        }
        places
    }

    /// One change for all sets, or for this one.
    async fn follow_in(
        &mut self,
        ready: &[Candidate],
        in_flows: &BTreeSet<u32>,
        only: Option<&(AliasName, SetName)>,
    ) -> Result<Vec<String>, ApiError> {
        let mut taken: BTreeSet<u32> = self.desired.set_ids().collect();
        taken.extend(in_flows);
        let mut next = (*self.desired).clone();
        let notes = next.follow(ready, &taken, only);
        let differences = self.desired.differences(&next);
        if !differences.is_empty() {
            let landed = self.land(next, Look::Anew, Instant::now() + LAND_TIME).await?;
            let what: Vec<&str> = differences.iter().map(|difference| difference.what.as_str()).collect();
            tracing::info!("containers: {} (epoch {})", what.join("; "), landed.epoch);
        }
        Ok(notes)
    }

    async fn follow_each(&mut self, ready: &[Candidate], in_flows: &BTreeSet<u32>) -> Vec<String> {
        let mut notes = Vec::new();
        for one in self.desired.sets_to_follow(ready) {
            match self.follow_in(ready, in_flows, Some(&one)).await {
                Ok(said) => notes.extend(said),
                Err(error) => notes.push(format!(
                    "set {}/{}: its containers could not be followed, and it stays as it is: {error}",
                    one.0, one.1
                )),
            }
        }
        notes
    }

    /// Backends of sets that follow containers whose address has become another container's, by their numbers: Docker gives an
    /// address to the next that asks.
    pub(super) fn foreign(&self, desired: &Desired) -> BTreeMap<u32, (String, IpAddr, String)> {
        let mut foreign = BTreeMap::new();
        let Some(snapshot) = self.snapshot().filter(|snapshot| snapshot.listed) else {
            return foreign;
        };
        let known: BTreeMap<&str, &Seen> = snapshot
            .containers
            .iter()
            .map(|seen| (seen.container.id.as_str(), seen))
            .collect();
        for (alias, set, source) in desired.following() {
            // One without a label is somebody else as much as one of another set.
            let serves = |one: &Occupant| {
                let seen = known.get(one.id.as_str());
                seen.is_some_and(|seen| candidate(seen).serves(&alias, &set, &source))
            };
            for (id, address) in desired.numbered_backends(&alias, &set) {
                let mut there = snapshot
                    .occupants
                    .iter()
                    .filter(|one| one.addresses.contains(&address))
                    .peekable();
                let owner = there.peek().map(|one| one.name.clone());
                if let Some(owner) = owner
                    && !there.any(serves)
                {
                    foreign.insert(id, (format!("{alias}/{set}"), address, owner));
                }
            }
        }
        foreign
    }

    pub(super) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        let discovery = self.containers.as_ref()?;
        Some(Arc::clone(&discovery.seen.borrow()))
    }

    /// A process at each of these addresses that is a container's.
    pub(super) fn container_processes(&self, addresses: &[IpAddr]) -> Vec<(IpAddr, u32)> {
        let Some(snapshot) = self.snapshot() else {
            return Vec::new();
        };
        let mut processes = Vec::new();
        for seen in &snapshot.containers {
            let Some(pid) = seen.pid else { continue };
            // The host's own address has no veth.
            if seen.container.on_host_network {
                continue;
            }
            let own = seen.container.addresses.iter().map(|address| address.address);
            processes.extend(
                own.filter(|address| addresses.contains(address))
                    .map(|address| (address, pid)),
            );
        }
        processes
    }

    /// What is to be said of the containers, for `status`.
    pub(super) fn notes_on_containers(&self) -> Vec<String> {
        let absent = self.snapshot().and_then(|snapshot| {
            let why = snapshot.absent.as_ref()?;
            Some(format!("{why}; sets that follow containers stay as they are meanwhile"))
        });
        absent.into_iter().chain(self.container_notes.iter().cloned()).collect()
    }

    pub(super) fn containers(&mut self, query: Option<&ContainersQuery>) -> Result<Reply, ApiError> {
        let discovery = self.containers.as_mut().ok_or_else(not_followed)?;
        if let Some(query) = query {
            discovery.ask(query, Instant::now());
            discovery.tell(&self.desired, Instant::now());
        }
        let snapshot = Arc::clone(&discovery.seen.borrow());
        let asked = |seen: &&Seen| query.is_none_or(|query| is_of(seen, query));
        let containers = snapshot.containers.iter().filter(asked);
        let leaves = |seen: &Seen| self.leaving.has(&seen.container.id);
        Ok(Reply::Containers(Box::new(ContainersDocument {
            schema: SCHEMA,
            socket: snapshot.socket.display().to_string(),
            absent: snapshot.absent.clone(),
            dns: self.dns.map(|place| place.ip()),
            zone: self.zone.clone(),
            host: snapshot.host.clone(),
            containers: containers.map(|seen| status(seen, query, leaves(seen))).collect(),
        })))
    }
}

pub(super) fn not_followed() -> ApiError {
    let text = "this agent does not follow containers; start it with --docker";
    ApiError::new(ErrorCode::Refused, text)
}

fn is_of(seen: &Seen, query: &ContainersQuery) -> bool {
    let key = query.key();
    seen.container.project_and_service() == Some((&*key.0, &*key.1))
}

fn status(seen: &Seen, query: Option<&ContainersQuery>, leaving: bool) -> ContainerStatus {
    let container = &seen.container;
    let groups = query.map_or(&[][..], |query| &query.groups[..]);
    let lacks = match groups {
        [] => seen.lacks(&BTreeSet::new()),
        groups => groups.iter().find_map(|ports| seen.lacks(ports)),
    };
    let lacks = lacks.or_else(|| leaving.then(|| "it was told to leave".to_owned()));
    // Where several ports are asked for, an address counts that has them all.
    let all = container.addresses.iter().map(|address| address.address);
    let addresses: Vec<IpAddr> = all
        .filter(|address| groups.iter().all(|ports| seen.addresses_at(ports).contains(address)))
        .collect();
    ContainerStatus {
        id: container.id.clone(),
        name: container.name.clone(),
        partly: addresses.len() < container.addresses.len(),
        addresses,
        ready: lacks.is_none(),
        sick: container.health == Health::Unhealthy,
        why: lacks.unwrap_or_default(),
        leaving,
    }
}

pub(super) fn candidate(seen: &Seen) -> Candidate {
    let container = &seen.container;
    let labelled = container.alias_and_set();
    Candidate {
        name: container.name.clone(),
        labelled: labelled.and_then(|(alias, set)| Some((alias.parse().ok()?, set.parse().ok()?))),
        service: container
            .project_and_service()
            .map(|(project, service)| (project.to_owned(), service.to_owned())),
        hash: container.hash().map(str::to_owned),
        addresses: container.addresses.iter().map(|address| address.address).collect(),
        port: container.labelled_port(),
        asked: seen.asked.clone(),
        open: seen.open.clone(),
    }
}
