//! The start: take up what was wanted, on top of what an earlier agent left in the kernel.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, watch};

use super::AgentError;
use super::addresses::Addresses;
use super::containers::Containers;
use super::disk::Disk;
use super::healths::Healths;
use super::hooks::Edges;
use super::leaving::Leaving;
use super::owner::{Owner, SIGHTS_MAX, STATUS_TASKS_MAX};
use super::port::{Host, Kernel, Shared};
use super::queues::Queues;
use super::wall::{self, WallClock};
use crate::model::{HookPolicy, Listener, Zone};
use crate::net::{Interface, Observed};
use crate::plan::{Desired, PlacedListener, Pool, Resolved, Touched, shadowed};
use crate::store::Store;

/// What an agent may go without, or leave as it is.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// The hook that the interfaces get.
    pub(super) hook: HookPolicy,
    /// What discovery sees of the containers.
    pub(super) containers: Containers,
    /// Where addresses of aliases come from that have none of their own.
    pub(super) pool: Pool,
    /// Where names are answered.
    pub(super) dns: Option<SocketAddr>,
    /// The zone of these names.
    pub(super) zone: Zone,
}

impl<K: Kernel, H: Host> Owner<K, H> {
    /// Attaches to the interfaces and installs what is wanted, with an epoch above all earlier ones.
    pub(super) async fn start(
        kernel: K,
        host: H,
        store: Store,
        mut desired: Desired,
        interfaces: &[String],
        beside: Beside,
    ) -> Result<Self, AgentError> {
        let served = kernel.epoch()?;
        if let (1.., Some(path)) = (served, store.missing_desired()) {
            let path = path.to_owned();
            return Err(AgentError::StateGone { epoch: served, path });
        }
        let edges = Edges {
            names: edges(&host, interfaces).await?,
            hook: beside.hook,
            failed: BTreeMap::new(),
        };
        let epoch = desired.epoch.max(served);
        desired.epoch = epoch + 1;
        desired.forget_holds(kernel.now_ns());
        let unsaved = !keep_first(&store, &desired)?;
        let switched = wall::switched_before(&store, desired.aliases.keys());
        let changes = wall::changes_before(&store, desired.aliases.keys());
        let addresses = Addresses::new(store.addresses()?);
        let mut owner = Self {
            kernel: Shared::new(kernel),
            host,
            disk: Disk::new(store),
            desired: Arc::new(desired),
            unsaved,
            resolved: Arc::new(Resolved::default()),
            observed: None,
            edges,
            hooks: BTreeMap::new(),
            addresses,
            attached: HashSet::new(),
            epoch,
            last_flip: None,
            switched,
            changes,
            wall: Arc::new(WallClock::default()),
            containers: beside.containers,
            leaving: Leaving::default(),
            container_notes: Vec::new(),
            pool: beside.pool,
            dns: beside.dns,
            zone: beside.zone,
            names: watch::Sender::default(),
            rollouts_begun: 0,
            running: Vec::new(),
            sights: mpsc::channel(SIGHTS_MAX),
            health: Healths::default(),
            queues: Queues::default(),
            status_slots: Arc::new(Semaphore::new(STATUS_TASKS_MAX)),
        };
        owner.tell_names();
        let observed = owner.observe(&owner.desired.backend_addresses()).await?;
        owner.begin_edges(&observed, served != 0).await?;
        owner.note_shadows().await;
        owner.follow_addresses(&observed).await;
        // Nothing is new here, so what cannot be done any more is a note and not an end.
        let mut resolved = owner
            .desired
            .resolve(&owner.with_hooks(&observed), &Touched::default())?;
        owner.attach_backends(&mut resolved, None).await?;
        resolved.image.epoch = owner.epoch + 1;
        owner.flip(resolved).await?;
        owner.refresh().await?;
        let wanted = Arc::clone(&owner.desired);
        owner.follow_health(&wanted);
        owner.resume().await;
        Ok(owner)
    }

    /// Sockets may have come since the listeners did, this agent's own among them.
    async fn note_shadows(&self) {
        let placed: Vec<PlacedListener> = self.desired.placed_listeners().collect();
        let listeners: Vec<Listener> = placed.iter().map(|one| one.listener).collect();
        let warnings = match self.host.standing(&listeners).await {
            Ok(standing) => shadowed(&placed, &standing, std::process::id(), true).unwrap_or_default(),
            Err(error) => vec![error.to_string()],
        };
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    }

    /// An agent that saw an interface go can be started again: what the earlier one left serves at the others.
    async fn begin_edges(&mut self, observed: &Observed, adopts: bool) -> Result<(), AgentError> {
        if !adopts {
            self.check_edges(observed)?;
        }
        let is_edge = |interface: &&Interface| self.edges.names.contains(&interface.name);
        let there: Vec<&Interface> = observed.interfaces.iter().filter(is_edge).collect();
        for interface in there {
            self.attach_edge(interface).await?;
        }
        Ok(self.attach_edges(observed).await?)
    }

    fn check_edges(&self, observed: &Observed) -> Result<(), AgentError> {
        for name in &self.edges.names {
            if !observed.interfaces.iter().any(|interface| interface.name == *name) {
                let known: Vec<&str> = observed
                    .interfaces
                    .iter()
                    .map(|interface| interface.name.as_str())
                    .collect();
                return Err(AgentError::NoInterface {
                    name: name.clone(),
                    known: known.join(", "),
                });
            }
        }
        Ok(())
    }
}

/// From here on the kernel serves something, so there must be a state that says what. An old one will do where the disk
/// is full: an agent that cannot start is worse. False: it is an old one.
fn keep_first(store: &Store, desired: &Desired) -> Result<bool, AgentError> {
    match store.save(desired) {
        Err(error) if store.missing_desired().is_none() => {
            tracing::warn!("epoch {}: {error}", desired.epoch);
            Ok(false)
        }
        saved => Ok(saved.map(|()| true)?),
    }
}

/// Where clients come in: the interfaces that were named, else those of the default routes.
pub(super) async fn edges(host: &impl Host, named: &[String]) -> Result<Vec<String>, AgentError> {
    if !named.is_empty() {
        return Ok(named.to_owned());
    }
    let found = host.default_interfaces().await?;
    if found.is_empty() {
        return Err(AgentError::NoDefaultInterface);
    }
    Ok(found.into_iter().map(|interface| interface.name).collect())
}
