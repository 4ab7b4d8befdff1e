//! An hour's rollout in a millisecond, and what holds for every sequence of events.

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

fn order() -> Order {
    Order {
        steps: vec![5, 25, 50, 100],
        interval_ms: 15 * MINUTE,
        min_flows: 0,
        checked: false,
        drain_timeout_ms: 30 * SECOND,
        resets: false,
        deadline_ms: 120 * MINUTE,
        only_drains: false,
    }
}

/// Runs a machine whose flips succeed, looking each second. Returns the flips with their times, and the end.
fn run(order: &Order, mut see: impl FnMut(&State, u64) -> Snapshot) -> (Vec<(u64, Action)>, End, u64) {
    let mut state = State::CheckingHealth;
    let (mut actions, mut flip) = (Vec::new(), None);
    for now in (0..).step_by(1_000) {
        let seen = Snapshot {
            flip: flip.take(),
            ..see(&state, now)
        };
        let (next, action) = advance(order, state, &seen, now);
        if let Some(action) = action {
            actions.push((now, action));
            flip = Some(Ok(()));
        }
        if let State::Done(end) = next {
            return (actions, end, now);
        }
        state = next;
    }
    unreachable!()
}

fn empty(_: &State, _: u64) -> Snapshot {
    Snapshot {
        left: Some(0),
        ..Snapshot::default()
    }
}

#[test]
fn an_hour_goes_by_step_by_step() {
    let (actions, end, took) = run(&order(), empty);
    let steps: Vec<_> = actions.iter().map(|(_, action)| action.clone()).collect();
    assert_eq!(steps, (0..4).map(|step| Action::Flip { step }).collect::<Vec<_>>());
    for pair in actions.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= 15 * MINUTE, "{pair:?}");
    }
    assert_eq!(end, End::Drained);
    assert!((60 * MINUTE..61 * MINUTE).contains(&took), "{took}");
}

#[test]
fn a_set_that_fails_its_check_is_refused_before_the_first_flip() {
    let (actions, end, _) = run(&order(), |_, now| Snapshot {
        health: if now < 5 * SECOND {
            Health::Waiting("unproven".to_owned())
        } else {
            Health::Failing("answers 500".to_owned())
        },
        ..Snapshot::default()
    });
    assert_eq!(actions, []);
    assert_eq!(
        end,
        End::Refused {
            why: "answers 500".to_owned(),
            timed_out: false
        }
    );
}

#[test]
fn each_kind_of_breach_goes_back_at_the_look_that_shows_it() {
    let breaches: [fn() -> Snapshot; 5] = [
        || Snapshot {
            recalled: Some("x".to_owned()),
            ..Snapshot::default()
        },
        || Snapshot {
            breach: Some("x".to_owned()),
            ..Snapshot::default()
        },
        || Snapshot {
            health: Health::Failing("x".to_owned()),
            ..Snapshot::default()
        },
        || Snapshot {
            check: Check::Failed("x".to_owned()),
            ..Snapshot::default()
        },
        || Snapshot {
            unreadable: Some("x".to_owned()),
            ..Snapshot::default()
        },
    ];
    let at = 20 * MINUTE;
    for breach in breaches {
        let (actions, end, took) = run(
            &order(),
            |_, now| if now >= at { breach() } else { Snapshot::default() },
        );
        assert_eq!(actions.last(), Some(&(at, Action::FlipBack)));
        assert!(matches!(end, End::RolledBack { .. }), "{end:?}");
        assert!(took <= at + SECOND);
    }
}

#[test]
fn a_breach_that_only_the_whole_step_shows_waits_for_its_end() {
    let (actions, end, _) = run(&order(), |_, _| Snapshot {
        breach_at_end: Some("p99".to_owned()),
        ..Snapshot::default()
    });
    let (at, action) = actions.last().unwrap();
    assert_eq!(*action, Action::FlipBack);
    assert!((15 * MINUTE..16 * MINUTE).contains(at), "{at}");
    assert_eq!(end, End::RolledBack { why: "p99".to_owned() });
}

