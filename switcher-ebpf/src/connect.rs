//! Local clients: a process of the host connects, or sends a datagram, and its destination is changed once, at the socket.
//! No packet is rewritten for it: the stack routes the connection to the backend's own address.
//!
//! A flow is known by its socket's cookie. Its record lies in the third region of the flow table, which no packet can take a
//! slot of, and has two keys: the socket's, and the one that the backend's packets would have, so that no forwarded flow
//! looks the same to the backend. What the kernel tells of the socket ends it (`sock_ops` for TCP, the socket's release for
//! all others): nothing here needs an agent, and nothing runs out by itself.
//!
//! A UDP socket may talk to several listeners without being connected: each is a conversation, numbered from 1.

use core::sync::atomic::Ordering::Relaxed;

use crate::abi::{
    Address, CONVERSATIONS_MAX, CONVERSING_TIMEOUT_TICKS, CURSOR_LOCAL, ESTABLISHED_SLOTS, FlowIdentity, FlowKey,
    FlowRecord, FlowSide, IndexValue, LOCAL_PROBES_MAX, LOCAL_SLOTS, PATH_LOCAL, PENDING_SLOTS, PENDING_TIMEOUT_TICKS,
    SetCounters, State, StateWord, Word64, micros, ticks,
};
use crate::choose::{self, Choice};
use crate::flow::{self, Found, idle_ticks};
use crate::parse::{PROTOCOL_TCP, PROTOCOL_UDP};
use crate::tables::Tables;

/// A socket that asks.
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    /// The kernel's number of it, never given twice.
    pub cookie: u64,
    /// The cookie of its network namespace.
    pub netns: u64,
    /// Its IP protocol.
    pub protocol: u8,
}

/// One end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address; IPv4 as a mapped one, which is what an IPv6 socket shows, too.
    pub address: Address,
    /// The port, network byte order.
    pub port: u16,
}

/// How TCP left a connection: the state before `TCP_CLOSE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// In its handshake.
    Handshake,
    /// Open, or half closed by the backend.
    Open,
    /// Closed by the client, which the backend has not acknowledged.
    Closing,
    /// Closed by the client, and that is acknowledged.
    Closed,
}

/// The conversation of a connected socket.
const CONNECTED: u32 = 0;
/// No packet's protocol: keys of sockets and of packets never meet.
const SOCKET_KEY: u32 = 0x100;
const FIRST_SLOT: u32 = PENDING_SLOTS + ESTABLISHED_SLOTS;
/// As in the established region: neighbours in time are spread.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Two CPUs may choose the same slot: the slower one looks again.
const CLAIMS_MAX: u32 = 2;
/// A handshake that ends after fewer retransmissions than these was refused; after more, nobody answered.
const REFUSED_RETRANSMITS_MAX: u32 = 2;

/// connect(): where it leads to instead. `None`: it is not ours, or no set has a share.
#[inline(always)]
pub fn connect<T: Tables>(tables: &T, socket: &Socket, to: &Endpoint) -> Option<Endpoint> {
    // A socket that connects again has left what it was connected to.
    if let Some(found) = find(tables, socket.cookie, CONNECTED) {
        remove(tables, &found, CONNECTED);
    }
    let image = tables.image()?;
    let choice = choose(tables, &image, socket, to)?;
    open(tables, socket, CONNECTED, &choice, to);
    Some(backend_of(&choice, to))
}

/// A datagram of a socket that is not connected, or that names another destination: where it goes instead.
#[inline(always)]
pub fn send<T: Tables>(tables: &T, socket: &Socket, to: &Endpoint) -> Option<Endpoint> {
    let mut ordinal = 1;
    let mut known = None;
    while ordinal <= CONVERSATIONS_MAX {
        let Some(found) = find(tables, socket.cookie, ordinal) else {
            break;
        };
        if found.identity.listener == to.address && found.identity.listener_port == to.port {
            known = Some(found);
            break;
        }
        ordinal += 1;
    }
    let now_ticks = ticks(tables.coarse_now_ns());
    let mut epoch = None;
    if let Some(found) = &known
        && !is_over(found.record, found.word, now_ticks)
    {
        if found.word.is(State::Conversing) && found.identity.flags & FlowIdentity::MOVES == 0 {
            found.record.seen_ticks.store(now_ticks, Relaxed);
            return Some(backend_in(found));
        }
        epoch = Some(found.identity.epoch);
    }
    let image = tables.image()?;
    if let (Some(found), Some(epoch)) = (&known, epoch)
        && choose::header_of(&image)?.epoch == epoch
    {
        found.record.seen_ticks.store(now_ticks, Relaxed);
        return Some(backend_in(found));
    }
    let choice = choose(tables, &image, socket, to);
    match (&known, &choice) {
        (Some(found), Some(choice)) => reopen(tables, found, choice, to),
        // Its listener is gone: what there was of it is over, but its number stays taken while the socket lives.
        (Some(found), None) => {
            tables.swap_state(found.record, found.word, found.word.with(State::Closing));
        }
        (None, Some(choice)) => open(tables, socket, ordinal, choice, to),
        (None, None) => {}
    }
    choice.map(|choice| backend_of(&choice, to))
}

