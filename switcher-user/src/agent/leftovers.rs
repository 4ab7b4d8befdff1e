//! What an upgrade leaves behind for its receipt: who was left at the old set, and which flows failed last.

use std::collections::BTreeMap;

use super::drain::{Left, is_waited_for};
use super::failures::Failures;
use super::flows::to_figures;
use super::port::{Kernel, Shared};
use super::running::millis;
use crate::kernel::{FlowView, KernelError};
use crate::model::{AliasName, FailedFlow, LeftFlow, SetFailures, SetFigures, SetName};

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

/// What one look finds.
#[derive(Debug)]
pub(super) struct Through {
    /// Of the sets that were named, in their order.
    pub(super) figures: Vec<SetFigures>,
    /// Flows of the old sets that are waited for.
    pub(super) left: Left,
    pub(super) leftovers: Leftovers,
}

/// Looks through the table, once for all of it: a look reads hundreds of thousands of slots. The figures come with it where
/// sets are named.
pub(super) async fn look_through<K: Kernel>(
    kernel: &Shared<K>,
    figures_of: Vec<u32>,
    sought: Sought,
) -> Result<Through, KernelError> {
    kernel
        .run(move |kernel| {
            let figures = if figures_of.is_empty() {
                Vec::new()
            } else {
                kernel.set_counters(&figures_of)?
            };
            let (mut left, mut eldest) = (Left::default(), Vec::new());
            let mut failures = Failures::new(kernel.now_ns(), KEPT_MAX);
            kernel.for_each_flow(&mut |flow| {
                failures.saw(&flow);
                if is_waited_for(&flow, &sought.old) {
                    left.saw(&flow);
                    keep(&mut eldest, flow);
                }
            })?;
            keep_eldest(&mut eldest);
            Ok(Through {
                figures: figures.into_iter().map(to_figures).collect(),
                left,
                leftovers: Leftovers {
                    left: named(&eldest, &sought),
                    failures: of_sets(failures.end(), &sought),
                },
            })
        })
        .await
}

/// Many may be left: sorted now and then, so that memory stays small.
fn keep(flows: &mut Vec<FlowView>, flow: FlowView) {
    flows.push(flow);
    if flows.len() >= 8 * KEPT_MAX {
        keep_eldest(flows);
    }
}

fn named(flows: &[FlowView], sought: &Sought) -> Vec<LeftFlow> {
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
    named.collect()
}

fn keep_eldest(flows: &mut Vec<FlowView>) {
    flows.sort_unstable_by_key(|flow| (std::cmp::Reverse(flow.age), flow.client));
    flows.truncate(KEPT_MAX);
}

/// Those of the upgrade's sets that failed since its first flip.
fn of_sets(mut all: BTreeMap<u32, Vec<FailedFlow>>, sought: &Sought) -> Vec<SetFailures> {
    let of_sets = sought.sets.iter().filter_map(|(id, (alias, set))| {
        let mut flows = all.remove(id)?;
        flows.retain(|failed| failed.at_ns >= sought.since_ns);
        (!flows.is_empty()).then(|| SetFailures {
            alias: alias.clone(),
            set: set.clone(),
            flows,
        })
    });
    of_sets.collect()
}
