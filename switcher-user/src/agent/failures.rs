//! The flight recorder: which flows failed last, and how. The flow table keeps it: a record that has ended stays until its slot
//! is used again, half a minute at least. Handshakes that were pushed out or decided again are counted and not kept.

use std::collections::BTreeMap;

use super::port::Kernel;
use crate::kernel::{FlowView, KernelError};
use crate::model::FailedFlow;

/// The last failures by the number of their set, the newest first; at most `most` of each set.
pub(super) fn failures(kernel: &impl Kernel, most: usize) -> Result<BTreeMap<u32, Vec<FailedFlow>>, KernelError> {
    let mut gathered = Failures::new(kernel.now_ns(), most);
    kernel.for_each_flow(&mut |flow| gathered.saw(&flow))?;
    Ok(gathered.end())
}

/// The same, gathered while the table is looked through for something else too.
#[derive(Debug)]
pub(super) struct Failures {
    now_ns: u64,
    most: usize,
    sets: BTreeMap<u32, Vec<FailedFlow>>,
}

impl Failures {
    pub(super) const fn new(now_ns: u64, most: usize) -> Self {
        let sets = BTreeMap::new();
        Self { now_ns, most, sets }
    }

    pub(super) fn saw(&mut self, flow: &FlowView) {
        if let Some(failed) = failed(flow, self.now_ns) {
            let of = self.sets.entry(flow.set_id).or_default();
            of.push(failed);
            // Thousands may have failed: sorted now and then, so that memory stays small.
            if of.len() >= 2 * self.most.max(1) + 64 {
                keep_newest(of, self.most);
            }
        }
    }

    pub(super) fn end(mut self) -> BTreeMap<u32, Vec<FailedFlow>> {
        self.sets.values_mut().for_each(|of| keep_newest(of, self.most));
        self.sets
    }
}

fn failed(flow: &FlowView, now_ns: u64) -> Option<FailedFlow> {
    Some(FailedFlow {
        at_ns: now_ns.saturating_sub(u64::try_from(flow.idle.as_nanos()).unwrap_or(u64::MAX)),
        client: flow.client,
        listener: flow.listener,
        backend: flow.backend,
        how: flow.failure?,
    })
}

fn keep_newest(of: &mut Vec<FailedFlow>, most: usize) {
    of.sort_unstable_by_key(|failed| std::cmp::Reverse(failed.at_ns));
    of.truncate(most);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::agent::tests::fakes::Fake;
    use crate::kernel::FlowState;
    use crate::model::Failure;

    #[test]
    fn each_set_keeps_its_newest_and_no_more_than_asked_for() {
        let fake = Fake::default();
        fake.add_flows(1, FlowState::Closing, 1_000);
        fake.add_flows(2, FlowState::Closing, 3);
        {
            let mut state = fake.state();
            state.now_ns = 10_000_000_000;
            for (at, flow) in state.flows.iter_mut().enumerate() {
                flow.failure = (at != 1_001).then_some(Failure::Refused);
                // In no order: 7 and 1,000 have no common divisor.
                flow.idle = Duration::from_millis((at as u64 * 7) % 1_000);
            }
        }
        let sets = failures(&fake, 4).unwrap();
        let ages: Vec<u64> = sets[&1].iter().map(|failed| 10_000_000_000 - failed.at_ns).collect();
        assert_eq!(ages, [0, 1_000_000, 2_000_000, 3_000_000]);
        assert_eq!(sets[&2].len(), 2, "one of three has not failed");
        assert!(failures(&fake, 0).unwrap().values().all(Vec::is_empty));
    }
}