/// A datagram that a process reads with its sender: whom the process knows it from.
#[inline(always)]
pub fn receive<T: Tables>(tables: &T, cookie: u64, from: &Endpoint) -> Option<Endpoint> {
    if let Some(listener) = peer(tables, cookie, from) {
        return Some(listener);
    }
    let mut ordinal = 1;
    while ordinal <= CONVERSATIONS_MAX {
        let found = find(tables, cookie, ordinal)?;
        if backend_in(&found) == *from {
            answered(tables, &found);
            return Some(listener_in(&found));
        }
        ordinal += 1;
    }
    None
}

#[inline(always)]
fn answered<T: Tables>(tables: &T, found: &Found<'_>) {
    found.record.seen_ticks.store(ticks(tables.coarse_now_ns()), Relaxed);
    if found.word.is(State::Pending)
        && tables.swap_state(found.record, found.word, found.word.with(State::Conversing))
        && let Some(counters) = tables.counters(found.identity.set_id)
    {
        tables.add_shared(&counters.flows_established, 1);
    }
}

/// getpeername(): whom the process thinks that it is connected to.
#[inline(always)]
pub fn peer<T: Tables>(tables: &T, cookie: u64, peer: &Endpoint) -> Option<Endpoint> {
    let found = find(tables, cookie, CONNECTED)?;
    (backend_in(&found) == *peer).then_some(listener_in(&found))
}

/// TCP is about to send its SYN. True: it is ours, and its states are to be told.
#[inline(always)]
pub fn handshake<T: Tables>(tables: &T, cookie: u64, local: &Endpoint) -> bool {
    let Some(found) = find(tables, cookie, CONNECTED) else {
        return false;
    };
    let mut identity = found.identity;
    identity.client = local.address;
    identity.client_port = local.port;
    identity.source_port = local.port;
    let record = found.record;
    record.identity.store(&identity);
    record.client.flags.store(FlowSide::SYN, Relaxed);
    record.seen_ticks.store(ticks(tables.coarse_now_ns()), Relaxed);
    reserve(
        tables,
        &identity,
        IndexValue::new(found.slot, found.word.generation(), true),
    );
    true
}

/// Takes the key of the backend's packets, so that no forwarded flow gets it, and none that is only begun keeps it: a SYN
/// with this host's address as its sender would have this flow's answers sent to the listener's clients.
#[inline(always)]
fn reserve<T: Tables>(tables: &T, identity: &FlowIdentity, value: IndexValue) {
    let key = identity.backend_key();
    if tables.index_insert(&key, value).is_ok() {
        return;
    }
    let holder = tables.index(&key);
    let lives = holder.is_some_and(|held| {
        tables.record(held.slot()).is_some_and(|record| {
            let word = StateWord(record.word.load(Relaxed));
            word.generation() == held.generation() && (word.is(State::Established) || word.is(State::Conversing))
        })
    });
    if !lives {
        let _ = tables.index_replace(&key, value);
    }
}

/// TCP's handshake is complete.
#[inline(always)]
pub fn established<T: Tables>(tables: &T, cookie: u64) {
    if let Some(found) = find(tables, cookie, CONNECTED)
        && found.word.is(State::Pending)
        && tables.swap_state(found.record, found.word, found.word.with(State::Established))
        && let Some(counters) = tables.counters(found.identity.set_id)
    {
        tables.add_shared(&counters.flows_established, 1);
        if found.record.client.flags.load(Relaxed) & FlowSide::WAITED != 0 {
            tables.add_shared(&counters.flows_waited, 1);
        }
    }
}

