//! Adds up what the kernel counted for a set: a CPU's own counters, the histograms, and the handshakes in the ring.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use switcher_ebpf::abi::{self, FlowRecord, SetLatencies, State, StateWord, Word64};
use switcher_ebpf::flow::{is_expired, is_unpinned};

use super::figures::SetCounters;
use crate::model::{HISTOGRAM_BUCKETS, Histogram, Latencies};

const SET_WORDS: usize = size_of::<abi::SetCounters>() / 8;
/// Counters of one set on one CPU, as aya copies them.
pub(super) type SetWords = [u64; SET_WORDS];

const _: () = assert!(HISTOGRAM_BUCKETS == abi::HISTOGRAM_BUCKETS);

/// Adds what one CPU has counted.
pub(super) fn add(sum: SetCounters, words: &SetWords) -> SetCounters {
    let one: abi::SetCounters = zerocopy::transmute!(*words);
    let of = |word: &Word64| word.load(Relaxed);
    SetCounters {
        flows_opened: sum.flows_opened + of(&one.flows_opened),
        flows_established: sum.flows_established + of(&one.flows_established),
        flows_refused: sum.flows_refused + of(&one.flows_refused),
        flows_reset_in_handshake: sum.flows_reset_in_handshake + of(&one.flows_reset_in_handshake),
        flows_timed_out: sum.flows_timed_out + of(&one.flows_timed_out),
        flows_pending: sum.flows_pending,
        syns_retransmitted: sum.syns_retransmitted + of(&one.syns_retransmitted),
        syns_held: sum.syns_held + of(&one.syns_held),
        refusals_hidden: sum.refusals_hidden + of(&one.refusals_hidden),
        flows_waited: sum.flows_waited + of(&one.flows_waited),
        flows_finished: sum.flows_finished + of(&one.flows_finished),
        flows_reset_by_client: sum.flows_reset_by_client + of(&one.flows_reset_by_client),
        flows_reset_by_backend: sum.flows_reset_by_backend + of(&one.flows_reset_by_backend),
        flows_reset_by_drain: sum.flows_reset_by_drain + of(&one.flows_reset_by_drain),
        flows_expired: sum.flows_expired + of(&one.flows_expired),
        flows_unpinned: sum.flows_unpinned + of(&one.flows_unpinned),
        packets_in: sum.packets_in + of(&one.packets_in),
        bytes_in: sum.bytes_in + of(&one.bytes_in),
        packets_out: sum.packets_out + of(&one.packets_out),
        bytes_out: sum.bytes_out + of(&one.bytes_out),
        last_new_flow_ns: sum.last_new_flow_ns.max(of(&one.last_new_flow_ns)),
        latency: sum.latency,
    }
}

/// A copy of a set's histograms.
pub(super) fn latencies(of: &SetLatencies) -> Latencies {
    Latencies {
        answer: histogram(&of.answer),
        handshake: histogram(&of.handshake),
        first_reply: histogram(&of.first_reply),
    }
}

fn histogram(of: &abi::Histogram) -> Histogram {
    Histogram {
        sum_us: of.sum_us.load(Relaxed),
        buckets: std::array::from_fn(|i| of.buckets[i].load(Relaxed)),
    }
}

/// Zeroes a set's histograms.
pub(super) fn clear(of: &SetLatencies) {
    for histogram in [&of.answer, &of.handshake, &of.first_reply] {
        histogram.sum_us.store(0, Relaxed);
        histogram.buckets.iter().for_each(|bucket| bucket.store(0, Relaxed));
    }
}

/// Handshakes in the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Handshakes {
    /// They may still complete.
    pub(super) pending: u64,
    /// Their time is up, and nobody needed their slots yet.
    pub(super) timed_out: u64,
}

/// Counts the handshakes in the ring by the number of their set.
pub(super) fn handshakes(ring: &[FlowRecord], now_ticks: u32) -> BTreeMap<u32, Handshakes> {
    let mut sets = BTreeMap::<u32, Handshakes>::new();
    for record in ring {
        let word = StateWord(record.word.load(Relaxed));
        if !word.is(State::Pending) || is_unpinned(record) {
            continue;
        }
        let of = sets.entry(record.identity.load().set_id).or_default();
        if is_expired(word, record.seen_ticks.load(Relaxed), now_ticks) {
            of.timed_out += 1;
        } else {
            of.pending += 1;
        }
    }
    sets
}

#[cfg(test)]
mod tests {
    use switcher_ebpf::abi::{FlowIdentity, FlowSide, PENDING_TIMEOUT_TICKS};

    use super::*;

    fn record(set_id: u32, state: State, seen_ticks: u32) -> FlowRecord {
        let record = FlowRecord::default();
        record.word.store(StateWord::new(1, state).0, Relaxed);
        record.seen_ticks.store(seen_ticks, Relaxed);
        record.identity.store(&FlowIdentity {
            set_id,
            ..FlowIdentity::default()
        });
        record
    }

    #[test]
    fn a_handshake_that_nobody_touched_for_its_time_has_timed_out() {
        let now = 1_000_000;
        let over = now - PENDING_TIMEOUT_TICKS - 1;
        let unpinned = record(7, State::Pending, over);
        unpinned.client.flags.store(FlowSide::UNPINNED, Relaxed);
        let ring = [
            record(7, State::Pending, now),
            record(7, State::Pending, over + 1),
            record(7, State::Pending, over),
            record(8, State::Pending, over),
            record(7, State::Closing, over),
            record(7, State::Moved, over),
            unpinned,
        ];
        let sets = handshakes(&ring, now);
        let of = |pending, timed_out| Handshakes { pending, timed_out };
        assert_eq!(sets, BTreeMap::from([(7, of(2, 1)), (8, of(0, 1))]));
    }

    #[test]
    fn cpus_are_added_and_the_last_new_flow_is_the_latest() {
        let words = |value: u64| -> SetWords { std::array::from_fn(|_| value) };
        let sum = add(add(SetCounters::default(), &words(5)), &words(3));
        assert_eq!((sum.flows_opened, sum.flows_timed_out, sum.bytes_out), (8, 8, 8));
        assert_eq!((sum.last_new_flow_ns, sum.flows_pending), (5, 0));
    }
}
