//! Decides every packet: finds its flow, or opens one, and rewrites it. The hooks only carry out the [`Action`].

use core::sync::atomic::Ordering::Relaxed;

use crate::abi::{
    AliasRow, FlowIdentity, FlowSide, PATH_BYPASS, PATH_DRIVER, PATH_SOCKET, PATH_STACK, State, add, micros, ticks,
};
use crate::choose::{self, Again, Choice};
use crate::flow::{self, Found, Opening};
use crate::latency::observe;
use crate::packet::Packet;
use crate::parse::{Content, IcmpError, Layout, Parsed, Transport, parse};
use crate::reason::Reason;
use crate::rewrite;
use crate::shield;
use crate::socket;
use crate::tables::Tables;
use crate::track::{self, Event};

/// What the hook does with the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Lets it go on.
    Pass,
    /// Drops it.
    Drop,
    /// Hands it to the namespace behind this host-side veth. Too big for it: lets it go on to the stack.
    ToPeer {
        /// The host-side veth.
        ifindex: u32,
    },
    /// Hands it to the program of the socket path, which begins anew: see [`socket::ingress`].
    ToSocketProgram,
    /// Hands it to the program of replies on the driver path, which begins anew: see [`crate::driver::reply`].
    ToReplyProgram,
    /// Sends it by the route to its destination; under TC by this interface where the routing does not say. No way: lets it go on.
    ToRoute {
        /// Where the client's last packet came in.
        ifindex: u32,
    },
}

/// What was decided, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why.
    pub reason: Reason,
    /// What.
    pub action: Action,
}

impl Verdict {
    #[inline(always)]
    pub(crate) const fn pass(reason: Reason) -> Self {
        Self {
            reason,
            action: Action::Pass,
        }
    }

    #[inline(always)]
    pub(crate) const fn drop(reason: Reason) -> Self {
        Self {
            reason,
            action: Action::Drop,
        }
    }
}

/// Counted by that program.
const TO_SOCKET_PROGRAM: Verdict = Verdict {
    reason: Reason::SocketFailed,
    action: Action::ToSocketProgram,
};

/// Counted by that program, but where it is missing.
const TO_REPLY_PROGRAM: Verdict = Verdict {
    reason: Reason::OtherHook,
    action: Action::ToReplyProgram,
};

/// A packet that comes in by an interface: from a client, or from a backend on the bypass path.
#[inline(always)]
pub fn ingress<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let is_for_host = packet.is_for_host();
    let parsed = match parse(packet) {
        Ok(Content::Segment(parsed)) => parsed,
        _ if !is_for_host => return Verdict::pass(Reason::NotForHost),
        Ok(Content::Error(error)) => return icmp_ingress(packet, tables, &error),
        Err(reason) => return Verdict::pass(reason),
    };
    let found = flow::find(tables, &parsed.key);
    // What a backend behind a bridge's port answers has the address of the bridge, or of a client beside it.
    let is_answer_beside = P::CAN_BYPASS
        && found
            .as_ref()
            .is_some_and(|found| found.is_reply && is_from_backend(packet, found));
    if !is_for_host && !is_answer_beside {
        return Verdict::pass(Reason::NotForHost);
    }
    if let Some(found) = &found
        && found.is_reply
    {
        return if P::CAN_BYPASS && found.identity.path == PATH_BYPASS && is_from_backend(packet, found) {
            reply(packet, tables, &parsed, found)
        } else if P::IS_DRIVER && found.identity.path == PATH_DRIVER && is_from_backend(packet, found) {
            TO_REPLY_PROGRAM
        } else {
            Verdict::pass(Reason::OtherHook)
        };
    }
    if let Some(found) = &found {
        count_syn_again(tables, &parsed, found);
    }
    if let Some(found) = &found
        && P::CAN_BYPASS
        && socket::concerns(&parsed, found)
    {
        return TO_SOCKET_PROGRAM;
    }
    if parsed.transport.is_open()
        && let Some(verdict) = opening(packet, tables, &parsed, found.as_ref())
    {
        return verdict;
    }
    match &found {
        Some(found) => forward(packet, tables, &parsed, found),
        None => Verdict::pass(Reason::NoFlow),
    }
}