/// The flow of a socket that is in its handshake.
#[inline(always)]
pub(crate) fn pending<T: Tables>(tables: &T, cookie: u64) -> Option<Found<'_>> {
    find(tables, cookie, CONNECTED).filter(|found| found.word.is(State::Pending))
}

/// TCP has ended: what it did not deliver, it never will.
#[inline(always)]
pub fn closed<T: Tables>(tables: &T, cookie: u64, before: Before, retransmits: u32) {
    let Some(found) = find(tables, cookie, CONNECTED) else {
        return;
    };
    let flags = found.record.client.flags.load(Relaxed);
    let released = flags & FlowSide::RELEASED != 0;
    if let Some(counters) = tables.counters(found.identity.set_id)
        // Without a SYN the connection failed on this host: no route, no port.
        && flags & FlowSide::SYN != 0
    {
        let counter = if flags & FlowSide::CUT != 0 {
            &counters.flows_reset_by_drain
        } else {
            end_of(counters, before, released, retransmits)
        };
        tables.add_shared(counter, 1);
    }
    remove(tables, &found, CONNECTED);
}

/// The counter of an end. A process that closes its socket before the end has sent whatever ended it.
#[inline(always)]
const fn end_of(counters: &SetCounters, before: Before, released: bool, retransmits: u32) -> &Word64 {
    match before {
        // Nobody answered, or the process waited no longer.
        Before::Handshake if released || retransmits > REFUSED_RETRANSMITS_MAX => &counters.flows_timed_out,
        Before::Handshake => &counters.flows_refused,
        Before::Open if released => &counters.flows_reset_by_client,
        Before::Open | Before::Closing => &counters.flows_reset_by_backend,
        Before::Closed => &counters.flows_finished,
    }
}

/// The last descriptor of a socket was closed.
#[inline(always)]
pub fn release<T: Tables>(tables: &T, cookie: u64, protocol: u8) {
    if let Some(found) = find(tables, cookie, CONNECTED) {
        let flags = found.record.client.flags.load(Relaxed);
        if protocol == PROTOCOL_TCP && flags & FlowSide::SYN != 0 {
            found.record.client.flags.store(flags | FlowSide::RELEASED, Relaxed);
            return;
        }
        finish(tables, &found, CONNECTED);
    }
    if protocol != PROTOCOL_UDP {
        return;
    }
    let mut ordinal = 1;
    while ordinal <= CONVERSATIONS_MAX {
        let Some(found) = find(tables, cookie, ordinal) else {
            break;
        };
        finish(tables, &found, ordinal);
        ordinal += 1;
    }
}

/// Removes a conversation without an end of its own; one that had answers is counted as finished.
#[inline(always)]
fn finish<T: Tables>(tables: &T, found: &Found<'_>, ordinal: u32) {
    if (found.word.is(State::Established) || found.word.is(State::Conversing))
        && let Some(counters) = tables.counters(found.identity.set_id)
    {
        tables.add_shared(&counters.flows_finished, 1);
    }
    remove(tables, found, ordinal);
}

/// True when nobody waits for the flow any more, though its socket holds the record. A connected socket's flow lives until
/// the kernel says that it has ended.
#[must_use]
#[inline(always)]
pub fn is_over(record: &FlowRecord, word: StateWord, now_ticks: u32) -> bool {
    let idle = idle_ticks(record.seen_ticks.load(Relaxed), now_ticks);
    if word.is(State::Established) {
        false
    } else if word.is(State::Conversing) {
        idle > CONVERSING_TIMEOUT_TICKS
    } else if word.is(State::Pending) {
        record.client.flags.load(Relaxed) & FlowSide::SYN == 0 && idle > PENDING_TIMEOUT_TICKS
    } else {
        true
    }
}

#[inline(always)]
const fn socket_address(cookie: u64, ordinal: u32) -> Address {
    Address([cookie as u32, (cookie >> 32) as u32, ordinal, 0])
}

#[inline(always)]
fn socket_key(cookie: u64, ordinal: u32) -> FlowKey {
    FlowKey {
        source: socket_address(cookie, ordinal),
        protocol: SOCKET_KEY,
        ..FlowKey::default()
    }
}

