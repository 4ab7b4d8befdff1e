//! The flow table at its limits, natively, with the kernel's own capacities: floods, full tables, time-outs (I2, I4, I8).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod one_alias;

use core::sync::atomic::Ordering::Relaxed;

use etherparse::PacketBuilder;
use one_alias::{OneAlias, SET};
use switcher_ebpf::abi::{ESTABLISHED_SLOTS, PENDING_SLOTS, State, StateWord};
use switcher_ebpf::decide::{self, Verdict};
use switcher_ebpf::native::{MemoryPacket, MemoryTables};
use switcher_ebpf::reason::Reason;
use switcher_ebpf::tables::Tables as _;

const SECOND_NS: u64 = 1_000_000_000;
const START_NS: u64 = 1 << 40;

fn tables() -> MemoryTables {
    let mut tables = MemoryTables::default();
    tables.install(OneAlias::default().image());
    tables.set_now_ns(START_NS);
    tables
}

/// Client number `n`: an address and a port of its own.
fn client(n: u32) -> ([u8; 4], u16) {
    let [_, a, b, c] = (n / 50_000).to_be_bytes();
    ([10, 64 + a, b, c], 10_000 + (n % 50_000) as u16)
}

fn from_client(n: u32, flags: &str, seq: u32, ack: u32) -> MemoryPacket {
    let (address, port) = client(n);
    packet((address, port), ([198, 51, 100, 10], 80), flags, seq, ack)
}

fn from_backend(n: u32, flags: &str, seq: u32, ack: u32) -> MemoryPacket {
    packet(([10, 1, 0, 2], 8080), client(n), flags, seq, ack)
}

fn packet(from: ([u8; 4], u16), to: ([u8; 4], u16), flags: &str, seq: u32, ack: u32) -> MemoryPacket {
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
    builder.write(&mut bytes, &[]).unwrap();
    MemoryPacket::new(bytes, 1)
}

fn ingress(tables: &MemoryTables, mut packet: MemoryPacket) -> Verdict {
    decide::ingress(&mut packet, tables)
}

fn syn(tables: &MemoryTables, n: u32) -> Reason {
    ingress(tables, from_client(n, "S", 100, 0)).reason
}

fn establish(tables: &MemoryTables, n: u32) {
    assert_eq!(syn(tables, n), Reason::OpenedStack);
    decide::egress(&mut from_backend(n, "SA", 500, 101), tables);
    ingress(tables, from_client(n, "A", 101, 501));
}

/// FINs of both sides, and what acknowledges them.
fn end(tables: &MemoryTables, n: u32) {
    ingress(tables, from_client(n, "FA", 101, 501));
    decide::egress(&mut from_backend(n, "FA", 501, 102), tables);
    ingress(tables, from_client(n, "A", 102, 502));
}

/// True when a packet in the middle of the flow still finds its backend.
fn is_known(tables: &MemoryTables, n: u32) -> bool {
    ingress(tables, from_client(n, "A", 101, 501)).reason == Reason::ForwardStack
}

fn count(tables: &MemoryTables, state: State) -> usize {
    tables
        .records()
        .iter()
        .filter(|record| StateWord(record.word.load(Relaxed)).is(state))
        .count()
}

#[test]
fn a_flood_of_syns_pushes_out_handshakes_only() {
    let tables = tables();
    (0..1_000).for_each(|n| establish(&tables, n));
    for n in 0..3 * PENDING_SLOTS {
        assert_eq!(syn(&tables, 1_000_000 + n), Reason::OpenedStack);
    }
    assert!((0..1_000).all(|n| is_known(&tables, n)));
    assert_eq!(count(&tables, State::Pending), PENDING_SLOTS as usize);
    assert_eq!(
        tables.counters(SET).unwrap().flows_timed_out.load(Relaxed),
        2 * u64::from(PENDING_SLOTS),
        "who was pushed out is counted"
    );
    assert_eq!(
        tables.index_len(),
        2 * (PENDING_SLOTS as usize + 1_000),
        "two keys a record, and no others"
    );
    // After the flood a new flow is established as if nothing had been.
    establish(&tables, 999_999);
    assert!(is_known(&tables, 999_999));
}

#[test]
fn a_full_table_counts_what_it_cannot_pin_and_keeps_what_it_has() {
    let tables = tables();
    (0..ESTABLISHED_SLOTS).for_each(|n| establish(&tables, n));
    let counters = tables.counters(SET).unwrap();
    assert_eq!(counters.flows_unpinned.load(Relaxed), 0, "every slot is usable");
    establish(&tables, ESTABLISHED_SLOTS);
    ingress(&tables, from_client(ESTABLISHED_SLOTS, "A", 101, 501));
    assert_eq!(counters.flows_unpinned.load(Relaxed), 1, "counted once a flow");
    assert_eq!(
        counters.flows_established.load(Relaxed),
        u64::from(ESTABLISHED_SLOTS) + 1
    );
    // It is served from the ring meanwhile, and nobody lost a slot to it.
    assert!(is_known(&tables, ESTABLISHED_SLOTS));
    assert!((0..ESTABLISHED_SLOTS).step_by(1_009).all(|n| is_known(&tables, n)));
    // Its handshake has completed: its end is none of a handshake.
    ingress(&tables, from_client(ESTABLISHED_SLOTS, "R", 101, 0));
    assert_eq!(counters.flows_reset_by_client.load(Relaxed), 1);
    assert_eq!(counters.flows_reset_in_handshake.load(Relaxed), 0);
}