/// Anybody can send packets that look like the backend's; only the backend is behind its veth.
#[inline(always)]
pub(crate) fn is_from_backend<P: Packet>(packet: &P, found: &Found<'_>) -> bool {
    found.record.backend.ifindex.load(Relaxed) == packet.ifindex()
}

/// A packet that leaves by an interface: what a backend answers through the host's stack.
#[inline(always)]
pub fn egress<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let parsed = match parse(packet) {
        Ok(Content::Segment(parsed)) => parsed,
        Ok(Content::Error(error)) => return icmp_egress(packet, tables, &error),
        Err(reason) => return Verdict::pass(reason),
    };
    match flow::find(tables, &parsed.key) {
        Some(found) if found.is_reply => {
            if account_reply(tables, &parsed, &found) == Seen::Hidden {
                return Verdict::drop(Reason::Shielded);
            }
            // The stack has routed it already, whatever path the flow is on.
            match rewrite::to_client(packet, &parsed, &found.identity) {
                Ok(()) if found.identity.path == PATH_SOCKET => Verdict::pass(Reason::ReplySocket),
                Ok(()) => Verdict::pass(Reason::ReplyStack),
                Err(_) => Verdict::drop(Reason::RewriteFailed),
            }
        }
        Some(_) => Verdict::pass(Reason::OtherHook),
        None => Verdict::pass(Reason::NoFlow),
    }
}

/// A SYN or a datagram: on a flow that lives it belongs to that flow; else it opens one.
///
/// Invariant I3: a handshake that an older image decided is decided again. Invariant I8: a SYN never moves a flow that
/// is established; the backend answers it (RFC 5961, section 4).
/// `None`: it belongs to the flow that was found.
#[inline(always)]
fn opening<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    found: Option<&Found<'_>>,
) -> Option<Verdict> {
    let mut epoch = None;
    let now_ticks = ticks(tables.coarse_now_ns());
    if let Some(found) = found
        && found.state() as u8 != State::Closing as u8
        && !flow::is_over(found, now_ticks)
    {
        if found.state() as u8 == State::Established as u8 && !may_move(parsed, found) {
            return None;
        }
        epoch = Some(found.identity.epoch);
    }
    let Some(image) = tables.image() else {
        return Some(Verdict::pass(Reason::NoImage));
    };
    let Some(header) = choose::header_of(&image) else {
        return Some(Verdict::pass(Reason::NoImage));
    };
    let again = found.map_or(Again::NO, |found| shield::again(found, parsed));
    if epoch == Some(header.epoch) && again == Again::NO {
        return None;
    }
    let alias = choose::find_alias(&image, header, &parsed.key);
    // Invariant I4: the deadline is the image's, so a hold ends without anybody.
    if let Ok(alias) = alias
        && alias.hold_until_ns != 0
        && tables.exact_now_ns() < alias.hold_until_ns
    {
        let lives = epoch.is_some() && found.is_some_and(|found| found.state() as u8 == State::Established as u8);
        return if lives { None } else { Some(hold(tables, &image, alias)) };
    }
    if let Some(found) = found {
        flow::release(tables, found, now_ticks);
    }
    let clock = || ticks(tables.coarse_now_ns());
    let choice = alias.and_then(|alias| choose::choose(&image, header.epoch, alias, &parsed.key, again, clock));
    Some(match choice {
        Ok(choice) if choice.backend.path == PATH_SOCKET => {
            if P::CAN_BYPASS {
                TO_SOCKET_PROGRAM
            } else {
                Verdict::drop(Reason::SocketFailed)
            }
        }
        Ok(choice) => open(packet, tables, parsed, &choice, again),
        Err(reason) => Verdict::pass(reason),
    })
}

#[inline(always)]
fn hold<T: Tables>(tables: &T, image: &T::Image<'_>, alias: &AliasRow) -> Verdict {
    if let Some(set_id) = choose::first_set(image, alias)
        && let Some(counters) = tables.counters(set_id)
    {
        add(&counters.syns_held, 1);
    }
    Verdict::drop(Reason::Held)
}

