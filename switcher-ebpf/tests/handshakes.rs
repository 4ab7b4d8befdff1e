//! Every flow that was opened is counted once more, by how its handshake ended, in any order of packets (I9).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod one_alias;

use core::sync::atomic::Ordering::Relaxed;

use etherparse::PacketBuilder;
use one_alias::{OneAlias, SET};
use proptest::prelude::*;
use switcher_ebpf::abi::{CURSOR_PENDING, Histogram, PENDING_SLOTS, Row, State, StateWord};
use switcher_ebpf::decide;
use switcher_ebpf::flow::is_unpinned;
use switcher_ebpf::native::{MemoryPacket, MemoryTables};
use switcher_ebpf::tables::Tables as _;

const START_NS: u64 = 1 << 40;
const LISTENER: ([u8; 4], u16) = ([198, 51, 100, 10], 80);
const BACKEND: ([u8; 4], u16) = ([10, 1, 0, 2], 8080);

fn image(epoch: u64) -> Vec<Row> {
    let alias = OneAlias {
        epoch,
        ..OneAlias::default()
    };
    alias.image()
}

/// What may happen, to one of a few clients.
#[derive(Clone, Copy, Debug)]
enum Step {
    Client(&'static str, u32, u32, usize),
    Backend(&'static str, u32, u32, usize),
    WaitSeconds(u64),
    NextImage,
    /// The ring comes round: the next SYNs take the slots of the first ones.
    RingComesRound,
}

fn step() -> impl Strategy<Value = Step> {
    // Numbers of an honest connection, and some that are not: the client begins at 100, the backend at 500.
    let honest = prop_oneof![
        Just(Step::Client("S", 100, 0, 0)),
        Just(Step::Backend("SA", 500, 101, 0)),
        Just(Step::Client("A", 101, 501, 0)),
        Just(Step::Client("A", 101, 501, 10)),
        Just(Step::Backend("A", 501, 111, 10)),
        Just(Step::Client("R", 101, 0, 0)),
        Just(Step::Backend("RA", 0, 101, 0)),
        Just(Step::Backend("R", 501, 0, 0)),
        Just(Step::Client("FA", 101, 501, 0)),
        Just(Step::Backend("FA", 501, 102, 0)),
        Just(Step::Client("A", 102, 502, 0)),
    ];
    let other = (0..6_usize, 98..114_u32, 498..514_u32, any::<bool>()).prop_map(|(flags, a, b, client)| {
        let flags = ["S", "SA", "A", "R", "RA", "FA"][flags];
        if client {
            Step::Client(flags, a, b, 0)
        } else {
            Step::Backend(flags, b, a, 0)
        }
    });
    let world = prop_oneof![
        (0..40_u64).prop_map(Step::WaitSeconds),
        Just(Step::NextImage),
        Just(Step::RingComesRound)
    ];
    prop_oneof![8 => honest, 2 => other, 1 => world]
}

fn packet(from: ([u8; 4], u16), to: ([u8; 4], u16), flags: &str, seq: u32, ack: u32, payload: usize) -> MemoryPacket {
    let mut builder = PacketBuilder::ethernet2([2; 6], [0; 6])
        .ipv4(from.0, to.0, 64)
        .tcp(from.1, to.1, seq, 1_000);
    for flag in flags.chars() {
        builder = match flag {
            'S' => builder.syn(),
            'A' => builder.ack(ack),
            'F' => builder.fin(),
            _ => builder.rst(),
        };
    }
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &vec![0; payload]).unwrap();
    MemoryPacket::new(bytes, 1)
}

struct World {
    tables: MemoryTables,
    now_ns: u64,
    epoch: u64,
}

impl World {
    fn new() -> Self {
        let mut tables = MemoryTables::default();
        tables.install(image(1));
        tables.set_now_ns(START_NS);
        Self {
            tables,
            now_ns: START_NS,
            epoch: 1,
        }
    }

    fn take(&mut self, client: u16, step: Step) {
        let client = ([203, 0, 113, 7], 40_000 + client);
        match step {
            Step::Client(flags, seq, ack, payload) => {
                let mut packet = packet(client, LISTENER, flags, seq, ack, payload);
                decide::ingress(&mut packet, &self.tables);
            }
            Step::Backend(flags, seq, ack, payload) => {
                let mut packet = packet(BACKEND, client, flags, seq, ack, payload);
                decide::egress(&mut packet, &self.tables);
            }
            Step::WaitSeconds(seconds) => self.wait_ns(seconds * 1_000_000_000),
            Step::NextImage => {
                self.epoch += 1;
                self.tables.install(image(self.epoch));
            }
            Step::RingComesRound => {
                let at = self.tables.advance(CURSOR_PENDING, 0) % u64::from(PENDING_SLOTS);
                self.tables.advance(CURSOR_PENDING, u64::from(PENDING_SLOTS) - at);
            }
        }
    }