#[test]
fn a_step_without_enough_flows_is_not_judged_and_ends_with_the_time() {
    let order = Order {
        min_flows: 100,
        ..order()
    };
    let (actions, end, took) = run(&order, |_, _| Snapshot {
        new_flows: 99,
        ..Snapshot::default()
    });
    assert_eq!(actions.len(), 2, "the first flip, and back: {actions:?}");
    assert!(matches!(end, End::RolledBack { .. }));
    assert!((120 * MINUTE..121 * MINUTE).contains(&took));
}

#[test]
fn a_step_waits_for_a_check_that_passed_in_it() {
    let order = Order {
        checked: true,
        ..order()
    };
    let (actions, ..) = run(&order, |_, now| Snapshot {
        check: if now > 40 * MINUTE {
            Check::Passed
        } else {
            Check::Waiting
        },
        left: Some(0),
        ..Snapshot::default()
    });
    assert!(actions[1].0 > 40 * MINUTE, "{actions:?}");
}

#[test]
fn a_drain_ends_with_its_own_time_or_the_commands() {
    let flows = |_: &State, _: u64| Snapshot {
        left: Some(3),
        ..Snapshot::default()
    };
    assert_eq!(run(&order(), flows).1, End::FlowsLeft);
    let short = Order {
        deadline_ms: 60 * MINUTE + 5 * SECOND,
        ..order()
    };
    let (actions, end, _) = run(&short, flows);
    assert_eq!(actions.last().unwrap().1, Action::FlipBack);
    assert!(matches!(end, End::RolledBack { .. }), "{end:?}");
}

#[test]
fn a_flip_back_that_fails_is_tried_again_for_as_long_as_it_takes() {
    for fails in [3, 100] {
        let mut state = State::Observing { step: 0, since_ms: 0 };
        let (mut tries, mut flip) = (0, None);
        for now in (0..).step_by(100) {
            let seen = Snapshot {
                breach: Some("bad".to_owned()),
                flip: flip.take(),
                ..Snapshot::default()
            };
            let (next, action) = advance(&order(), state, &seen, now);
            if action == Some(Action::FlipBack) {
                tries += 1;
                flip = Some(if tries > fails { Ok(()) } else { Err("no".to_owned()) });
            }
            state = next;
            if let State::Done(end) = &state {
                assert!(matches!(end, End::RolledBack { .. }), "{end:?}");
                break;
            }
        }
        assert_eq!(tries, fails + 1);
    }
}

#[test]
fn what_is_left_at_the_deadline_is_reset_and_waited_for() {
    let order = Order {
        steps: vec![100],
        interval_ms: 0,
        resets: true,
        ..order()
    };
    let flows = |left, resetting, reset_failed| Snapshot {
        left: Some(left),
        resetting,
        reset_failed,
        ..Snapshot::default()
    };
    let reset = |after: Snapshot| {
        run(&order, move |state, _| match state {
            State::Resetting { .. } => after.clone(),
            _ => flows(3, 0, 0),
        })
    };
    let (actions, end, took) = reset(flows(0, 0, 0));
    assert_eq!((actions.len(), end), (1, End::Drained));
    assert!((30 * SECOND..35 * SECOND).contains(&took), "{took}");
    let (_, end, took) = reset(flows(0, 1, 0));
    assert_eq!(end, End::FlowsLeft, "it never got to its end");
    assert!((40 * SECOND..50 * SECOND).contains(&took), "{took}");
    let (_, end, _) = reset(flows(0, 0, 1));
    assert_eq!(end, End::FlowsLeft, "one may live");
    let (_, end, _) = reset(flows(1, 0, 0));
    assert_eq!(end, End::FlowsLeft, "a conversation of UDP");
    let breach = Snapshot {
        breach: Some("it fails".to_owned()),
        ..flows(1, 0, 0)
    };
    let (_, end, _) = reset(breach);
    assert!(matches!(end, End::RolledBack { .. }), "{end:?}");
}

