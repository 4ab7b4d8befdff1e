//! Late versions are found on a noisy machine, and equal ones left alone: deterministic simulations, by seeds.

use proptest::prelude::*;

use super::*;
use crate::model::HISTOGRAM_BUCKETS;
use crate::rollout::dice::Dice;

/// What the machine does to both versions alike.
#[derive(Clone, Copy, Debug)]
struct Noise {
    /// The chance that a reply takes twice as long, and again: 0.3 a light tail, 0.7 one whose mean barely exists.
    tail: f64,
    /// In a phase of load everything waits up to so long, in microseconds.
    load_us: u64,
    /// A phase of load begins in a tenth of a second with this chance, and ends with this.
    phases: (f64, f64),
    /// A client's requests come in bunches of up to so many, and meet the same wait.
    bunch: u64,
    /// Every so manieth client asks for what takes so long, in microseconds; the split is by clients.
    heavy: (u64, u64),
}

const QUIET: Noise = Noise {
    tail: 0.3,
    load_us: 0,
    phases: (0.0, 1.0),
    bunch: 1,
    heavy: (u64::MAX, 0),
};
const NOISES: [(&str, Noise); 6] = [
    ("quiet", QUIET),
    ("heavy tail", Noise { tail: 0.7, ..QUIET }),
    (
        "load in phases",
        Noise {
            load_us: 30_000,
            phases: (0.1, 0.2),
            ..QUIET
        },
    ),
    (
        "load all the time",
        Noise {
            load_us: 25_000,
            phases: (1.0, 0.0),
            tail: 0.5,
            ..QUIET
        },
    ),
    (
        "bunches that stall",
        Noise {
            load_us: 60_000,
            phases: (0.05, 0.7),
            bunch: 20,
            tail: 0.5,
            ..QUIET
        },
    ),
    (
        "clients of unlike requests",
        Noise {
            heavy: (7, 40_000),
            bunch: 5,
            ..QUIET
        },
    ),
];

/// Clients, the first asking most: one of them is a tenth of all traffic.
const CLIENTS: u64 = 400;

fn client(dice: &mut Dice) -> u64 {
    // The smaller of two, squared: the first fifth asks for more than half.
    let one = dice.next() % CLIENTS;
    let other = dice.next() % CLIENTS;
    one.min(other)
}

fn add(histogram: &mut Histogram, us: u64) {
    let bucket = (0..HISTOGRAM_BUCKETS).find(|bucket| Histogram::bounds_us(*bucket).1.is_none_or(|end| us < end));
    histogram.buckets[bucket.unwrap()] += 1;
}

/// New flows until the new version, late by `late_us`, is found in ten seconds of a step of `percent`, at 2,000 flows a
/// second, looked at ten times a second.
fn found_after(seed: u64, noise: Noise, late_us: u64, percent: u64) -> Option<u64> {
    let mut dice = Dice::new(seed);
    let (mut new, mut old) = (Histogram::default(), Histogram::default());
    let mut loaded = false;
    for _ in 0..100 {
        loaded = dice.chance(if loaded { 1.0 - noise.phases.1 } else { noise.phases.0 });
        let mut flows = 0;
        while flows < 200 {
            let client = client(&mut dice);
            let stall_us = if loaded { dice.next() % (noise.load_us + 1) } else { 0 };
            let is_new = client
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(seed << 32)
                .rotate_left(29)
                % 100
                < percent;
            let heavy_us = if client.is_multiple_of(noise.heavy.0) {
                noise.heavy.1
            } else {
                0
            };
            for _ in 0..=dice.next() % noise.bunch {
                let mut us = 200 + dice.next() % 200;
                while us < 2_000_000 && dice.chance(noise.tail) {
                    us *= 2;
                }
                us += stall_us + heavy_us;
                if is_new {
                    add(&mut new, us + late_us);
                } else {
                    add(&mut old, us);
                }
                flows += 1;
            }
        }
        if later(&new, &old).is_some() {
            return Some(new.count());
        }
    }
    None
}

#[test]
fn equal_versions_are_left_alone_on_a_noisy_machine() {
    for (name, noise) in NOISES {
        for seed in 0..100 {
            for percent in [5, 50] {
                let found = found_after(seed, noise, 0, percent);
                assert_eq!(found, None, "{name}, seed {seed}, {percent} %");
            }
        }
    }
}

#[test]
fn a_version_that_is_20_ms_late_is_found_on_a_noisy_machine() {
    for (name, noise) in NOISES {
        for percent in [5, 20] {
            let found: Vec<u64> = (0..20)
                .filter_map(|seed| found_after(seed, noise, 20_000, percent))
                .collect();
            eprintln!(
                "{name}, {percent} %: {} of 20, after {:?} flows",
                found.len(),
                found.iter().max()
            );
            assert!(found.len() >= 19, "{name}, {percent} %: {found:?}");
        }
    }
}

fn of(counts: &[(usize, u64)]) -> Histogram {
    let mut histogram = Histogram::default();
    for (bucket, count) in counts {
        histogram.buckets[*bucket] += count;
    }
    histogram
}

#[test]
fn what_is_late_and_what_is_not() {
    let quick = of(&[(9, 900), (12, 100)]);
    let table = [
        ("20 ms late", of(&[(15, 150)]), quick, true),
        ("less than 5 ms late", of(&[(12, 1_000)]), quick, false),
        ("ninety are few", of(&[(15, 90)]), quick, false),
        ("nothing to compare with", of(&[(15, 500)]), of(&[(9, 20)]), false),
        ("a slow end is not the middle", of(&[(9, 700), (16, 300)]), quick, false),
        ("both are late", of(&[(15, 150)]), of(&[(15, 900)]), false),
        (
            "half of a hundred: a few stalls",
            of(&[(9, 49), (15, 51)]),
            of(&[(9, 900), (15, 100)]),
            false,
        ),
        (
            "half of a thousand is no chance",
            of(&[(9, 490), (15, 510)]),
            of(&[(9, 900), (15, 100)]),
            true,
        ),
        ("quicker", of(&[(9, 150)]), of(&[(15, 900)]), false),
        (
            "old ones take 10 ms, new ones 30",
            of(&[(15, 200)]),
            of(&[(14, 800)]),
            true,
        ),
        ("seconds late", of(&[(23, 150)]), quick, true),
        ("all past the last bucket but one", of(&[(31, 150)]), quick, true),
    ];
    for (name, new, old, is_late) in table {
        assert_eq!(later(&new, &old).is_some(), is_late, "{name}");
    }
}

proptest! {
    /// What the new set's own times are not behind of is never a breach, whatever they are.
    #[test]
    fn no_version_is_late_that_is_nowhere_behind(counts in prop::collection::vec((0..HISTOGRAM_BUCKETS, 1_u64..1 << 40), 1..20), times in 1_u64..1_000) {
        let old = of(&counts);
        let mut new = old;
        for count in &mut new.buckets {
            *count *= times;
        }
        prop_assert_eq!(later(&new, &old), None);
    }

    /// Any counts at all are judged without harm, and what is found is so.
    #[test]
    fn any_times_are_judged(
        new in prop::collection::vec((0..HISTOGRAM_BUCKETS, 0_u64..1 << 40), 0..20),
        old in prop::collection::vec((0..HISTOGRAM_BUCKETS, 0_u64..1 << 40), 0..20),
    ) {
        if let Some(found) = later(&of(&new), &of(&old)) {
            prop_assert!(found.new_late <= found.new && found.old_late <= found.old);
            prop_assert!(found.new_median_us >= found.old_median_us + MEDIANS_US_MIN);
        }
    }
}
