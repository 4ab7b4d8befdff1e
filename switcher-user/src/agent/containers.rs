//! Sets that follow containers: what discovery sees goes through the same door as every other change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::door::Look;
use super::flows::set_ids_in_flows;
use super::owner::Owner;
use super::port::{Host, Kernel};
use crate::api::{ApiError, ContainerStatus, ContainersDocument, ErrorCode, Reply, SCHEMA};
use crate::discovery::{Health, Readiness, Seen, Snapshot};
use crate::model::{AliasName, SetName};
use crate::plan::{Candidate, Desired};

/// How long such a change may wait for the kernel.
const LAND_TIME: Duration = Duration::from_secs(30);

/// What discovery sees; `None`: it is off.
pub(super) type Snapshots = Option<watch::Receiver<Arc<Snapshot>>>;

/// Waits for news; for ever where there are none to come.
pub(super) async fn changed(snapshots: &mut Snapshots) {
    if let Some(receiver) = snapshots
        && receiver.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

impl<K: Kernel, H: Host> Owner<K, H> {
    /// Lets the sets follow. What fails is tried again with the next tick.
    pub(super) async fn follow_containers(&mut self) {
        let Some(snapshot) = self.snapshot().filter(|snapshot| snapshot.listed) else {
            return;
        };
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
        let is_ready = |seen: &&Seen| seen.readiness == Readiness::Ready;
        let ready: Vec<Candidate> = snapshot.containers.iter().filter(is_ready).map(candidate).collect();
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
        let running = snapshot
            .containers
            .iter()
            .filter(|seen| seen.container.running && !seen.container.on_host_network);
        let running: Vec<Candidate> = running.map(candidate).collect();
        for (alias, set, source) in desired.following() {
            for (id, address) in desired.numbered_backends(&alias, &set) {
                let mut there = running.iter().filter(|one| one.addresses.contains(&address)).peekable();
                let owner = there.peek().map(|one| one.name.clone());
                if let Some(owner) = owner
                    && !there.any(|one| one.serves(&alias, &set, &source))
                {
                    foreign.insert(id, (format!("{alias}/{set}"), address, owner));
                }
            }
        }
        foreign
    }

    pub(super) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.containers.as_ref().map(|receiver| Arc::clone(&receiver.borrow()))
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

    pub(super) fn containers(&self) -> Result<Reply, ApiError> {
        let Some(snapshot) = self.snapshot() else {
            let text = "this agent does not follow containers; start it with --docker";
            return Err(ApiError::new(ErrorCode::Refused, text));
        };
        Ok(Reply::Containers(Box::new(ContainersDocument {
            schema: SCHEMA,
            socket: snapshot.socket.display().to_string(),
            absent: snapshot.absent.clone(),
            dns: self.dns.map(|place| place.ip()),
            host: snapshot.host.clone(),
            containers: snapshot.containers.iter().map(status).collect(),
        })))
    }
}

fn status(seen: &Seen) -> ContainerStatus {
    let container = &seen.container;
    ContainerStatus {
        id: container.id.clone(),
        name: container.name.clone(),
        addresses: container.addresses.iter().map(|address| address.address).collect(),
        ready: seen.readiness == Readiness::Ready,
        sick: container.health == Health::Unhealthy,
        why: match seen.readiness {
            Readiness::Ready => String::new(),
            Readiness::Not(why) => why.to_owned(),
        },
    }
}

fn candidate(seen: &Seen) -> Candidate {
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
    }
}
