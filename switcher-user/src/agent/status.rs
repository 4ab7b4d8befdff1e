//! `status`: made beside the agent's task, from what it hands out.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::addresses::Addresses;
use super::failures::failures;
use super::flows::{Census, census, to_figures};
use super::healths::at as at_address;
use super::hooks::Edge;
use super::owner::Owner;
use super::port::{Host, Kernel};
use super::queues::Queues;
use super::wall::WallClock;
use crate::api::{
    AliasStatus, ApiError, AttachedStatus, BackendStatus, ChangeStatus, ErrorCode, FlowCounts, FlowTable, LocalStatus,
    NO_HOOK, Progress, ReasonStatus, Reply, SCHEMA, SetStatus, StatusDocument,
};
use crate::image::Path;
use crate::kernel::{Attached, KernelError, LocalClients, Role};
use crate::model::{AliasName, FailedFlow, FlipTime, SetFigures, SetName};
use crate::net::Observed;
use crate::plan::{Alias, BackendChoice, Desired, HASH_SPACE, Resolved};

/// What is known without the kernel.
struct Known {
    desired: Arc<Desired>,
    resolved: Arc<Resolved>,
    observed: Option<Arc<Observed>>,
    container_notes: Vec<String>,
    running: BTreeMap<AliasName, (String, Progress)>,
    hooks: BTreeMap<String, Edge>,
    failed_edges: BTreeMap<String, String>,
    addresses: Addresses,
    health: BTreeMap<u32, String>,
    queues: Queues,
    only: Option<AliasName>,
    epoch: u64,
    last_flip: Option<FlipTime>,
    switched: BTreeMap<AliasName, FlipTime>,
    changes: BTreeMap<AliasName, ChangeStatus>,
    wall: Arc<WallClock>,
}

/// Most flows that failed, of each set.
const FAILURES_SHOWN: usize = 5;

/// What the kernel says.
struct Seen {
    census: Census,
    figures: BTreeMap<u32, SetFigures>,
    reasons: Vec<ReasonStatus>,
    attached: Vec<Attached>,
    local: LocalStatus,
    capacity: u64,
    now_ns: u64,
    failures: BTreeMap<u32, Vec<FailedFlow>>,
}

impl<K: Kernel, H: Host> Owner<K, H> {
    /// Answers later, so that a long count of flows holds up nobody.
    pub(super) fn status(&self, only: Option<AliasName>, reply: oneshot::Sender<Result<Reply, ApiError>>) {
        if let Some(Err(refusal)) = only.as_ref().map(|name| self.desired.alias(name)) {
            let _ = reply.send(Err(refusal.into()));
            return;
        }
        let Ok(slot) = Arc::clone(&self.status_slots).try_acquire_owned() else {
            let _ = reply.send(Err(busy("status")));
            return;
        };
        let running = self.running.iter();
        let running = running.flat_map(|one| {
            one.rollout
                .request
                .aliases
                .iter()
                .map(|alias| (alias.clone(), (one.what(), one.progress.borrow().clone())))
        });
        let known = Known {
            desired: Arc::clone(&self.desired),
            resolved: Arc::clone(&self.resolved),
            container_notes: self.notes_on_containers(),
            observed: self.observed.as_ref().map(|(observed, _)| Arc::clone(observed)),
            running: running.collect(),
            hooks: self.hooks.clone(),
            failed_edges: self.edges.failed.clone(),
            addresses: self.addresses.clone(),
            health: self.health.texts(),
            queues: self.queues.clone(),
            only,
            epoch: self.epoch,
            last_flip: self.last_flip.clone(),
            switched: self.switched.clone(),
            changes: self.changes.clone(),
            wall: Arc::clone(&self.wall),
        };
        let kernel = self.kernel.clone();
        tokio::spawn(async move {
            let ids: Vec<u32> = known.desired.set_ids().collect();
            let seen = kernel.run(move |kernel| look(kernel, &ids)).await;
            let answer = seen.map(|seen| Reply::Status(Box::new(document(&known, &seen))));
            let failed = |error: KernelError| ApiError::new(ErrorCode::HostFailed, error.to_string());
            let _ = reply.send(answer.map_err(failed));
            drop(slot);
        });
    }
}

