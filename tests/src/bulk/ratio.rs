//! From speeds to ratios, and what they are worth.

use serde::Serialize;

use super::{Direction, Family};
use crate::ways::Way;

/// What moves less than this share of its baseline has stalled: no way that works is near it.
pub const STALL_SHARE: f64 = 0.05;

/// One round's speeds, bits a second; 0 where nothing came through in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// Without Switcher.
    pub plain: f64,
    /// Through the alias.
    pub by_alias: f64,
    /// Past the alias, by the same programs.
    pub passed: Option<f64>,
}

/// Ratios of several rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one; of an even number the lower.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

/// A supported way in one family and direction, measured.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which.
    pub way: Way,
    /// By which addresses.
    pub family: Family,
    /// Who sends.
    pub direction: Direction,
    /// Multiples of the same route without Switcher.
    pub of_plain: Spread,
    /// Under XDP: multiples of a connection past the alias, by the same program.
    pub of_passed: Option<Spread>,
    /// Of each round: what is judged.
    own: Vec<f64>,
}

impl Row {
    pub(super) fn new(way: Way, family: Family, direction: Direction, rounds: &[Round]) -> Self {
        let ratios: Vec<f64> = rounds.iter().map(|round| round.by_alias / round.plain).collect();
        let passed = rounds.iter().map(|round| Some(round.by_alias / round.passed?));
        let passed: Option<Vec<f64>> = passed.collect();
        Self {
            way,
            family,
            direction,
            of_plain: Spread::new(ratios.clone()),
            of_passed: passed.clone().map(Spread::new),
            own: passed.unwrap_or(ratios),
        }
    }

    /// Whether bulk does not come through.
    #[must_use]
    pub fn stalls(&self) -> bool {
        // A round that hung ended the row, so the last is the least.
        self.of_plain.median < STALL_SHARE || self.of_plain.least <= 0.0
    }

    /// What Switcher itself leaves. A program in the driver of a veth switches the other end's segmentation offload off,
    /// whatever it does; that is the price of the hook, so there the comparison is with packets that it passes.
    #[must_use]
    pub fn own_cost(&self) -> f64 {
        self.of_passed.unwrap_or(self.of_plain).median
    }

    /// The same of its best round: what is slow on one side only is slow in each.
    #[must_use]
    pub fn own_best(&self) -> f64 {
        self.of_passed.unwrap_or(self.of_plain).most
    }
}

/// What Switcher itself leaves on each way, over both families and directions: steadier than a row alone.
#[must_use]
pub fn own_costs(rows: &[Row]) -> Vec<(Way, f64)> {
    let mut ways: Vec<Way> = rows.iter().map(|row| row.way).collect();
    ways.dedup();
    let of = |way| {
        let rows = rows.iter().filter(move |row| row.way == way);
        rows.flat_map(|row| row.own.clone()).collect()
    };
    ways.into_iter().map(|way| (way, Spread::new(of(way)).median)).collect()
}

impl Spread {
    fn new(mut ratios: Vec<f64>) -> Self {
        ratios.sort_by(f64::total_cmp);
        let at = |index: usize| ratios.get(index).copied().unwrap_or(0.0);
        Self {
            median: at(ratios.len().saturating_sub(1) / 2),
            least: at(0),
            most: at(ratios.len().saturating_sub(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ways::{Hook, supported};

    fn row(hook: Hook, speeds: &[(f64, f64, Option<f64>)]) -> Row {
        let rounds: Vec<Round> = speeds
            .iter()
            .map(|&(plain, by_alias, passed)| Round {
                plain,
                by_alias,
                passed,
            })
            .collect();
        Row::new(supported(hook)[0], Family::V4, Direction::Upload, &rounds)
    }

    #[test]
    fn rounds_become_a_median_between_their_extremes() {
        let row = row(Hook::Tc, &[(10.0, 12.0, None), (10.0, 8.0, None), (20.0, 20.0, None)]);
        let Spread { median, least, most } = row.of_plain;
        assert!((median - 1.0).abs() < 1e-9 && (least - 0.8).abs() < 1e-9 && (most - 1.2).abs() < 1e-9);
        assert!(!row.stalls() && row.of_passed.is_none());
        assert!((row.own_cost() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn xdp_is_judged_by_what_it_passes() {
        let row = row(Hook::Xdp, &[(10.0, 2.4, Some(2.5))]);
        assert!((row.own_best() - 0.96).abs() < 1e-9);
        assert!((row.own_cost() - 0.96).abs() < 1e-9 && (row.of_plain.median - 0.24).abs() < 1e-9);
        assert!(!row.stalls());
    }

    #[test]
    fn a_way_is_judged_by_all_its_rounds() {
        let rows = [
            row(Hook::Tc, &[(10.0, 5.0, None), (10.0, 9.0, None)]),
            row(Hook::Tc, &[(10.0, 10.0, None)]),
            row(Hook::Xdp, &[(10.0, 2.0, Some(2.5))]),
        ];
        let ways = own_costs(&rows);
        let [(tc, of_tc), (xdp, of_xdp)] = ways[..] else {
            panic!("two ways: {ways:?}")
        };
        assert_eq!((tc.hook, xdp.hook), (Hook::Tc, Hook::Xdp));
        assert!((of_tc - 0.9).abs() < 1e-9 && (of_xdp - 0.8).abs() < 1e-9, "{ways:?}");
    }

    #[test]
    fn next_to_nothing_or_one_round_that_hangs_is_a_stall() {
        assert!(row(Hook::Tc, &[(10.0, 0.4, None)]).stalls());
        assert!(row(Hook::Tc, &[(10.0, 9.0, None), (10.0, 9.0, None), (10.0, 0.0, None)]).stalls());
        assert!(row(Hook::Xdp, &[(10.0, 0.4, Some(0.4))]).stalls());
    }
}