#[test]
fn an_idle_flow_keeps_its_record_for_8_000_seconds_and_no_longer_than_needed() {
    let tables = tables();
    (0..ESTABLISHED_SLOTS).for_each(|n| establish(&tables, n));
    let counters = tables.counters(SET).unwrap();
    tables.set_now_ns(START_NS + 7_990 * SECOND_NS);
    establish(&tables, 900_000);
    assert_eq!(
        counters.flows_unpinned.load(Relaxed),
        1,
        "nobody is reclaimed a second early"
    );
    tables.set_now_ns(START_NS + 8_010 * SECOND_NS);
    establish(&tables, 900_001);
    assert_eq!(counters.flows_unpinned.load(Relaxed), 1);
    assert_eq!(
        counters.flows_expired.load(Relaxed),
        1,
        "one slot was needed, one was reclaimed"
    );
    assert!(is_known(&tables, 900_001));
}

#[test]
fn ended_flows_make_room_after_30_seconds_without_an_agent() {
    let tables = tables();
    for n in 0..ESTABLISHED_SLOTS {
        establish(&tables, n);
        end(&tables, n);
    }
    assert_eq!(count(&tables, State::Closing), ESTABLISHED_SLOTS as usize);
    tables.set_now_ns(START_NS + 31 * SECOND_NS);
    (500_000..510_000).for_each(|n| establish(&tables, n));
    assert!((500_000..510_000).all(|n| is_known(&tables, n)));
    let counters = tables.counters(SET).unwrap();
    assert_eq!(counters.flows_unpinned.load(Relaxed), 0);
    assert_eq!(
        counters.flows_expired.load(Relaxed),
        0,
        "they had ended, they did not expire"
    );
}

#[test]
fn forged_packets_on_live_tuples_change_nothing() {
    let tables = tables();
    (0..100).for_each(|n| establish(&tables, n));
    let mut seed = 12_345_u32;
    let mut random = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed
    };
    for round in 0..20_000_u32 {
        let flags = ["S", "R", "RA", "FA", "A", "SA"][(random() >> 8) as usize % 6];
        // 101 is the one number that the backend would take.
        let seq = match random() {
            101 => 102,
            other => other,
        };
        ingress(&tables, from_client(round % 100, flags, seq, random()));
    }
    assert_eq!(count(&tables, State::Established), 100);
    let before = tables
        .records()
        .iter()
        .map(|record| record.identity.load().backend_id)
        .filter(|id| *id == 9)
        .count();
    assert!((0..100).all(|n| is_known(&tables, n)) && before >= 100);
}

#[test]
fn flows_that_live_long_do_not_unpin_others_in_the_next_round() {
    let tables = tables();
    (0..1_000).for_each(|n| establish(&tables, n));
    for n in 1_000..ESTABLISHED_SLOTS + 5_000 {
        establish(&tables, n);
        end(&tables, n);
        if n % 1_000 == 0 {
            tables.set_now_ns(START_NS + u64::from(n) * SECOND_NS / 1_000);
        }
    }
    assert_eq!(count(&tables, State::Established), 1_000);
    let counters = tables.counters(SET).unwrap();
    assert_eq!(counters.flows_unpinned.load(Relaxed), 0, "the table is all but empty");
}

#[test]
fn ended_flows_make_room_after_a_second_where_there_is_no_other() {
    let tables = tables();
    let mut n = 0;
    // Ten thousand short flows a second fill the table in 26 s, before the first one's 30 s are over.
    for second in 0..40 {
        tables.set_now_ns(START_NS + second * SECOND_NS);
        for _ in 0..10_000 {
            establish(&tables, n);
            end(&tables, n);
            n += 1;
        }
    }
    assert_eq!(tables.counters(SET).unwrap().flows_unpinned.load(Relaxed), 0);
}

#[test]
fn a_dead_flow_does_not_keep_its_tuple_by_its_clients_syns() {
    let tables = tables();
    establish(&tables, 1);
    for round in 1..=4 {
        tables.set_now_ns(START_NS + round * 2_500 * SECOND_NS);
        let expected = if round < 4 {
            Reason::ForwardStack
        } else {
            Reason::OpenedStack
        };
        assert_eq!(syn(&tables, 1), expected, "round {round}");
    }
}

#[test]
fn a_record_that_nobody_touched_for_weeks_is_expired() {
    let tables = tables();
    syn(&tables, 1);
    let record = tables
        .records()
        .iter()
        .find(|record| StateWord(record.word.load(Relaxed)).is(State::Pending))
        .unwrap();
    let word = StateWord(record.word.load(Relaxed));
    let seen = record.seen_ticks.load(Relaxed);
    for days in [1, 20, 26, 40, 51] {
        let now = seen.wrapping_add(switcher_ebpf::abi::ticks_of_seconds(days * 86_400));
        assert!(switcher_ebpf::flow::is_expired(word, seen, now), "{days} days");
    }
    assert!(
        !switcher_ebpf::flow::is_expired(word, seen, seen.wrapping_sub(1_000)),
        "another CPU's clock is ahead"
    );
}
