//! `flows`: the flows of an alias, made beside the agent's task, as `status` is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::owner::Owner;
use super::port::{Host, Kernel};
use super::status::busy;
use crate::api::{ApiError, ErrorCode, FLOWS_LISTED_MAX, FlowStatus, FlowsDocument, FlowsRequest, Reply, SCHEMA};
use crate::kernel::{FlowState, FlowView, KernelError};
use crate::model::{BackendAddress, SetName};
use crate::plan::Refusal;
use switcher_ebpf::parse::PROTOCOL_UDP;

/// What is asked for, by numbers.
struct Wanted {
    alias_id: u32,
    set_id: Option<u32>,
    /// Empty: any.
    backends: Vec<BackendAddress>,
    limit: usize,
}

/// What was found.
#[derive(Debug)]
struct Found {
    total: u64,
    live: u64,
    oldest: Vec<FlowView>,
}

impl<K: Kernel, H: Host> Owner<K, H> {
    /// Answers later, so that a long walk through the table holds up nobody.
    pub(super) fn flows(&self, request: FlowsRequest, reply: oneshot::Sender<Result<Reply, ApiError>>) {
        let (wanted, names) = match self.wanted(&request) {
            Ok(wanted) => wanted,
            Err(refusal) => return drop(reply.send(Err(refusal.into()))),
        };
        let Ok(slot) = Arc::clone(&self.status_slots).try_acquire_owned() else {
            return drop(reply.send(Err(busy("flows"))));
        };
        let kernel = self.kernel.clone();
        tokio::spawn(async move {
            let found = kernel.run(move |kernel| find(kernel, &wanted)).await;
            let answer = found.map(|found| Reply::Flows(Box::new(document(request, &names, &found))));
            let failed = |error: KernelError| ApiError::new(ErrorCode::HostFailed, error.to_string());
            let _ = reply.send(answer.map_err(failed));
            drop(slot);
        });
    }

    fn wanted(&self, request: &FlowsRequest) -> Result<(Wanted, BTreeMap<u32, SetName>), Refusal> {
        let alias = self.desired.alias(&request.alias)?;
        let set = request.set.as_ref().map(|set| alias.set(&request.alias, set));
        let wanted = Wanted {
            alias_id: alias.id,
            set_id: set.transpose()?.map(|set| set.id),
            backends: request.backends.clone(),
            limit: request.limit.min(FLOWS_LISTED_MAX) as usize,
        };
        Ok((
            wanted,
            alias.sets.iter().map(|(name, set)| (set.id, name.clone())).collect(),
        ))
    }
}

/// The flow's age, and what makes the order one.
type Order = (Reverse<Duration>, SocketAddr, SocketAddr, u8);

/// A flow among others: the larger, the younger.
#[derive(Debug)]
struct ByAge(FlowView);

impl ByAge {
    fn order(&self) -> Order {
        let flow = &self.0;
        (Reverse(flow.age), flow.client, flow.listener, flow.protocol)
    }
}

impl PartialEq for ByAge {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for ByAge {}

impl PartialOrd for ByAge {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByAge {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl Wanted {
    fn has(&self, flow: &FlowView) -> bool {
        let at = |backend: &BackendAddress| {
            let port = backend.port.is_none_or(|port| port.get() == flow.backend.port());
            port && backend.address == flow.backend.ip()
        };
        !flow.expired
            && flow.alias_id == self.alias_id
            && self.set_id.is_none_or(|set_id| set_id == flow.set_id)
            && (self.backends.is_empty() || self.backends.iter().any(at))
    }
}

/// Keeps no more flows than are wanted, however many there are.
fn find(kernel: &impl Kernel, wanted: &Wanted) -> Result<Found, KernelError> {
    let (mut total, mut live) = (0, 0);
    let mut oldest = BinaryHeap::new();
    kernel.for_each_flow(&mut |flow| {
        if !wanted.has(&flow) {
            return;
        }
        total += 1;
        live += u64::from(flow.state != FlowState::Closing);
        oldest.push(ByAge(flow));
        if oldest.len() > wanted.limit {
            oldest.pop();
        }
    })?;
    let oldest = oldest.into_sorted_vec().into_iter().map(|one| one.0).collect();
    Ok(Found { total, live, oldest })
}

fn document(request: FlowsRequest, names: &BTreeMap<u32, SetName>, found: &Found) -> FlowsDocument {
    FlowsDocument {
        schema: SCHEMA,
        alias: request.alias,
        set: request.set,
        backends: request.backends,
        total: found.total,
        live: found.live,
        flows: found
            .oldest
            .iter()
            .map(|flow| status(flow, names.get(&flow.set_id)))
            .collect(),
    }
}

fn status(flow: &FlowView, set: Option<&SetName>) -> FlowStatus {
    let state = match flow.state {
        FlowState::Pending => "pending",
        FlowState::Established => "established",
        FlowState::Closing => "closing",
    };
    FlowStatus {
        protocol: if flow.protocol == PROTOCOL_UDP { "udp" } else { "tcp" }.to_owned(),
        client: flow.client,
        listener: flow.listener,
        backend: flow.backend,
        set: set.cloned(),
        state: state.to_owned(),
        path: flow.path.name().to_owned(),
        epoch: flow.epoch,
        age_ms: millis(flow.age),
        idle_ms: millis(flow.idle),
        packets_in: flow.traffic.packets_in,
        bytes_in: flow.traffic.bytes_in,
        packets_out: flow.traffic.packets_out,
        bytes_out: flow.traffic.bytes_out,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
