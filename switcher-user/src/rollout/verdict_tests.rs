//! What is found, with how many flows, and that equal versions are left alone: deterministic simulations, by seeds.

use super::*;
use crate::rollout::dice::Dice;

/// How one version behaves.
#[derive(Clone, Copy)]
struct Version {
    refuses: f64,
    resets: f64,
    silent: f64,
    slow_us: u64,
}

const GOOD: Version = Version {
    refuses: 0.0,
    resets: 0.0,
    silent: 0.0,
    slow_us: 0,
};

fn flow(dice: &mut Dice, version: Version, figures: &mut SetFigures) {
    figures.flows_opened += 1;
    if dice.chance(version.refuses) {
        figures.flows_refused += 1;
        return;
    }
    figures.flows_established += 1;
    if dice.chance(version.silent) {
        return;
    }
    if dice.chance(version.resets) {
        figures.flows_reset_by_backend += 1;
        return;
    }
    // A tail as real servers have it: each octave half as likely.
    let mut us = 200 + dice.next() % 200 + version.slow_us;
    while dice.chance(0.3) {
        us *= 2;
    }
    let bucket = (0..32).find(|b| Histogram::bounds_us(*b).1.is_none_or(|end| us < end));
    figures.latency.first_reply.buckets[bucket.unwrap_or(31)] += 1;
}

/// Flows of the new version until it is found, in a step of 5 % at 2,000 flows a second, looked at ten times a second.
fn found_after(seed: u64, old: Version, new: Version, seconds: u64) -> Option<(u64, String)> {
    let mut dice = Dice::new(seed);
    let mut window = Window::default();
    for _ in 0..5_000 {
        flow(&mut dice, old, &mut window.past);
    }
    let mut waited = std::collections::VecDeque::new();
    for _ in 0..seconds * 10 {
        for _ in 0..200 {
            if dice.chance(0.05) {
                flow(&mut dice, new, &mut window.new);
            } else {
                flow(&mut dice, old, &mut window.old);
            }
        }
        waited.push_back((window.new.flows_established, window.old.flows_established));
        if waited.len() > 20 {
            (window.new_waited, window.old_waited) = waited.pop_front().unwrap();
        }
        if let Some(why) = judge(&window, &[]).now {
            return Some((window.new.flows_opened, why));
        }
    }
    None
}

#[test]
fn equal_versions_are_left_alone() {
    let flaky = Version {
        refuses: 0.03,
        resets: 0.05,
        silent: 0.02,
        ..GOOD
    };
    for seed in 0..1_000 {
        let version = if seed % 2 == 0 { GOOD } else { flaky };
        assert_eq!(found_after(seed, version, version, 10), None, "seed {seed}");
    }
}

#[test]
fn bad_versions_are_found() {
    let kinds: [(&str, Version, u64, u64); 5] = [
        ("refuses", Version { refuses: 1.0, ..GOOD }, 20, 20),
        ("resets", Version { resets: 1.0, ..GOOD }, 20, 20),
        ("silent", Version { silent: 1.0, ..GOOD }, 20, 300),
        ("fails 2 %", Version { refuses: 0.02, ..GOOD }, 19, 1_000),
        (
            "20 ms slow",
            Version {
                slow_us: 20_000,
                ..GOOD
            },
            19,
            100,
        ),
    ];
    for (name, version, at_least, flows_max) in kinds {
        let found: Vec<_> = (0..20)
            .filter_map(|seed| found_after(seed, GOOD, version, 10))
            .collect();
        let in_time = found.iter().filter(|(flows, _)| *flows <= flows_max).count();
        assert!(in_time as u64 >= at_least, "{name}: {found:?}");
    }
}

fn figures(established: u64, refused: u64) -> SetFigures {
    SetFigures {
        flows_opened: established + refused,
        flows_established: established,
        flows_refused: refused,
        ..SetFigures::default()
    }
}

/// All flows go to the new version: its only measure is the past of the old one.
#[test]
fn without_an_old_set_the_past_is_the_measure() {
    let alone = |new, past| {
        let window = Window {
            new,
            past,
            ..Window::default()
        };
        judge(&window, &[]).now
    };
    let good = figures(10_000, 0);
    assert!(alone(figures(40, 8), good).is_some());
    assert!(alone(figures(10_000, 20), good).is_none());
    let bad_before = figures(8_000, 2_000);
    assert!(alone(figures(80, 20), bad_before).is_none(), "it was never better");
    assert!(
        alone(figures(0, 30), SetFigures::default()).is_some(),
        "all of it fails"
    );
}

#[test]
fn a_limit_takes_the_place_of_the_rule_and_counts_at_the_end() {
    let window = Window {
        new: figures(95, 5),
        old: figures(1_900, 0),
        ..Window::default()
    };
    let with = |text: &str| judge(&window, &[text.parse().unwrap()]);
    assert!(judge(&window, &[]).now.is_some());
    let lax = with("failed>50%");
    assert_eq!((lax.now, lax.at_end), (None, None));
    let strict = with("failed>4%");
    assert_eq!(strict.now, None, "5 of 100 may be 4 % and chance");
    assert!(
        strict.at_end.unwrap().contains("5 of 100"),
        "but the limit is the limit"
    );
    assert!(with("failed>4").now.is_some(), "a count is a count");
    assert!(with("failed>5").now.is_none());
    assert!(with("failed>1x").at_end.is_some());
}

#[test]
fn limits_of_times_are_compared_in_ms_and_with_the_old_set() {
    let mut window = Window::default();
    window.new.latency.first_reply.buckets[15] = 100;
    window.old.latency.first_reply.buckets[10] = 1_000;
    let over = |text: &str| judge(&window, &[text.parse().unwrap()]);
    assert!(over("first_reply_p50>10ms").now.is_some());
    assert!(
        over("first_reply_p50>10ms")
            .at_end
            .unwrap()
            .contains("ms at the new set")
    );
    assert_eq!(over("first_reply_p99>40ms"), Verdict::default());
    assert!(over("first_reply_p99>2x").at_end.is_some());
    assert_eq!(over("first_reply_p99>100x"), Verdict::default());
}
