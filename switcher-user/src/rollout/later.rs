//! Whether the times of a new version lie later than the old one's over the same time, and not only at their slow end.
//!
//! A loaded machine has a slow end of its own, and a version that is 20 ms late disappears in it. Its middle does not: so both
//! sets' flows that took longer are counted at each edge between two buckets, as failures are, and the evidence of all edges is
//! averaged. Each edge is a fair game while the versions are equal, and so is their mean; the edges stand before anything is
//! measured. All that is asked beside the evidence only makes a breach rarer.

use super::evidence::{LN_BREACH, against_old, float, mean};
use crate::model::Histogram;

/// The buckets whose beginnings are compared: 4 ms, 8 ms, and so on to 4 s.
const EDGES: std::ops::Range<usize> = 13..24;
/// The medians have to lie so far apart: nobody is to be rolled back for less.
const MEDIANS_US_MIN: u64 = 5_000;
/// And so much more of the new set's flows past the edge.
const EXCESS: f64 = 0.3;
/// Fewer flows of either set say nothing.
const FLOWS_MIN: u64 = 100;
/// A stall of the machine meets all flows of a moment, a page's requests come together: so many late ones count as one.
const BUNCH: f64 = 10.0;

/// The new version's times lie later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Later {
    /// The edge with most evidence, in microseconds.
    pub(super) edge_us: u64,
    /// Flows of the new set that took as long or longer.
    pub(super) new_late: u64,
    /// All of the new set.
    pub(super) new: u64,
    /// The same of the old set.
    pub(super) old_late: u64,
    /// All of the old set.
    pub(super) old: u64,
    /// The new set's median, in microseconds.
    pub(super) new_median_us: u64,
    /// The old set's.
    pub(super) old_median_us: u64,
}

/// Compares both; `None`: no breach.
pub(super) fn later(new: &Histogram, old: &Histogram) -> Option<Later> {
    let (all_new, all_old) = (new.count(), old.count());
    if all_new < FLOWS_MIN || all_old < FLOWS_MIN {
        return None;
    }
    let (new_median_us, old_median_us) = (new.quantile_us(500)?, old.quantile_us(500)?);
    if new_median_us < old_median_us + MEDIANS_US_MIN {
        return None;
    }
    let at = |edge: usize| against_old(past(new, edge), all_new, past(old, edge), all_old, 1.0, BUNCH);
    let evidence: [f64; EDGES.end - EDGES.start] = std::array::from_fn(|i| at(EDGES.start + i));
    if mean(evidence) < LN_BREACH {
        return None;
    }
    let edge = EDGES.max_by(|a, b| at(*a).total_cmp(&at(*b)))?;
    let (new_late, old_late) = (past(new, edge), past(old, edge));
    let excess = float(new_late) / float(all_new) - float(old_late) / float(all_old);
    (excess >= EXCESS).then_some(Later {
        edge_us: Histogram::bounds_us(edge).0,
        new_late,
        new: all_new,
        old_late,
        old: all_old,
        new_median_us,
        old_median_us,
    })
}

/// Times in this bucket and those behind it.
fn past(histogram: &Histogram, edge: usize) -> u64 {
    histogram.buckets[edge..].iter().sum()
}

#[cfg(test)]
#[path = "later_tests.rs"]
mod tests;
