//! What an upgrade leaves behind for its receipt: who was left at the old set, and which flows failed last.

use std::collections::BTreeMap;

use super::drain::is_waited_for;
use super::failures::failures;
use super::port::{Kernel, Shared};
use super::running::millis;
use crate::kernel::{FlowView, KernelError};
use crate::model::{AliasName, LeftFlow, SetFailures, SetName};

/// Flows of each kind that a receipt has, a set.
const KEPT_MAX: usize = 20;

/// The sets that are looked for, by their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Sought {
    /// All of the upgrade.
    pub(super) sets: BTreeMap<u32, (AliasName, SetName)>,
    /// Of these, the old ones.
    pub(super) old: Vec<u32>,
    /// When the upgrade's first flip was asked for; CLOCK_MONOTONIC.
    pub(super) since_ns: u64,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Leftovers {
    /// The eldest first.
    pub(super) left: Vec<LeftFlow>,
    pub(super) failures: Vec<SetFailures>,
}

/// Looks once through the table for each.
pub(super) async fn leftovers<K: Kernel>(kernel: &Shared<K>, sought: Sought) -> Result<Leftovers, KernelError> {
    kernel
        .run(move |kernel| {
            Ok(Leftovers {
                left: left(kernel, &sought)?,
                failures: failed(kernel, &sought)?,
            })
        })
        .await
}

fn left(kernel: &impl Kernel, sought: &Sought) -> Result<Vec<LeftFlow>, KernelError> {
    let mut flows: Vec<FlowView> = Vec::new();
    kernel.for_each_flow(&mut |flow| {
        if is_waited_for(&flow, &sought.old) {
            flows.push(flow);
            // Many may be left: sorted now and then, so that memory stays small.
            if flows.len() >= 8 * KEPT_MAX {
                keep_eldest(&mut flows);
            }
        }
    })?;
    keep_eldest(&mut flows);
    let named = flows.iter().filter_map(|flow| {
        let (alias, set) = sought.sets.get(&flow.set_id)?;
        Some(LeftFlow {
            alias: alias.clone(),
            set: set.clone(),
            client: flow.client,
            backend: flow.backend,
            age_ms: millis(flow.age),
            idle_ms: millis(flow.idle),
        })
    });
    Ok(named.collect())
}

fn keep_eldest(flows: &mut Vec<FlowView>) {
    flows.sort_unstable_by_key(|flow| (std::cmp::Reverse(flow.age), flow.client));
    flows.truncate(KEPT_MAX);
}

fn failed(kernel: &impl Kernel, sought: &Sought) -> Result<Vec<SetFailures>, KernelError> {
    let mut all = failures(kernel, KEPT_MAX)?;
    let of_sets = sought.sets.iter().filter_map(|(id, (alias, set))| {
        let mut flows = all.remove(id)?;
        flows.retain(|failed| failed.at_ns >= sought.since_ns);
        (!flows.is_empty()).then(|| SetFailures {
            alias: alias.clone(),
            set: set.clone(),
            flows,
        })
    });
    Ok(of_sets.collect())
}