/// Finds a conversation of a socket.
#[inline(always)]
fn find<T: Tables>(tables: &T, cookie: u64, ordinal: u32) -> Option<Found<'_>> {
    let value = tables.index(&socket_key(cookie, ordinal))?;
    let record = tables.record(value.slot())?;
    let word = StateWord(record.word.load(Relaxed));
    let side = &record.client;
    let same = word.generation() == value.generation()
        && word.is_readable()
        && side.next.load(Relaxed) == cookie as u32
        && side.acked.load(Relaxed) == (cookie >> 32) as u32
        && side.ifindex.load(Relaxed) == ordinal;
    if !same {
        return None;
    }
    Some(Found {
        record,
        identity: record.identity.load(),
        word,
        slot: value.slot(),
        is_reply: false,
    })
}

/// Which set is a matter of the namespace: its processes move together, one way, while shares rise. (The source address is
/// often not chosen yet.) Which backend is one of the socket.
#[inline(always)]
fn choose<'a, T: Tables>(tables: &T, image: &'a T::Image<'_>, socket: &Socket, to: &Endpoint) -> Option<Choice<'a>> {
    let header = choose::header_of(image)?;
    let key = FlowKey {
        source: socket_address(socket.cookie, CONNECTED),
        destination: to.address,
        source_port: 0,
        destination_port: to.port,
        protocol: socket.protocol as u32,
    };
    let client = choose::hash_client(&socket_address(socket.netns, SOCKET_KEY));
    let choice = choose::choose_by(image, header, &key, client, choose::hash_flow(&key)).ok()?;
    // Another namespace's loopback is not the one that is meant.
    if socket.netns != tables.home() && (is_loopback(&to.address) || is_loopback(&choice.backend.address)) {
        return None;
    }
    Some(choice)
}

#[inline(always)]
fn is_loopback(address: &Address) -> bool {
    let last = address.0[3];
    if address.is_v4() {
        u32::from_be(last) >> 24 == 127
    } else {
        address.0[0] == 0 && address.0[1] == 0 && address.0[2] == 0 && last == 1_u32.to_be()
    }
}

#[inline(always)]
fn backend_of(choice: &Choice<'_>, to: &Endpoint) -> Endpoint {
    let backend = choice.backend;
    Endpoint {
        address: backend.address,
        port: if backend.port == 0 { to.port } else { backend.port },
    }
}

#[inline(always)]
const fn backend_in(found: &Found<'_>) -> Endpoint {
    Endpoint {
        address: found.identity.backend,
        port: found.identity.backend_port,
    }
}

#[inline(always)]
const fn listener_in(found: &Found<'_>) -> Endpoint {
    Endpoint {
        address: found.identity.listener,
        port: found.identity.listener_port,
    }
}

#[inline(always)]
fn identity_of(protocol: u8, choice: &Choice<'_>, to: &Endpoint) -> FlowIdentity {
    let backend = backend_of(choice, to);
    FlowIdentity {
        epoch: choice.epoch,
        listener: to.address,
        backend: backend.address,
        listener_port: to.port,
        backend_port: backend.port,
        alias_id: choice.alias_id,
        set_id: choice.set_id,
        backend_id: choice.backend.id,
        protocol,
        path: PATH_LOCAL,
        flags: if choice.udp_moves && protocol == PROTOCOL_UDP {
            FlowIdentity::MOVES
        } else {
            0
        },
        shield_seconds: if protocol == PROTOCOL_TCP {
            choice.shield_seconds
        } else {
            0
        },
        ..FlowIdentity::default()
    }
}

/// Opens a flow. Without room it is served all the same, and counted: no drain sees it.
#[inline(always)]
fn open<T: Tables>(tables: &T, socket: &Socket, ordinal: u32, choice: &Choice<'_>, to: &Endpoint) {
    let now_ns = count_opened(tables, choice);
    let is_pinned = ordinal <= CONVERSATIONS_MAX && insert(tables, socket, ordinal, choice, to, now_ns);
    let Some(counters) = tables.counters(choice.set_id) else {
        return;
    };
    if !is_pinned {
        tables.add_shared(&counters.flows_unpinned, 1);
    } else if ordinal == CONNECTED && socket.protocol == PROTOCOL_UDP {
        // It has its backend for good, and no answer will be told.
        tables.add_shared(&counters.flows_established, 1);
    }
}

#[inline(always)]
fn count_opened<T: Tables>(tables: &T, choice: &Choice<'_>) -> u64 {
    let now_ns = tables.exact_now_ns();
    if let Some(counters) = tables.counters(choice.set_id) {
        tables.add_shared(&counters.flows_opened, 1);
        counters.last_new_flow_ns.store(now_ns, Relaxed);
    }
    now_ns
}

