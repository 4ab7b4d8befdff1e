//! Follows a TCP connection far enough to know when it is established and when it has ended (RFC 9293, RFC 5961).
//!
//! Invariant I8: anybody can send packets that look like the client's. So what the client's side claims counts only
//! where the backend would take it: a FIN or RST must stand at the very sequence number that comes next. What comes
//! from the backend is believed.

use core::sync::atomic::Ordering::Relaxed;

use crate::abi::{FlowRecord, FlowSide, State, micros, ticks};
use crate::parse::{TcpFacts, Transport};

/// What a packet does to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing that changes its state.
    Nothing,
    /// The backend's first SYN-ACK.
    Answered {
        /// Since the client's SYN; microseconds.
        after_us: u32,
    },
    /// The handshake is complete; of UDP: answered.
    Established {
        /// Since the client's SYN or datagram; microseconds.
        after_us: u32,
    },
    /// The backend's first data after the client's.
    FirstReply {
        /// Since the client's first data; microseconds.
        after_us: u32,
    },
    /// The backend answered the SYN with a RST.
    Refused,
    /// Both sides have said that they are done.
    Finished,
    /// The client gave it up.
    ResetByClient,
    /// The backend gave it up.
    ResetByBackend,
}

/// True when `a` comes after `b` in sequence space.
#[inline(always)]
const fn after(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) < 0
}

/// The sequence number after a segment: SYN and FIN count one each.
#[inline(always)]
const fn end_of(tcp: &TcpFacts) -> u32 {
    tcp.sequence
        .wrapping_add(tcp.payload)
        .wrapping_add(tcp.is_syn() as u32)
        .wrapping_add(tcp.is_fin() as u32)
}

/// The client's first packet, noted in a fresh record.
#[inline(always)]
pub fn open(record: &FlowRecord, transport: &Transport, now_ns: u64, ifindex: u32, backend_ifindex: u32) {
    let (client, backend) = (&record.client, &record.backend);
    let (sequence, end) = match transport {
        Transport::Tcp(tcp) => (tcp.sequence, end_of(tcp)),
        Transport::Udp { .. } => (0, 0),
    };
    record.seen_ticks.store(ticks(now_ns), Relaxed);
    record.since_us.store(micros(now_ns), Relaxed);
    client.next.store(end, Relaxed);
    client.acked.store(0, Relaxed);
    client.flags.store(FlowSide::SYN, Relaxed);
    client.ifindex.store(ifindex, Relaxed);
    backend.next.store(0, Relaxed);
    backend.acked.store(sequence, Relaxed);
    backend.flags.store(0, Relaxed);
    backend.ifindex.store(backend_ifindex, Relaxed);
}

/// True for the SYN that opened the flow, sent again.
#[must_use]
#[inline(always)]
pub fn is_syn_again(record: &FlowRecord, transport: &Transport) -> bool {
    match transport {
        Transport::Tcp(tcp) => tcp.is_open() && end_of(tcp) == record.client.next.load(Relaxed),
        Transport::Udp { .. } => false,
    }
}

/// How long ago the record's moment was.
#[inline(always)]
fn since(record: &FlowRecord, now_us: u32) -> u32 {
    now_us.wrapping_sub(record.since_us.load(Relaxed))
}

/// A packet of the client's side; `state`: the record's before it. `clock`: microseconds, asked for only when they matter.
#[inline(always)]
pub fn from_client(record: &FlowRecord, transport: &Transport, state: State, clock: impl Fn() -> u32) -> Event {
    let Transport::Tcp(tcp) = transport else {
        return Event::Nothing;
    };
    let (client, backend) = (&record.client, &record.backend);
    if tcp.is_syn() {
        return Event::Nothing;
    }
    let trusted = backend.acked.load(Relaxed);
    let mut next = client.next.load(Relaxed);
    if after(trusted, next) {
        next = trusted;
    }
    if tcp.is_reset() {
        let taken = tcp.sequence == next || tcp.sequence == trusted;
        return if taken { Event::ResetByClient } else { Event::Nothing };
    }
    let end = end_of(tcp);
    let in_order = !after(tcp.sequence, next) && !after(next, end);
    if in_order {
        next = end;
    }
    client.next.store(next, Relaxed);
    // For whoever has to know what the client has received. Nothing here believes it.
    if !has(client, FlowSide::FIN_EARLY) {
        client.acked.store(tcp.acknowledged, Relaxed);
    }
    if tcp.is_fin() {
        client_fin(record, end, in_order);
    }
    // The backend's FIN, and all before it, has come through to the client.
    if tcp.is_ack() && has(backend, FlowSide::FIN) && tcp.acknowledged == backend.next.load(Relaxed) {
        set(client, FlowSide::SAW_FIN);
    }
    let first_data = in_order && tcp.payload > 0 && !has(client, FlowSide::DATA);
    if state as u8 == State::Pending as u8 {
        let answered = backend.flags.load(Relaxed) & FlowSide::SYN != 0;
        let completes = answered && tcp.is_ack() && tcp.acknowledged == backend.next.load(Relaxed);
        if !completes {
            return Event::Nothing;
        }
        let now_us = clock();
        let after_us = since(record, now_us);
        if first_data {
            begin_request(record, now_us);
        }
        return Event::Established { after_us };
    }
    if first_data && state as u8 == State::Established as u8 {
        begin_request(record, clock());
    }
    finished(record)
}