pub(super) fn busy(what: &str) -> ApiError {
    ApiError::new(
        ErrorCode::Refused,
        format!("too many {what} requests at the same time; try again"),
    )
}

fn look(kernel: &impl Kernel, ids: &[u32]) -> Result<Seen, KernelError> {
    let figures = kernel.set_counters(ids)?.into_iter().map(to_figures);
    let reasons = kernel.reasons()?.into_iter();
    Ok(Seen {
        census: census(kernel)?,
        figures: ids.iter().copied().zip(figures).collect(),
        reasons: reasons
            .map(|one| ReasonStatus {
                reason: one.reason.to_owned(),
                packets: one.packets,
            })
            .collect(),
        attached: kernel.attached(),
        local: local_status(kernel.local()),
        capacity: kernel.flow_capacity(),
        now_ns: kernel.now_ns(),
        failures: failures(kernel, FAILURES_SHOWN)?,
    })
}

fn local_status(local: LocalClients) -> LocalStatus {
    match local {
        LocalClients::Served(cgroup) => LocalStatus {
            served: true,
            cgroup: Some(cgroup.display().to_string()),
            why: None,
        },
        LocalClients::NotServed(why) => LocalStatus {
            why: Some(why),
            ..LocalStatus::default()
        },
    }
}

fn document(known: &Known, seen: &Seen) -> StatusDocument {
    let wanted = |name: &AliasName| known.only.as_ref().is_none_or(|only| only == name);
    let aliases = known.desired.aliases.iter().filter(|(name, _)| wanted(name));
    StatusDocument {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        epoch: known.epoch,
        last_flip: known.last_flip.clone(),
        clock: known.wall.read(),
        attached: all_attached(known, seen),
        local: seen.local.clone(),
        addresses: known.addresses.status(&known.desired, known.observed.as_deref()),
        firewall: known
            .observed
            .as_ref()
            .map(|observed| observed.firewall.clone())
            .unwrap_or_default(),
        notes: known
            .resolved
            .notes
            .iter()
            .chain(&known.container_notes)
            .cloned()
            .collect(),
        flow_table: flow_table(seen),
        unpinned_flows: seen.figures.values().map(|figures| figures.flows_unpinned).sum(),
        aliases: aliases
            .map(|(name, alias)| alias_status(known, seen, name, alias))
            .collect(),
        reasons: seen.reasons.clone(),
    }
}

/// What has programs, and the interfaces of clients that ought to.
fn all_attached(known: &Known, seen: &Seen) -> Vec<AttachedStatus> {
    let is_edge = |name: &str| {
        let mut attached = seen.attached.iter();
        attached.any(|one| one.role == Role::Edge && one.interface == name)
    };
    let without = known.failed_edges.iter().filter(|(name, _)| !is_edge(name));
    let without = without.map(|(name, why)| AttachedStatus {
        interface: name.clone(),
        role: "edge".to_owned(),
        hook: NO_HOOK.to_owned(),
        why: format!("its clients are not switched: {why}"),
    });
    let with = seen.attached.iter().map(|one| attached(known, one));
    with.chain(without).collect()
}

fn attached(known: &Known, one: &Attached) -> AttachedStatus {
    let (role, why) = match one.role {
        Role::Edge => {
            let edge = known.hooks.get(&one.interface);
            let why = edge.map(|edge| edge.choice.why.clone()).unwrap_or_default();
            let failed = known.failed_edges.get(&one.interface);
            (
                "edge",
                failed.map_or(why, |failed| format!("it stays as it was: {failed}")),
            )
        }
        Role::Backend => ("backend", "replies of the bypass path".to_owned()),
    };
    AttachedStatus {
        interface: one.interface.clone(),
        role: role.to_owned(),
        hook: one.hook.text().to_owned(),
        why,
    }
}