#[inline(always)]
fn insert<T: Tables>(
    tables: &T,
    socket: &Socket,
    ordinal: u32,
    choice: &Choice<'_>,
    to: &Endpoint,
    now_ns: u64,
) -> bool {
    let Some((slot, record, claimed)) = claim(tables) else {
        return false;
    };
    let mut identity = identity_of(socket.protocol, choice, to);
    if ordinal == CONNECTED {
        // No datagram of it is asked about again.
        identity.flags = 0;
    }
    begin(tables, slot, record, &identity, now_ns);
    record.since_us.store(micros(now_ns), Relaxed);
    let side = &record.client;
    side.next.store(socket.cookie as u32, Relaxed);
    side.acked.store((socket.cookie >> 32) as u32, Relaxed);
    side.flags.store(0, Relaxed);
    side.ifindex.store(ordinal, Relaxed);
    let state = if ordinal == CONNECTED && socket.protocol == PROTOCOL_UDP {
        State::Established
    } else {
        State::Pending
    };
    tables.swap_state(record, claimed, claimed.with(state));
    let value = IndexValue::new(slot, claimed.generation(), false);
    if tables.index_insert(&socket_key(socket.cookie, ordinal), value).is_ok() {
        return true;
    }
    tables.swap_state(record, claimed.with(state), claimed.with(State::Free));
    false
}

/// The same conversation, decided again.
#[inline(always)]
fn reopen<T: Tables>(tables: &T, found: &Found<'_>, choice: &Choice<'_>, to: &Endpoint) {
    // Another thread of the process does the same, and has begun.
    if !tables.swap_state(found.record, found.word, found.word.with(State::Claimed)) {
        return;
    }
    let now_ns = count_opened(tables, choice);
    let record = found.record;
    begin(
        tables,
        found.slot,
        record,
        &identity_of(PROTOCOL_UDP, choice, to),
        now_ns,
    );
    tables.swap_state(record, found.word.with(State::Claimed), found.word.with(State::Pending));
}

/// Writes a record that is claimed.
#[inline(always)]
fn begin<T: Tables>(tables: &T, slot: u32, record: &FlowRecord, identity: &FlowIdentity, now_ns: u64) {
    record.identity.store(identity);
    record.seen_ticks.store(ticks(now_ns), Relaxed);
    if let Some(traffic) = tables.traffic(slot) {
        traffic.open(now_ns);
    }
}

#[inline(always)]
fn claim<T: Tables>(tables: &T) -> Option<(u32, &FlowRecord, StateWord)> {
    for _ in 0..CLAIMS_MAX {
        let slot = free_slot(tables)?;
        let record = tables.record(slot)?;
        let word = StateWord(record.word.load(Relaxed));
        if word.is(State::Free) && tables.swap_state(record, word, word.claimed_anew()) {
            return Some((slot, record, word.claimed_anew()));
        }
    }
    None
}

#[inline(always)]
fn free_slot<T: Tables>(tables: &T) -> Option<u32> {
    let start = tables.advance(CURSOR_LOCAL, 1).wrapping_mul(SPREAD);
    for probe in 0..LOCAL_PROBES_MAX {
        let slot = FIRST_SLOT + (start.wrapping_add(probe as u64) % LOCAL_SLOTS as u64) as u32;
        if StateWord(tables.record(slot)?.word.load(Relaxed)).is(State::Free) {
            return Some(slot);
        }
    }
    None
}

/// Frees a record and its keys; only one of those who try does it.
#[inline(always)]
fn remove<T: Tables>(tables: &T, found: &Found<'_>, ordinal: u32) {
    let claimed = found.word.with(State::Claimed);
    if !tables.swap_state(found.record, found.word, claimed) {
        return;
    }
    let side = &found.record.client;
    let cookie = (side.acked.load(Relaxed) as u64) << 32 | side.next.load(Relaxed) as u64;
    let generation = found.word.generation();
    let own = IndexValue::new(found.slot, generation, false);
    flow::remove_key(tables, &socket_key(cookie, ordinal), own);
    if side.flags.load(Relaxed) & FlowSide::SYN != 0 {
        let reply = IndexValue::new(found.slot, generation, true);
        flow::remove_key(tables, &found.identity.backend_key(), reply);
    }
    tables.swap_state(found.record, claimed, found.word.with(State::Free));
}