    fn wait_ns(&mut self, time_ns: u64) {
        self.now_ns += time_ns;
        self.tables.set_now_ns(self.now_ns);
    }

    fn in_handshake(&self) -> u64 {
        let ring = &self.tables.records()[..PENDING_SLOTS as usize];
        let pending = ring
            .iter()
            .filter(|record| StateWord(record.word.load(Relaxed)).is(State::Pending) && !is_unpinned(record));
        pending.count() as u64
    }
}

fn count(histogram: &Histogram) -> u64 {
    histogram.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn each_flow_that_was_opened_is_counted_once_by_how_its_handshake_ended(
        steps in prop::collection::vec((0..4_u16, step()), 0..240),
    ) {
        let mut world = World::new();
        for (client, step) in steps {
            world.take(client, step);
        }
        let counters = world.tables.counters(SET).unwrap();
        let of = |counter: &switcher_ebpf::abi::Word64| counter.load(Relaxed);
        let ended = of(&counters.flows_established) + of(&counters.flows_refused)
            + of(&counters.flows_reset_in_handshake) + of(&counters.flows_timed_out);
        prop_assert_eq!(of(&counters.flows_opened), ended + world.in_handshake());
        let latencies = world.tables.latencies(SET).unwrap();
        prop_assert_eq!(count(&latencies.handshake), of(&counters.flows_established));
        prop_assert!(count(&latencies.answer) >= of(&counters.flows_established));
        prop_assert!(count(&latencies.first_reply) <= of(&counters.flows_established));
    }
}

#[test]
fn a_handshake_that_is_pushed_out_of_the_ring_has_timed_out() {
    let mut world = World::new();
    world.take(1, Step::Client("S", 100, 0, 0));
    world.take(1, Step::RingComesRound);
    world.take(2, Step::Client("S", 100, 0, 0));
    let counters = world.tables.counters(SET).unwrap();
    assert_eq!(counters.flows_timed_out.load(Relaxed), 1);
}

#[test]
fn times_fall_into_the_bucket_that_is_theirs() {
    let mut world = World::new();
    let bucket = |time_us: u64| {
        let bits = u64::BITS - time_us.leading_zeros();
        bits as usize
    };
    for (client, time_us) in [(1, 0), (2, 1), (3, 37), (4, 999), (5, 20_000), (6, 3_000_000)] {
        world.take(client, Step::Client("S", 100, 0, 0));
        world.wait_ns(time_us * 1_000);
        world.take(client, Step::Backend("SA", 500, 101, 0));
        let latencies = world.tables.latencies(SET).unwrap();
        assert_eq!(
            latencies.answer.buckets[bucket(time_us)].load(Relaxed),
            1,
            "{time_us} us"
        );
    }
    let latencies = world.tables.latencies(SET).unwrap();
    assert_eq!(latencies.answer.sum_us.load(Relaxed), 1 + 37 + 999 + 20_000 + 3_000_000);
    assert_eq!(Histogram::bucket_of(u32::MAX), 31);
}

#[test]
fn a_backend_that_speaks_first_gives_no_time_of_a_reply() {
    let mut world = World::new();
    for step in [
        Step::Client("S", 100, 0, 0),
        Step::Backend("SA", 500, 101, 0),
        Step::Client("A", 101, 501, 0),
        Step::Backend("A", 501, 101, 10),
        Step::Client("A", 101, 511, 10),
        Step::Backend("A", 511, 111, 10),
    ] {
        world.take(1, step);
    }
    assert_eq!(count(&world.tables.latencies(SET).unwrap().first_reply), 0);
}

#[test]
fn data_on_the_ack_of_a_handshake_is_the_first_request() {
    let mut world = World::new();
    world.take(1, Step::Client("S", 100, 0, 0));
    world.take(1, Step::Backend("SA", 500, 101, 0));
    world.wait_ns(5_000_000);
    world.take(1, Step::Client("A", 101, 501, 10));
    world.wait_ns(2_000_000);
    world.take(1, Step::Backend("A", 501, 111, 10));
    world.wait_ns(1_000_000);
    world.take(1, Step::Backend("A", 511, 111, 10));
    let latencies = world.tables.latencies(SET).unwrap();
    assert_eq!(latencies.handshake.sum_us.load(Relaxed), 5_000);
    assert_eq!(
        (
            count(&latencies.first_reply),
            latencies.first_reply.sum_us.load(Relaxed)
        ),
        (1, 2_000)
    );
}
