//! Counting flows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::port::{Kernel, Shared};
use crate::api::FlowCounts;
use crate::kernel::{FlowPath, FlowState, FlowView, KernelError, SetCounters};
use crate::model::SetFigures;
use crate::plan::FlowSetIds;

/// Flows by the number of their set.
pub(super) type Census = BTreeMap<u32, FlowCounts>;

/// Counts all flows that live: one past its time-out is none that anybody waits for.
pub(super) fn census(kernel: &impl Kernel) -> Result<Census, KernelError> {
    let mut census = Census::new();
    kernel.for_each_flow(&mut |flow| {
        if !flow.expired {
            add(census.entry(flow.set_id).or_default(), &flow);
        }
    })?;
    Ok(census)
}

pub(super) const fn add(counts: &mut FlowCounts, flow: &FlowView) {
    if matches!(flow.path, FlowPath::Local) && !matches!(flow.state, FlowState::Closing) {
        counts.local += 1;
    }
    match flow.state {
        FlowState::Pending => counts.pending += 1,
        FlowState::Established => counts.established += 1,
        FlowState::Closing => counts.closing += 1,
    }
}

/// Numbers of the sets that flow records name, those of expired flows too: the kernel counts the end of one at its set
/// when it uses the slot again.
pub(super) async fn set_ids_in_flows<K: Kernel>(kernel: &Shared<K>) -> Result<FlowSetIds, KernelError> {
    kernel
        .run(|kernel| {
            let mut ids = FlowSetIds::new();
            kernel.for_each_flow(&mut |flow| {
                ids.insert(flow.set_id);
            })?;
            Ok(ids)
        })
        .await
}

/// Addresses that live flows came to. Local clients' need none of this host.
pub(super) async fn listeners_in_flows<K: Kernel>(kernel: &Shared<K>) -> Result<BTreeSet<IpAddr>, KernelError> {
    kernel
        .run(|kernel| {
            let mut addresses = BTreeSet::new();
            kernel.for_each_flow(&mut |flow| {
                if !flow.expired && flow.state != FlowState::Closing && flow.path != FlowPath::Local {
                    addresses.insert(flow.listener.ip());
                }
            })?;
            Ok(addresses)
        })
        .await
}

/// The kernel's figures of some sets, in their order.
pub(super) async fn figures<K: Kernel>(kernel: &Shared<K>, set_ids: Vec<u32>) -> Result<Vec<SetFigures>, KernelError> {
    kernel
        .run(move |kernel| Ok(kernel.set_counters(&set_ids)?.into_iter().map(to_figures).collect()))
        .await
}

pub(super) const fn to_figures(counters: SetCounters) -> SetFigures {
    SetFigures {
        flows_opened: counters.flows_opened,
        flows_established: counters.flows_established,
        flows_refused: counters.flows_refused,
        flows_reset_in_handshake: counters.flows_reset_in_handshake,
        flows_timed_out: counters.flows_timed_out,
        flows_pending: counters.flows_pending,
        syns_retransmitted: counters.syns_retransmitted,
        syns_held: counters.syns_held,
        refusals_hidden: counters.refusals_hidden,
        flows_waited: counters.flows_waited,
        flows_finished: counters.flows_finished,
        flows_reset_by_client: counters.flows_reset_by_client,
        flows_reset_by_backend: counters.flows_reset_by_backend,
        flows_reset_by_drain: counters.flows_reset_by_drain,
        flows_expired: counters.flows_expired,
        flows_unpinned: counters.flows_unpinned,
        packets_in: counters.packets_in,
        bytes_in: counters.bytes_in,
        packets_out: counters.packets_out,
        bytes_out: counters.bytes_out,
        last_new_flow_ns: counters.last_new_flow_ns,
        latency: counters.latency,
    }
}