/// A UDP conversation of an alias that asked for it goes where the newest image sends it.
#[inline(always)]
const fn may_move(parsed: &Parsed, found: &Found<'_>) -> bool {
    matches!(parsed.transport, Transport::Udp { .. }) && found.identity.flags & FlowIdentity::MOVES != 0
}

#[inline(always)]
const fn flags(parsed: &Parsed, choice: &Choice<'_>) -> u8 {
    if choice.udp_moves && parsed.transport.is_udp() {
        FlowIdentity::MOVES
    } else if choice.is_alone {
        FlowIdentity::ALONE
    } else {
        0
    }
}

#[inline(always)]
fn open<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    choice: &Choice<'_>,
    again: Again,
) -> Verdict {
    let now_ns = tables.exact_now_ns();
    let backend = choice.backend;
    // The agent keeps its word fresh; without an agent the program looks for itself whether the device is still there, and
    // leaves it to the stack to ask neighbours again.
    let is_fresh = now_ns < tables.fresh_until_ns();
    let is_beside = backend.bridge != 0 && backend.bridge == packet.ifindex();
    let is_reached = P::CAN_BYPASS && (backend.path == PATH_BYPASS || is_beside);
    let bypass = is_reached && (is_fresh || packet.fits(backend.ifindex));
    let path = if bypass {
        PATH_BYPASS
    } else if P::IS_DRIVER && backend.path == PATH_DRIVER && is_fresh && packet.sends_on() {
        PATH_DRIVER
    } else {
        PATH_STACK
    };
    let mut identity = identity(parsed, choice, path, parsed.key.source_port);
    match begin(packet, tables, parsed, &mut identity, backend.ifindex, again, now_ns) {
        Ok(()) => {}
        // Another CPU opened the flow at this moment. A second copy of a SYN may go; a second datagram may not.
        Err(Reason::DuplicateSyn) if parsed.transport.is_udp() => {
            return match flow::find(tables, &parsed.key) {
                Some(found) if !found.is_reply => {
                    let ifindex = found.record.backend.ifindex.load(Relaxed);
                    send_to_backend(
                        packet,
                        parsed,
                        &found.identity,
                        ifindex,
                        forward_reason::<P>(&found.identity),
                    )
                }
                _ => Verdict::drop(Reason::DuplicateSyn),
            };
        }
        Err(reason) => return Verdict::drop(reason),
    }
    let reason = if is_past_the_stack::<P>(&identity) {
        Reason::OpenedBypass
    } else {
        Reason::OpenedStack
    };
    send_to_backend(packet, parsed, &identity, backend.ifindex, reason)
}

/// Who will talk to whom in a new flow.
#[inline(always)]
pub(crate) fn identity(parsed: &Parsed, choice: &Choice<'_>, path: u8, source_port: u16) -> FlowIdentity {
    let (key, backend) = (&parsed.key, choice.backend);
    FlowIdentity {
        epoch: choice.epoch,
        client: key.source,
        listener: key.destination,
        backend: backend.address,
        client_port: key.source_port,
        listener_port: key.destination_port,
        backend_port: if backend.port == 0 {
            key.destination_port
        } else {
            backend.port
        },
        source_port,
        alias_id: choice.alias_id,
        set_id: choice.set_id,
        backend_id: backend.id,
        protocol: key.protocol as u8,
        path,
        flags: flags(parsed, choice),
        shield_seconds: choice.shield_seconds,
    }
}

/// Puts a new flow into the table, and counts it.
#[inline(always)]
pub(crate) fn begin<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    parsed: &Parsed,
    identity: &mut FlowIdentity,
    backend_ifindex: u32,
    again: Again,
    now_ns: u64,
) -> Result<(), Reason> {
    let opening = Opening {
        transport: &parsed.transport,
        ifindex: packet.ifindex(),
        backend_ifindex,
        now_ns,
        again,
        packets: parsed.packets,
        bytes: parsed.bytes,
    };
    flow::insert(tables, identity, &opening)?;
    if let Some(counters) = tables.counters(identity.set_id) {
        add(&counters.flows_opened, 1);
        counters.last_new_flow_ns.store(now_ns, Relaxed);
        add(&counters.packets_in, parsed.packets as u64);
        add(&counters.bytes_in, parsed.bytes as u64);
    }
    Ok(())
}