fn flow_table(seen: &Seen) -> FlowTable {
    let mut table = FlowTable {
        capacity: seen.capacity,
        ..FlowTable::default()
    };
    for (id, counts) in &seen.census {
        table.flows.pending += counts.pending;
        table.flows.established += counts.established;
        table.flows.closing += counts.closing;
        table.flows.local += counts.local;
        if !seen.figures.contains_key(id) {
            table.of_removed_sets += counts.pending + counts.established + counts.closing;
        }
    }
    table
}

fn alias_status(known: &Known, seen: &Seen, name: &AliasName, alias: &Alias) -> AliasStatus {
    let sizes = alias.split.sizes();
    let paths = known.resolved.paths.get(name);
    let sets = alias.sets.iter().map(|(set_name, set)| SetStatus {
        name: set_name.clone(),
        weight: alias.split.weights.get(set_name).copied().unwrap_or(0),
        share: share(sizes.get(set_name).copied().unwrap_or(0)),
        flows: seen.census.get(&set.id).copied().unwrap_or(FlowCounts::default()),
        failures: seen.failures.get(&set.id).cloned().unwrap_or_default(),
        counters: seen.figures.get(&set.id).copied().unwrap_or_default(),
        containers: set.containers.clone(),
        backends: backends(alias, set_name, paths.and_then(|paths| paths.get(set_name)), known),
    });
    AliasStatus {
        name: name.clone(),
        stack: alias.stack.clone(),
        listen: alias.listen.clone(),
        path: alias.path,
        shield: alias.shield,
        add_addresses: alias.add_addresses,
        held_for_ms: held_for_ms(alias, seen.now_ns),
        running: known.running.get(name).map(|(what, _)| what.clone()),
        progress: known.running.get(name).map(|(_, progress)| Box::new(progress.clone())),
        switched: known.switched.get(name).cloned(),
        last_change: known.changes.get(name).copied(),
        split: alias.split.weights.clone(),
        previous: alias.previous.as_ref().map(|split| split.weights.clone()),
        unconfirmed: alias.unconfirmed.clone(),
        sets: sets.collect(),
    }
}

/// What is left of a hold, rounded up: one that is over is none.
fn held_for_ms(alias: &Alias, now_ns: u64) -> Option<u64> {
    let left_ns = alias.hold_until_ns.checked_sub(now_ns)?;
    (left_ns > 0).then(|| left_ns.div_ceil(1_000_000))
}

fn backends(alias: &Alias, set: &SetName, choices: Option<&Vec<BackendChoice>>, known: &Known) -> Vec<BackendStatus> {
    let Some(set) = alias.sets.get(set) else {
        return Vec::new();
    };
    let status = |(at, backend): (usize, &crate::plan::Backend)| {
        let choice = choices.and_then(|choices| choices.get(at));
        let path = match choice.map(|choice| choice.path) {
            Some(Path::Bypass { .. } | Path::Driver { .. }) => "bypass",
            Some(Path::Socket) => "socket",
            Some(Path::Stack | Path::Bridge { .. }) | None => "stack",
        };
        BackendStatus {
            address: backend.address,
            path: path.to_owned(),
            interface: choice.map(|choice| choice.interface.clone()).unwrap_or_default(),
            why: choice.map(|choice| choice.why.clone()).unwrap_or_default(),
            health: known.health.get(&backend.id).cloned(),
            accept_queue: known.queues.status(at_address(alias, backend)),
        }
    };
    set.backends.iter().enumerate().map(status).collect()
}

#[allow(clippy::cast_precision_loss)]
fn share(size: u64) -> f64 {
    size as f64 / HASH_SPACE as f64
}
