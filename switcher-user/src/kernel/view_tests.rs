use switcher_ebpf::abi::{CLOSING_TIMEOUT_TICKS, IDLE_TIMEOUT_TICKS, PENDING_TIMEOUT_TICKS};

use super::*;

fn seen_at_1000(state: State) -> FlowRecord {
    let record = FlowRecord::default();
    record.word.store(StateWord::new(1, state).0, Relaxed);
    record.seen_ticks.store(1_000, Relaxed);
    record
}

#[test]
fn a_record_past_its_time_out_is_seen_as_expired() {
    for (state, timeout) in [
        (State::Pending, PENDING_TIMEOUT_TICKS),
        (State::Established, IDLE_TIMEOUT_TICKS),
        (State::Closing, CLOSING_TIMEOUT_TICKS),
    ] {
        let record = seen_at_1000(state);
        let expired = |now| {
            view(0, &record, &FlowTraffic::default(), u64::from(now) << 20)
                .expect("its numbers still count")
                .expired
        };
        assert!(!expired(1_000 + timeout), "{timeout}");
        assert!(expired(1_001 + timeout), "{timeout}");
        assert!(!expired(999), "another CPU's tick may lie ahead");
    }
}

#[test]
fn a_slot_without_a_flow_is_none() {
    for state in [State::Free, State::Claimed] {
        assert_eq!(
            view(0, &seen_at_1000(state), &FlowTraffic::default(), 1_000 << 20),
            None
        );
    }
}

#[test]
fn a_handshake_past_its_time_has_failed_and_an_ended_flow_says_how() {
    let how = |record: &FlowRecord, now: u32| {
        view(0, record, &FlowTraffic::default(), u64::from(now) << 20)
            .unwrap()
            .failure
    };
    let pending = seen_at_1000(State::Pending);
    assert_eq!(how(&pending, 1_000), None);
    assert_eq!(how(&pending, 1_001 + PENDING_TIMEOUT_TICKS), Some(Failure::TimedOut));
    let ended = seen_at_1000(State::Closing);
    assert_eq!(how(&ended, 1_000), None, "finished by both");
    ended.backend.flags.store(FlowSide::SYN | FlowSide::REFUSED, Relaxed);
    assert_eq!(how(&ended, 1_000), Some(Failure::Refused));
    // The flag means nothing while the flow lives.
    let open = seen_at_1000(State::Established);
    open.backend.flags.store(FlowSide::RESET_BY_CLIENT, Relaxed);
    assert_eq!(how(&open, 1_001 + IDLE_TIMEOUT_TICKS), None);
}

/// Packets are timed by a clock that stands still for milliseconds.
#[test]
fn no_flow_is_idle_for_longer_than_it_is_old() {
    let record = seen_at_1000(State::Established);
    let traffic = FlowTraffic::default();
    for (opened_ticks, age_ticks) in [(1_003, 2_000), (900, 2_103)] {
        traffic.opened_ns.store(opened_ticks << 20, Relaxed);
        let seen = view(0, &record, &traffic, 3_003 << 20).unwrap();
        assert_eq!(seen.age, Duration::from_nanos(age_ticks << 20));
        assert_eq!(seen.idle, Duration::from_nanos(age_ticks.min(2_003) << 20));
    }
}