#[inline(always)]
fn forward<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed, found: &Found<'_>) -> Verdict {
    account_client(packet, tables, parsed, found);
    let identity = &found.identity;
    let ifindex = found.record.backend.ifindex.load(Relaxed);
    send_to_backend(packet, parsed, identity, ifindex, forward_reason::<P>(identity))
}

/// A client's packet of a flow: what it says of the connection, counted.
#[inline(always)]
pub(crate) fn account_client<P: Packet, T: Tables>(packet: &P, tables: &T, parsed: &Parsed, found: &Found<'_>) {
    let record = found.record;
    let now_ticks = ticks(tables.coarse_now_ns());
    // A SYN on an established flow proves no life: its client may have begun anew.
    if !parsed.transport.is_syn() || found.state() as u8 != State::Established as u8 {
        record.seen_ticks.store(now_ticks, Relaxed);
    }
    // Routes change: replies follow the client's latest packet.
    if record.client.ifindex.load(Relaxed) != packet.ifindex() {
        record.client.ifindex.store(packet.ifindex(), Relaxed);
    }
    let identity = &found.identity;
    if let Some(counters) = tables.counters(identity.set_id) {
        add(&counters.packets_in, parsed.packets as u64);
        add(&counters.bytes_in, parsed.bytes as u64);
    }
    if let Some(traffic) = tables.traffic(found.slot) {
        traffic.client.count(parsed.packets, parsed.bytes);
    }
    let clock = || micros(tables.exact_now_ns());
    let event = track::from_client(record, &parsed.transport, found.state(), clock);
    settle(tables, found, event, now_ticks);
}

/// True where this hook carries the flow past the stack; another one's way is closed to it.
#[inline(always)]
const fn is_past_the_stack<P: Packet>(identity: &FlowIdentity) -> bool {
    (P::CAN_BYPASS && identity.path == PATH_BYPASS) || (P::IS_DRIVER && identity.path == PATH_DRIVER)
}

#[inline(always)]
const fn forward_reason<P: Packet>(identity: &FlowIdentity) -> Reason {
    if is_past_the_stack::<P>(identity) {
        Reason::ForwardBypass
    } else {
        Reason::ForwardStack
    }
}

#[inline(always)]
fn send_to_backend<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    identity: &FlowIdentity,
    backend_ifindex: u32,
    reason: Reason,
) -> Verdict {
    // The host's TCP knows the connection by itself; only its beginning needs a hand.
    if !P::CAN_BYPASS && identity.path == PATH_SOCKET {
        return Verdict::pass(Reason::ForwardSocket);
    }
    if rewrite::to_backend(packet, parsed, identity).is_err() {
        return Verdict::drop(Reason::RewriteFailed);
    }
    if !is_past_the_stack::<P>(identity) {
        return Verdict::pass(reason);
    }
    // The hop is counted when the way is known: without one, the stack counts it.
    if P::IS_DRIVER {
        return Verdict {
            reason,
            action: Action::ToRoute {
                ifindex: backend_ifindex,
            },
        };
    }
    past_the_stack(
        packet,
        &parsed.layout,
        parsed.ttl,
        Verdict {
            reason,
            action: Action::ToPeer {
                ifindex: backend_ifindex,
            },
        },
    )
}