/// The backend's first data is waited for from here on.
#[inline(always)]
fn begin_request(record: &FlowRecord, now_us: u32) {
    set(&record.client, FlowSide::DATA);
    record.since_us.store(now_us, Relaxed);
}

/// A FIN in order counts at once; one that came before its data counts when the backend acknowledges it.
#[inline(always)]
fn client_fin(record: &FlowRecord, end: u32, in_order: bool) {
    if in_order {
        set(&record.client, FlowSide::FIN);
    } else {
        record.client.acked.store(end, Relaxed);
        set(&record.client, FlowSide::FIN_EARLY);
    }
}

#[inline(always)]
fn acknowledged_early_fin(record: &FlowRecord) -> bool {
    let early = record.client.flags.load(Relaxed) & (FlowSide::FIN_EARLY | FlowSide::FIN) == FlowSide::FIN_EARLY;
    early && record.client.acked.load(Relaxed) == record.backend.acked.load(Relaxed)
}

/// A packet of the backend's side; `state`: the record's before it. A datagram's answer makes it a conversation: one-sided
/// floods never get past the pending ring.
#[inline(always)]
pub fn from_backend(record: &FlowRecord, transport: &Transport, state: State, clock: impl Fn() -> u32) -> Event {
    let Transport::Tcp(tcp) = transport else {
        if state as u8 != State::Pending as u8 {
            return Event::Nothing;
        }
        let after_us = since(record, clock());
        return Event::Established { after_us };
    };
    let (client, backend) = (&record.client, &record.backend);
    if tcp.is_ack() && (after(tcp.acknowledged, backend.acked.load(Relaxed)) || tcp.is_syn()) {
        backend.acked.store(tcp.acknowledged, Relaxed);
    }
    if tcp.is_reset() {
        return backend_reset(record, tcp, state);
    }
    let end = end_of(tcp);
    if tcp.is_syn() {
        let before = backend.flags.load(Relaxed);
        backend.next.store(end, Relaxed);
        backend.flags.store(FlowSide::SYN | before & FlowSide::DATA, Relaxed);
        if before & FlowSide::SYN != 0 || state as u8 != State::Pending as u8 {
            return Event::Nothing;
        }
        let after_us = since(record, clock());
        return Event::Answered { after_us };
    }
    if after(end, backend.next.load(Relaxed)) {
        backend.next.store(end, Relaxed);
    }
    if acknowledged_early_fin(record) {
        client.next.store(backend.acked.load(Relaxed), Relaxed);
        set(client, FlowSide::FIN);
    }
    if tcp.is_fin() {
        set(backend, FlowSide::FIN);
    }
    if tcp.payload > 0 && !has(backend, FlowSide::DATA) {
        set(backend, FlowSide::DATA);
        // One that speaks first answers nobody.
        if has(client, FlowSide::DATA) && state as u8 != State::Closing as u8 {
            let after_us = since(record, clock());
            return Event::FirstReply { after_us };
        }
    }
    finished(record)
}

/// On the stack path anybody's packet may look like the backend's: a RST counts where it answers the client's SYN, or
/// stands at the number that the backend sends next, or acknowledges all that the client sent.
#[inline(always)]
fn backend_reset(record: &FlowRecord, tcp: &TcpFacts, state: State) -> Event {
    let answers = tcp.is_ack() && tcp.acknowledged == record.client.next.load(Relaxed);
    if state as u8 == State::Pending as u8 {
        return match answers {
            false => Event::Nothing,
            true if has(&record.backend, FlowSide::SYN) => Event::ResetByBackend,
            true => Event::Refused,
        };
    }
    let in_order = tcp.sequence == record.backend.next.load(Relaxed);
    if answers || in_order {
        Event::ResetByBackend
    } else {
        Event::Nothing
    }
}

/// Both sides are done, and each knows it of the other: nothing will be sent again. Asked at every packet, so that two
/// FINs on two CPUs at one moment are not both overlooked.
#[inline(always)]
fn finished(record: &FlowRecord) -> Event {
    let (client, backend) = (&record.client, &record.backend);
    let done = FlowSide::FIN | FlowSide::SAW_FIN;
    let client_is_done = client.flags.load(Relaxed) & done == done;
    let backend_knows = backend.acked.load(Relaxed) == client.next.load(Relaxed);
    if client_is_done && has(backend, FlowSide::FIN) && backend_knows {
        Event::Finished
    } else {
        Event::Nothing
    }
}

#[inline(always)]
fn has(side: &FlowSide, flag: u32) -> bool {
    side.flags.load(Relaxed) & flag != 0
}

#[inline(always)]
fn set(side: &FlowSide, flag: u32) {
    side.flags.store(side.flags.load(Relaxed) | flag, Relaxed);
}
