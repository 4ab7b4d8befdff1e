//! The shield of an alias: a backend's refusal is not shown to the client. The client sends its SYN again after a second, and
//! that one goes to another backend of the set, or to the same where there is no other.
//!
//! Invariant I4: nobody has to lift it. From the client's first SYN on it lasts as long as the image said, then the client
//! sees what the backends answer.

use core::sync::atomic::Ordering::Relaxed;

use crate::abi::{FlowIdentity, FlowSide, State};
use crate::choose::Again;
use crate::flow::Found;
use crate::parse::{PROTOCOL_TCP, Parsed, Transport};
use crate::track;

const SECOND_US: u32 = 1_000_000;

/// True when the client is not to see a refusal of this flow now.
#[inline(always)]
#[must_use]
pub fn is_up(found: &Found<'_>, now_us: u32) -> bool {
    let waited_us = now_us.wrapping_sub(found.record.since_us.load(Relaxed));
    waited_us < found.identity.shield_seconds as u32 * SECOND_US
}

#[inline(always)]
fn was_refused(found: &Found<'_>) -> bool {
    found.word.is(State::Closing) && found.record.backend.flags.load(Relaxed) & FlowSide::REFUSED != 0
}

#[inline(always)]
fn is_unanswered(found: &Found<'_>) -> bool {
    found.word.is(State::Pending) && found.record.backend.flags.load(Relaxed) & FlowSide::SYN == 0
}

/// True for a RST that is to be kept from the client. `refuses`: it has just refused the flow.
#[inline(always)]
pub fn hides_reset(found: &Found<'_>, transport: &Transport, refuses: bool, clock: impl Fn() -> u32) -> bool {
    if found.identity.shield_seconds == 0 {
        return false;
    }
    let is_reset = matches!(transport, Transport::Tcp(tcp) if tcp.is_reset());
    is_reset && (refuses || was_refused(found)) && is_up(found, clock())
}

/// True for an ICMP error about a SYN that nobody has answered. It changes nothing of the flow: anybody can send one.
#[inline(always)]
pub fn hides_error(found: &Found<'_>, clock: impl Fn() -> u32) -> bool {
    found.identity.shield_seconds != 0
        && found.identity.protocol == PROTOCOL_TCP
        && (is_unanswered(found) || was_refused(found))
        && is_up(found, clock())
}

/// The SYN of a shielded flow again, which the backend refused, or did not answer though there are others.
#[inline(always)]
pub fn again(found: &Found<'_>, parsed: &Parsed) -> Again {
    let has_others = found.identity.flags & FlowIdentity::ALONE == 0;
    let tries_again = found.identity.shield_seconds != 0
        && (was_refused(found) || has_others && is_unanswered(found))
        && track::is_syn_again(found.record, &parsed.transport);
    if tries_again {
        Again::new(found.identity.backend_id, found.record.since_us.load(Relaxed))
    } else {
        Again::NO
    }
}