/// A reply on the bypass path. What the way past the stack cannot carry goes to the stack as the backend sent it: then
/// the stack's answer (fragmentation needed, time exceeded) finds the backend.
#[inline(always)]
fn reply<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed, found: &Found<'_>) -> Verdict {
    let ifindex = found.record.client.ifindex.load(Relaxed);
    if parsed.ttl <= 1 {
        return Verdict::pass(Reason::BypassTtl);
    }
    if !packet.fits(ifindex) {
        return Verdict::pass(Reason::BypassTooBig);
    }
    if account_reply(tables, parsed, found) == Seen::Hidden {
        return Verdict::drop(Reason::Shielded);
    }
    if rewrite::to_client(packet, parsed, &found.identity).is_err() {
        return Verdict::drop(Reason::RewriteFailed);
    }
    let verdict = Verdict {
        reason: Reason::ReplyBypass,
        action: Action::ToRoute { ifindex },
    };
    past_the_stack(packet, &parsed.layout, parsed.ttl, verdict)
}

/// Whether the client sees what the backend sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It does.
    Shown,
    /// It does not: a shield.
    Hidden,
}

/// A reply, seen and counted.
#[inline(always)]
pub(crate) fn account_reply<T: Tables>(tables: &T, parsed: &Parsed, found: &Found<'_>) -> Seen {
    let record = found.record;
    let now_ticks = ticks(tables.coarse_now_ns());
    record.seen_ticks.store(now_ticks, Relaxed);
    if let Some(counters) = tables.counters(found.identity.set_id) {
        add(&counters.packets_out, parsed.packets as u64);
        add(&counters.bytes_out, parsed.bytes as u64);
    }
    if let Some(traffic) = tables.traffic(found.slot) {
        traffic.backend.count(parsed.packets, parsed.bytes);
    }
    socket::from_process(found, &parsed.transport);
    let clock = || micros(tables.exact_now_ns());
    let event = track::from_backend(record, &parsed.transport, found.state(), clock);
    settle(tables, found, event, now_ticks);
    if !shield::hides_reset(found, &parsed.transport, event == Event::Refused, clock) {
        return Seen::Shown;
    }
    count_hidden(tables, found);
    Seen::Hidden
}

#[inline(always)]
fn count_hidden<T: Tables>(tables: &T, found: &Found<'_>) {
    if let Some(counters) = tables.counters(found.identity.set_id) {
        add(&counters.refusals_hidden, 1);
    }
}

/// What a packet did to its flow, counted.
#[inline(always)]
fn settle<T: Tables>(tables: &T, found: &Found<'_>, event: Event, now_ticks: u32) {
    let set_id = found.identity.set_id;
    match event {
        Event::Nothing => {}
        Event::Answered { after_us } => observe(tables, set_id, after_us, |latencies| &latencies.answer),
        Event::FirstReply { after_us } => observe(tables, set_id, after_us, |latencies| &latencies.first_reply),
        Event::Established { after_us } => flow::promote(tables, found, now_ticks, after_us),
        event => end(tables, found, event),
    }
}

/// A SYN again on a pending flow, whoever decides it: its client had no answer.
#[inline(always)]
pub(crate) fn count_syn_again<T: Tables>(tables: &T, parsed: &Parsed, found: &Found<'_>) {
    if found.word.is(State::Pending)
        && track::is_syn_again(found.record, &parsed.transport)
        && let Some(counters) = tables.counters(found.identity.set_id)
    {
        add(&counters.syns_retransmitted, 1);
    }
}

/// A packet that goes past the stack is counted a hop here, as the stack would. None left: the stack answers.
#[inline(always)]
fn past_the_stack<P: Packet>(packet: &mut P, layout: &Layout, ttl: u8, verdict: Verdict) -> Verdict {
    if ttl <= 1 {
        return Verdict::pass(Reason::BypassTtl);
    }
    match rewrite::count_hop(packet, layout, ttl) {
        Ok(()) => verdict,
        Err(_) => Verdict::drop(Reason::RewriteFailed),
    }
}

