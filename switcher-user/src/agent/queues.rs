//! Accept queues of backends on this host, as the owner holds them: what waits, and what did not find room.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::healths::{at, sets};
use super::owner::Owner;
use super::port::{Host, Kernel};
use crate::api::AcceptQueueStatus;
use crate::kernel::{AcceptQueue, KernelError};
use crate::model::SetName;
use crate::plan::{Desired, Rollout, RolloutMove};

/// By the backends' addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Queues(BTreeMap<SocketAddr, Held>);

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// The last look; `None`: nothing listened.
    last: Option<AcceptQueue>,
    /// Handshakes that found no room since this agent looks.
    overflowed: u64,
}

impl Queues {
    /// Takes a look.
    fn saw(&mut self, seen: &BTreeMap<SocketAddr, Option<AcceptQueue>>) {
        self.0.retain(|at, _| seen.contains_key(at));
        for (at, now) in seen {
            let Some(held) = self.0.get_mut(at) else {
                self.0.insert(
                    *at,
                    Held {
                        last: *now,
                        overflowed: 0,
                    },
                );
                continue;
            };
            if let (Some(before), Some(now)) = (held.last, now) {
                held.overflowed += overflowed(before, *now);
            }
            held.last = *now;
        }
    }

    /// For people.
    pub(super) fn status(&self, at: SocketAddr) -> Option<AcceptQueueStatus> {
        let held = self.0.get(&at)?;
        let last = held.last.unwrap_or_default();
        Some(AcceptQueueStatus {
            listens: held.last.is_some(),
            waiting: last.waiting,
            waiting_max: last.waiting_max,
            overflowed: held.overflowed,
        })
    }

    /// Handshakes that found no room, by backend.
    pub(super) fn overflows(&self) -> BTreeMap<SocketAddr, u64> {
        self.0.iter().map(|(at, held)| (*at, held.overflowed)).collect()
    }
}

/// The socket counts all of its drops, the namespace the overflows of all of its sockets: it is what both have counted. A
/// server that was started anew counts from 0.
fn overflowed(before: AcceptQueue, now: AcceptQueue) -> u64 {
    let dropped = now.dropped.checked_sub(before.dropped).unwrap_or(now.dropped);
    dropped.min(now.overflows.saturating_sub(before.overflows))
}

impl<K: Kernel, H: Host> Owner<K, H> {
    /// Looks at all of them.
    pub(super) async fn look_at_queues(&mut self) -> Result<(), KernelError> {
        let backends: BTreeSet<SocketAddr> = sets(&self.desired)
            .flat_map(|(alias, set)| set.backends.iter().map(move |backend| at(alias, backend)))
            .collect();
        let backends: Vec<SocketAddr> = backends.into_iter().collect();
        if backends.is_empty() {
            return Ok(());
        }
        let seen = self
            .kernel
            .run(move |kernel| Ok(kernel.accept_queues(&backends)))
            .await?;
        self.queues.saw(&seen);
        Ok(())
    }

    /// The first backend of the new set whose queue overflowed since these were counted, as a sentence. Where one of the old set's
    /// did too it is the load, and no fault of the new one.
    pub(super) fn overflowed_since(&self, rollout: &Rollout, before: &BTreeMap<SocketAddr, u64>) -> Option<String> {
        let now = self.queues.overflows();
        let since = |at: &SocketAddr| {
            let now = now.get(at).copied().unwrap_or(0);
            now.saturating_sub(before.get(at).copied().unwrap_or(0))
        };
        let mut old = backends_of(&self.desired, rollout, |one| one.from.as_ref());
        if old.any(|(_, at)| since(&at) > 0) {
            return None;
        }
        backends_of(&self.desired, rollout, |_| Some(&rollout.request.to)).find_map(|(name, at)| {
            let more = since(&at);
            let why = "the server does not get to accept";
            (more > 0).then(|| {
                format!("the accept queue of backend {at} of set {name} overflowed: {more} handshake(s) dropped; {why}")
            })
        })
    }
}

/// Backends of one set of each alias, with the set's name.
fn backends_of<'a>(
    desired: &'a Desired,
    rollout: &'a Rollout,
    which: impl Fn(&'a RolloutMove) -> Option<&'a SetName> + 'a,
) -> impl Iterator<Item = (String, SocketAddr)> + 'a {
    rollout.moves.iter().flat_map(move |one| {
        let alias = desired.aliases.get(&one.alias);
        let set = alias
            .zip(which(one))
            .and_then(|(alias, set)| Some((alias, set, alias.sets.get(set)?)));
        set.into_iter().flat_map(move |(alias, name, set)| {
            let name = format!("{}/{name}", one.alias);
            set.backends
                .iter()
                .map(move |backend| (name.clone(), at(alias, backend)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_counters_have_is_an_overflow() {
        let at: SocketAddr = "10.1.0.2:8080".parse().unwrap();
        let mut queues = Queues::default();
        let mut look = |dropped, overflows| {
            let queue = AcceptQueue {
                waiting: 3,
                waiting_max: 2,
                dropped,
                overflows,
            };
            queues.saw(&BTreeMap::from([(at, Some(queue))]));
            queues.status(at).unwrap().overflowed
        };
        assert_eq!(look(40, 100), 0, "what was before this agent");
        assert_eq!(look(41, 100), 0, "a stray RST");
        assert_eq!(look(41, 120), 0, "another server's");
        assert_eq!(look(46, 130), 5);
        assert_eq!(look(2, 132), 7, "it was started anew");
        queues.saw(&BTreeMap::from([(at, None)]));
        assert!(!queues.status(at).unwrap().listens);
        queues.saw(&BTreeMap::new());
        assert_eq!(queues.status(at), None);
    }
}