fn any_snapshot() -> impl Strategy<Value = (Snapshot, bool, u64)> {
    let word = || Just("why".to_owned());
    let health = prop_oneof![
        4 => Just(Health::Unchecked),
        4 => Just(Health::Proven),
        2 => word().prop_map(Health::Waiting),
        1 => word().prop_map(Health::Failing),
    ];
    let check = prop_oneof![
        4 => Just(Check::Passed),
        3 => Just(Check::Waiting),
        1 => word().prop_map(Check::Failed),
    ];
    let rarely = |one_in: u32| prop::option::weighted(1.0 / f64::from(one_in), word());
    let facts = (health, check, 0..200_u64, rarely(12), rarely(8), rarely(20), rarely(25));
    let left = (prop::option::of(0..3_u64), 0..2_u64, 0..2_u64);
    (facts, left, prop::bool::weighted(0.85), 0..20_000_u64).prop_map(|(facts, flows, flip_works, later)| {
        let (left, resetting, reset_failed) = flows;
        let (health, check, new_flows, breach, breach_at_end, unreadable, recalled) = facts;
        let seen = Snapshot {
            health,
            check,
            flip: None,
            new_flows,
            breach,
            breach_at_end,
            left,
            resetting,
            reset_failed,
            unreadable,
            recalled,
        };
        (seen, flip_works, later)
    })
}

fn any_order() -> impl Strategy<Value = Order> {
    let steps = prop::collection::btree_set(1..100_u32, 0..5);
    (
        steps,
        0..30_000_u64,
        0..150_u64,
        any::<bool>(),
        0..60_000_u64,
        any::<bool>(),
        0..300_000_u64,
    )
        .prop_map(
            |(steps, interval_ms, min_flows, checked, drain_timeout_ms, resets, deadline_ms)| Order {
                steps: steps.into_iter().chain([100]).collect(),
                interval_ms,
                min_flows,
                checked,
                drain_timeout_ms,
                resets,
                deadline_ms,
                only_drains: false,
            },
        )
}

/// What must hold between a look and what is asked for because of it.
fn holds(order: &Order, state: &State, seen: &Snapshot, now: u64, action: Option<&Action>) {
    let Some(Action::Flip { step }) = action else { return };
    assert!(
        !matches!(seen.health, Health::Failing(_) | Health::Waiting(_)),
        "a split with no healthy set: {seen:?}"
    );
    assert!(seen.recalled.is_none(), "it goes on although somebody called it back");
    match state {
        State::CheckingHealth => assert_eq!(*step, 0),
        State::Observing { step: before, since_ms } => {
            assert_eq!(*step, before + 1, "one step at a time");
            assert!(now - since_ms >= order.interval_ms, "the step was not observed");
            assert!(seen.new_flows >= order.min_flows);
            assert!(
                seen.breach.is_none() && seen.breach_at_end.is_none(),
                "a breach was passed over"
            );
            assert!(!order.checked || seen.check == Check::Passed);
        }
        other => panic!("a flip forward out of {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Never a split with no healthy set, never two flips without a judgement between, and an end once flips work again.
    #[test]
    fn any_sequence_of_events_is_safe_and_ends(order in any_order(), looks in prop::collection::vec(any_snapshot(), 1..60)) {
        let mut state = State::CheckingHealth;
        let (mut now, mut flip, mut shifted) = (0, None, false);
        // After the given looks, quiet ones: it must come to an end by itself.
        let quiet = (Snapshot { health: Health::Waiting("still".to_owned()), ..Snapshot::default() }, true, 10_000);
        for (seen, works, later) in looks.into_iter().chain(std::iter::repeat_n(quiet, 100)) {
            now += later;
            let seen = Snapshot { flip: flip.take(), ..seen };
            let was = state.clone();
            let (next, action) = advance(&order, state, &seen, now);
            holds(&order, &was, &seen, now, action.as_ref());
            let asked = matches!(was, State::Flipping { .. } | State::RollingBack { asked: true, .. });
            prop_assert!(action.is_none() || !asked || seen.flip.is_some(), "two flips, no answer between");
            if let Some(action) = &action {
                shifted = match (action, works) {
                    (Action::Flip { .. }, true) => true,
                    (Action::FlipBack, true) => false,
                    _ => shifted,
                };
                flip = Some(if works { Ok(()) } else { Err("refused".to_owned()) });
            }
            state = next;
            if let State::Done(end) = &state {
                match end {
                    End::Refused { .. } | End::RolledBack { .. } => prop_assert!(!shifted, "{:?} with a split nobody asked for", end),
                    End::Drained | End::FlowsLeft => prop_assert!(shifted),
                    End::Unknown { .. } => {}
                }
                return Ok(());
            }
        }
        prop_assert!(false, "no end: {:?} at {} of {:?}", state, now, order);
    }
}