/// An ICMP error that comes in: about what the listener seemed to send, or, on the bypass path, about what a client sent.
/// It changes no flow: anybody can send one.
#[inline(always)]
fn icmp_ingress<P: Packet, T: Tables>(packet: &mut P, tables: &T, error: &IcmpError) -> Verdict {
    let Some(found) = flow::find(tables, &error.quoted.reversed()) else {
        return Verdict::pass(Reason::NoFlow);
    };
    // The host's own TCP is an end of it, with the very addresses that are quoted.
    if found.identity.path == PATH_SOCKET {
        return Verdict::pass(Reason::ForwardSocket);
    }
    let is_bypass = P::CAN_BYPASS && found.identity.path == PATH_BYPASS;
    if found.is_reply {
        if !is_bypass {
            return Verdict::pass(Reason::OtherHook);
        }
        if shield::hides_error(&found, || micros(tables.exact_now_ns())) {
            count_hidden(tables, &found);
            return Verdict::drop(Reason::Shielded);
        }
        if rewrite::error_to_client(packet, error, &found.identity).is_err() {
            return Verdict::drop(Reason::RewriteFailed);
        }
        let action = Action::ToRoute {
            ifindex: found.record.client.ifindex.load(Relaxed),
        };
        return past_the_stack(
            packet,
            &error.layout,
            error.ttl,
            Verdict {
                reason: Reason::IcmpError,
                action,
            },
        );
    }
    if rewrite::error_to_backend(packet, error, &found.identity).is_err() {
        return Verdict::drop(Reason::RewriteFailed);
    }
    if !is_bypass {
        return Verdict::pass(Reason::IcmpError);
    }
    let action = Action::ToPeer {
        ifindex: found.record.backend.ifindex.load(Relaxed),
    };
    past_the_stack(
        packet,
        &error.layout,
        error.ttl,
        Verdict {
            reason: Reason::IcmpError,
            action,
        },
    )
}

/// An ICMP error that leaves: about what a client sent, from the backend or from the host's own stack.
#[inline(always)]
fn icmp_egress<P: Packet, T: Tables>(packet: &mut P, tables: &T, error: &IcmpError) -> Verdict {
    match flow::find(tables, &error.quoted.reversed()) {
        Some(found) if found.identity.path == PATH_SOCKET => Verdict::pass(Reason::ReplySocket),
        Some(found) if found.is_reply && shield::hides_error(&found, || micros(tables.exact_now_ns())) => {
            count_hidden(tables, &found);
            Verdict::drop(Reason::Shielded)
        }
        Some(found) if found.is_reply => match rewrite::error_to_client(packet, error, &found.identity) {
            Ok(()) => Verdict::pass(Reason::IcmpError),
            Err(_) => Verdict::drop(Reason::RewriteFailed),
        },
        Some(_) => Verdict::pass(Reason::OtherHook),
        None => Verdict::pass(Reason::NoFlow),
    }
}

/// Ends a flow and counts how, once: only one packet's compare-and-swap succeeds.
#[inline(always)]
fn end<T: Tables>(tables: &T, found: &Found<'_>, event: Event) {
    if found.word.is(State::Closing) || !tables.swap_state(found.record, found.word, found.word.with(State::Closing)) {
        return;
    }
    let Some(counters) = tables.counters(found.identity.set_id) else {
        return;
    };
    let was_established = found.state() as u8 == State::Established as u8 || flow::is_unpinned(found.record);
    let flags = &found.record.backend.flags;
    let so_far = flags.load(Relaxed);
    // How it ended stays in the record, for those who ask what failed last.
    let (counter, how) = match event {
        Event::Refused if !was_established => (&counters.flows_refused, FlowSide::REFUSED),
        Event::ResetByClient if !was_established => (
            &counters.flows_reset_in_handshake,
            FlowSide::RESET_BY_CLIENT | FlowSide::IN_HANDSHAKE,
        ),
        _ if !was_established => (
            &counters.flows_reset_in_handshake,
            FlowSide::RESET_BY_BACKEND | FlowSide::IN_HANDSHAKE,
        ),
        Event::Finished => (&counters.flows_finished, 0),
        _ if so_far & FlowSide::CUT != 0 => (&counters.flows_reset_by_drain, 0),
        Event::ResetByClient => (&counters.flows_reset_by_client, FlowSide::RESET_BY_CLIENT),
        _ => (&counters.flows_reset_by_backend, FlowSide::RESET_BY_BACKEND),
    };
    flags.store(so_far | how, Relaxed);
    add(counter, 1);
}
