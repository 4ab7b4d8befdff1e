//! From where a rollout is, and what is seen, to where it goes and what it asks for.
//!
//! A flip to the next step is asked for in one place, behind the judgement of the step before; a flip back in one other.

use super::{Action, Check, End, Health, Order, Snapshot, State};

/// A flip back that failed is tried again at these intervals, for as long as it takes: a split between two versions is not
/// what anybody asked for. Whoever waits for the command is told at its time.
const FLIP_BACK_AGAIN_MS: u64 = 1_000;
/// Flows are reset at this rate at most: their clients come back at once, all to the new set.
pub const RESETS_PER_SECOND: u64 = 1_000;
/// Handshakes are not reset. They complete and then are, are decided again, or run out in so long.
const RESET_TIME_MS: u64 = 12_000;

/// Goes on. At most one action is asked for, and none while an answer to the last is missing.
#[must_use]
pub fn advance(order: &Order, state: State, seen: &Snapshot, now_ms: u64) -> (State, Option<Action>) {
    match state {
        State::CheckingHealth => checking(order, seen, now_ms),
        State::Flipping { step } => flipping(step, seen, now_ms),
        State::Observing { step, since_ms } => observing(order, step, since_ms, seen, now_ms),
        State::Draining { since_ms } => draining(order, since_ms, seen, now_ms),
        State::Resetting { since_ms, time_ms } => resetting(order, since_ms, time_ms, seen, now_ms),
        State::RollingBack {
            why,
            failed,
            again_ms,
            asked,
        } => rolling_back(why, failed, again_ms, asked, seen, now_ms),
        State::Done(end) => (State::Done(end), None),
    }
}

fn checking(order: &Order, seen: &Snapshot, now_ms: u64) -> (State, Option<Action>) {
    if let Some(who) = &seen.recalled {
        return (refused(who.clone(), false), None);
    }
    match &seen.health {
        Health::Failing(why) => (refused(why.clone(), false), None),
        Health::Waiting(why) if now_ms >= order.deadline_ms => (refused(why.clone(), true), None),
        _ if now_ms >= order.deadline_ms => (refused("the time was up".to_owned(), true), None),
        Health::Waiting(_) => (State::CheckingHealth, None),
        Health::Unchecked | Health::Proven => flip(0),
    }
}

const fn refused(why: String, timed_out: bool) -> State {
    State::Done(End::Refused { why, timed_out })
}

const fn flip(step: usize) -> (State, Option<Action>) {
    (State::Flipping { step }, Some(Action::Flip { step }))
}

fn flipping(step: usize, seen: &Snapshot, now_ms: u64) -> (State, Option<Action>) {
    match &seen.flip {
        None => (State::Flipping { step }, None),
        Some(Ok(())) => (State::Observing { step, since_ms: now_ms }, None),
        Some(Err(why)) if step == 0 => (refused(why.clone(), false), None),
        Some(Err(why)) => roll_back(format!("step {} could not be made: {why}", step + 1), now_ms),
    }
}

fn observing(order: &Order, step: usize, since_ms: u64, seen: &Snapshot, now_ms: u64) -> (State, Option<Action>) {
    if let Some(why) = breach(seen) {
        return roll_back(why, now_ms);
    }
    if now_ms >= order.deadline_ms {
        return roll_back(format!("the time was up in step {}", step + 1), now_ms);
    }
    let observed = now_ms.saturating_sub(since_ms) >= order.interval_ms;
    let checked = !order.checked || seen.check == Check::Passed;
    let proven = !matches!(seen.health, Health::Waiting(_));
    if !observed || !checked || !proven || seen.new_flows < order.min_flows {
        return (State::Observing { step, since_ms }, None);
    }
    if let Some(why) = &seen.breach_at_end {
        return roll_back(why.clone(), now_ms);
    }
    if step + 1 < order.steps() {
        flip(step + 1)
    } else {
        (State::Draining { since_ms: now_ms }, None)
    }
}

