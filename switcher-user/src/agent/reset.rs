//! Resets what a drain has left: the flows of the old sets, the longest idle first, so many a second.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::port::{Kernel, Shared};
use crate::kernel::{Ended, Ending, FlowPlace, FlowState, FlowView, KernelError};
use crate::rollout::RESETS_PER_SECOND;

/// Flows that are being reset are looked at this often.
const PAUSE: Duration = Duration::from_millis(20);
/// So many begin at each look.
const BEGUN_MAX: usize = RESETS_PER_SECOND as usize * PAUSE.as_millis() as usize / 1_000;
/// The flow table is walked again only when all that was found there has begun, and not more often than each so many looks.
const LOOKS_BETWEEN_WALKS: u32 = 5;

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Being reset at this moment.
    pub(super) running: u64,
    /// Reset.
    pub(super) reset: u64,
    /// Of these: one end had not said what it expects.
    pub(super) unanswered: u64,
    /// May live.
    pub(super) failed: u64,
}

impl Tally {
    const fn count(&mut self, ended: Ended) {
        match ended {
            Ended::Cut { answered } => {
                self.reset += 1;
                self.unanswered += !answered as u64;
            }
            Ended::Gone => {}
            Ended::Unsure => self.failed += 1,
        }
    }
}

/// The resets of one rollout. They end when this goes.
#[derive(Debug)]
pub(super) struct ResetTask {
    seen: watch::Receiver<Result<Tally, String>>,
    task: JoinHandle<()>,
}

impl Drop for ResetTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ResetTask {
    /// Begins at once, with the flows of these sets and no others.
    pub(super) fn begin<K: Kernel>(kernel: Shared<K>, set_ids: Vec<u32>) -> Self {
        let first = Tally::default();
        let (tally, seen) = watch::channel(Ok(first));
        let mut resets = Resets {
            set_ids: set_ids.into_iter().collect(),
            ..Resets::default()
        };
        let task = tokio::spawn(async move {
            loop {
                let look = kernel.run(move |kernel| resets.look(kernel).map(|()| resets)).await;
                let sent = match look {
                    Ok(after) => {
                        resets = after;
                        tally.send(Ok(resets.tally()))
                    }
                    Err(error) => {
                        let _ = tally.send(Err(error.to_string()));
                        return;
                    }
                };
                if sent.is_err() {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { seen, task }
    }

    /// How far it is, or why it cannot go on.
    pub(super) fn seen(&self) -> Result<Tally, String> {
        self.seen.borrow().clone()
    }
}

#[derive(Debug, Default)]
struct Resets {
    set_ids: HashSet<u32>,
    /// The last walk's, the longest idle last.
    waiting: Vec<FlowPlace>,
    running: Vec<Ending>,
    /// Begun, ever: a flow that could not be ended is not begun again.
    begun: HashSet<(u32, u32)>,
    since_walk: u32,
    done: Tally,
}

impl Resets {
    fn tally(&self) -> Tally {
        Tally {
            running: self.running.len() as u64,
            ..self.done
        }
    }

    fn look(&mut self, kernel: &mut impl Kernel) -> Result<(), KernelError> {
        if self.waiting.is_empty() && self.since_walk == 0 {
            self.walk(kernel)?;
            self.since_walk = LOOKS_BETWEEN_WALKS;
        }
        self.since_walk = self.since_walk.saturating_sub(1);
        for _ in 0..BEGUN_MAX {
            let Some(place) = self.waiting.pop() else { break };
            self.begun.insert((place.slot, place.generation));
            self.running.push(Ending::new(place));
        }
        let states = kernel.go_on_ending(&mut self.running)?;
        let mut states = states.into_iter();
        let done = &mut self.done;
        self.running.retain(|_| match states.next() {
            Some(Some(ended)) => {
                done.count(ended);
                false
            }
            _ => true,
        });
        Ok(())
    }

    fn walk(&mut self, kernel: &impl Kernel) -> Result<(), KernelError> {
        let mut found = Vec::new();
        kernel.for_each_flow(&mut |flow| {
            if self.concerns(&flow) {
                found.push((flow.idle, flow.place));
            }
        })?;
        found.sort_by_key(|(idle, _)| *idle);
        self.waiting = found.into_iter().map(|(_, place)| place).collect();
        Ok(())
    }

    /// TCP that is established. A handshake is decided again, or completes and is met by the next walk.
    fn concerns(&self, flow: &FlowView) -> bool {
        const TCP: u8 = 6;
        self.set_ids.contains(&flow.set_id)
            && flow.protocol == TCP
            && flow.state == FlowState::Established
            && !flow.expired
            && !self.begun.contains(&(flow.place.slot, flow.place.generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tests::fakes::Fake;

    fn place(slot: u32) -> FlowPlace {
        FlowPlace { slot, generation: 1 }
    }

    /// Adds an established flow.
    fn add(kernel: &Fake, slot: u32, set_id: u32, idle_s: u64) {
        kernel.add_flows(set_id, FlowState::Established, 1);
        let mut state = kernel.state();
        let flow = state.flows.last_mut().unwrap();
        (flow.place, flow.idle) = (place(slot), Duration::from_secs(idle_s));
    }

    fn looked(resets: &mut Resets, kernel: &mut Fake) -> Vec<u32> {
        kernel.state().endings.clear();
        resets.look(kernel).unwrap();
        kernel.state().endings.iter().map(|place| place.slot).collect()
    }

    #[test]
    fn only_flows_of_the_old_sets_and_the_longest_idle_first() {
        let mut kernel = Fake::default();
        for (slot, set_id, idle_s) in [(1, 7, 5), (2, 8, 900), (3, 7, 60), (4, 7, 0)] {
            add(&kernel, slot, set_id, idle_s);
        }
        kernel.add_flows(7, FlowState::Pending, 1);
        kernel.add_flows(7, FlowState::Closing, 1);
        let mut resets = Resets {
            set_ids: [7].into(),
            ..Resets::default()
        };
        assert_eq!(looked(&mut resets, &mut kernel), [3, 1, 4]);
        assert_eq!((resets.tally().reset, resets.tally().running), (3, 0));
        for _ in 0..20 {
            assert!(looked(&mut resets, &mut kernel).is_empty(), "each is begun once");
        }
    }

    #[test]
    fn no_more_than_the_rate_begin_at_once() {
        let mut kernel = Fake::default();
        for slot in 0..50 {
            add(&kernel, slot, 7, u64::from(slot));
        }
        let mut resets = Resets {
            set_ids: [7].into(),
            ..Resets::default()
        };
        let first = looked(&mut resets, &mut kernel);
        assert_eq!(first, (30..50).rev().collect::<Vec<_>>());
        assert_eq!(looked(&mut resets, &mut kernel).len(), 20);
        assert_eq!(looked(&mut resets, &mut kernel).len(), 10);
        assert_eq!(BEGUN_MAX as u64 * 50, RESETS_PER_SECOND);
    }
}