/// What stops a rollout at any moment.
fn breach(seen: &Snapshot) -> Option<String> {
    if let Some(who) = &seen.recalled {
        return Some(who.clone());
    }
    if let Health::Failing(why) = &seen.health {
        return Some(why.clone());
    }
    if let Check::Failed(why) = &seen.check {
        return Some(why.clone());
    }
    if let Some(why) = &seen.unreadable {
        return Some(format!("the figures could not be read: {why}"));
    }
    seen.breach.clone()
}

fn draining(order: &Order, since_ms: u64, seen: &Snapshot, now_ms: u64) -> (State, Option<Action>) {
    if let Some(why) = &seen.unreadable {
        let why = format!("the old flows could not be counted: {why}");
        return (State::Done(End::Unknown { why }), None);
    }
    if let (Some(why), false) = (breach(seen), order.only_drains) {
        return roll_back(why, now_ms);
    }
    match seen.left {
        Some(0) => (State::Done(End::Drained), None),
        Some(left) if now_ms.saturating_sub(since_ms) >= order.drain_timeout_ms => (drained(order, left, now_ms), None),
        Some(_) if now_ms >= order.deadline_ms && order.only_drains => (State::Done(End::FlowsLeft), None),
        left if now_ms >= order.deadline_ms && !order.only_drains => {
            let left = left.map_or_else(|| "uncounted".to_owned(), |left| left.to_string());
            roll_back(
                format!("the time was up with {left} flow(s) left at the old set"),
                now_ms,
            )
        }
        _ => (State::Draining { since_ms }, None),
    }
}

/// The drain's time is up.
const fn drained(order: &Order, left: u64, now_ms: u64) -> State {
    if !order.resets {
        return State::Done(End::FlowsLeft);
    }
    State::Resetting {
        since_ms: now_ms,
        time_ms: RESET_TIME_MS + left * 1_000 / RESETS_PER_SECOND,
    }
}

/// Whoever was reset is at the new set by now: only the new set's own failure leads back from here, and no clock.
fn resetting(order: &Order, since_ms: u64, time_ms: u64, seen: &Snapshot, now_ms: u64) -> (State, Option<Action>) {
    if let Some(why) = &seen.unreadable {
        let why = format!("flows could not be reset, or not be counted: {why}");
        return (State::Done(End::Unknown { why }), None);
    }
    if let (Some(why), false) = (breach(seen), order.only_drains) {
        return roll_back(why, now_ms);
    }
    let is_over = now_ms.saturating_sub(since_ms) >= time_ms;
    match seen.left {
        Some(0) if seen.resetting == 0 && seen.reset_failed == 0 => (State::Done(End::Drained), None),
        Some(0) if seen.resetting == 0 => (State::Done(End::FlowsLeft), None),
        _ if is_over => (State::Done(End::FlowsLeft), None),
        _ => (State::Resetting { since_ms, time_ms }, None),
    }
}

fn roll_back(why: String, now_ms: u64) -> (State, Option<Action>) {
    let state = State::RollingBack {
        why,
        failed: 0,
        again_ms: now_ms,
        asked: true,
    };
    (state, Some(Action::FlipBack))
}

fn rolling_back(
    why: String,
    failed: u32,
    again_ms: u64,
    asked: bool,
    seen: &Snapshot,
    now_ms: u64,
) -> (State, Option<Action>) {
    let back = |why, failed, again_ms, asked| State::RollingBack {
        why,
        failed,
        again_ms,
        asked,
    };
    match (&seen.flip, asked) {
        (Some(Ok(())), true) => (State::Done(End::RolledBack { why }), None),
        (Some(Err(_)), true) => (
            back(why, failed.saturating_add(1), now_ms + FLIP_BACK_AGAIN_MS, false),
            None,
        ),
        (None, true) => (back(why, failed, again_ms, true), None),
        (_, false) if now_ms >= again_ms => (back(why, failed, again_ms, true), Some(Action::FlipBack)),
        (_, false) => (back(why, failed, again_ms, false), None),
    }
}
