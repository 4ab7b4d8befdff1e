//! Splits: shares of new flows as weights, and as intervals of the space of client hashes.
//!
//! A change moves as little as it can: sets that lose give up the ends of what they have, sets that gain take what was
//! given up, all others keep theirs to the hash. So raising a share moves clients one way only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::SetName;

/// Size of the space of client hashes.
pub const HASH_SPACE: u64 = 1 << 32;
/// Most intervals of one split; past it the intervals are laid out anew.
pub const SEGMENTS_MAX: usize = 64;
/// A set whose interval is this near to its exact share keeps it: rounding, 64 of 4,294,967,296.
const KEEP_WITHIN: u64 = 64;

/// Who gets new flows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Weights by set, none of them 0. Empty: nobody gets new flows.
    pub weights: BTreeMap<SetName, u32>,
    /// The same as intervals, ascending; the last one ends at [`HASH_SPACE`].
    pub segments: Vec<SplitSegment>,
}

/// One interval: from the end of the one before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitSegment {
    /// First hash that is no longer in it.
    pub end: u64,
    /// The set that gets it.
    pub set: SetName,
}

#[derive(Clone, Debug)]
struct Range {
    start: u64,
    end: u64,
    set: SetName,
}

impl Split {
    /// The split with these weights that moves least; weights of 0 are dropped.
    #[must_use]
    pub fn change(&self, weights: &BTreeMap<SetName, u32>) -> Self {
        let weights: BTreeMap<SetName, u32> = weights
            .iter()
            .filter(|(_, weight)| **weight > 0)
            .map(|(set, weight)| (set.clone(), *weight))
            .collect();
        let segments = relayout(&self.segments, &weights);
        Self { weights, segments }
    }

    /// Hashes that each set has.
    #[must_use]
    pub fn sizes(&self) -> BTreeMap<SetName, u64> {
        sizes(&ranges(&self.segments))
    }

    /// True where the set has a share.
    #[must_use]
    pub fn has(&self, set: &SetName) -> bool {
        self.weights.contains_key(set)
    }

    /// The weights as people write them: `v1=50 v2=50`.
    #[must_use]
    pub fn text(&self) -> String {
        weights_text(&self.weights)
    }
}

/// Weights as people write them: `v1=50 v2=50`; `nothing` where there is none.
#[must_use]
pub fn weights_text(weights: &BTreeMap<SetName, u32>) -> String {
    if weights.is_empty() {
        return "nothing".to_owned();
    }
    weights
        .iter()
        .map(|(set, weight)| format!("{set}={weight}"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn ranges(segments: &[SplitSegment]) -> Vec<Range> {
    let mut start = 0;
    let mut ranges = Vec::with_capacity(segments.len());
    for segment in segments {
        ranges.push(Range {
            start,
            end: segment.end,
            set: segment.set.clone(),
        });
        start = segment.end;
    }
    ranges
}

fn sizes(ranges: &[Range]) -> BTreeMap<SetName, u64> {
    let mut sizes = BTreeMap::new();
    for range in ranges {
        *sizes.entry(range.set.clone()).or_insert(0) += range.end - range.start;
    }
    sizes
}

fn relayout(old: &[SplitSegment], weights: &BTreeMap<SetName, u32>) -> Vec<SplitSegment> {
    if weights.is_empty() {
        return Vec::new();
    }
    let old = ranges(old);
    let targets = targets(&sizes(&old), weights);
    let (mut kept, freed) = shrink(old, &targets);
    give(&mut kept, freed, &targets);
    let merged = merge(kept);
    if merged.len() > SEGMENTS_MAX {
        contiguous(&targets)
    } else {
        merged
    }
}

/// How many hashes each set is to have; they sum to [`HASH_SPACE`].
fn targets(old: &BTreeMap<SetName, u64>, weights: &BTreeMap<SetName, u32>) -> BTreeMap<SetName, u64> {
    let total: u64 = weights.values().map(|weight| u64::from(*weight)).sum();
    let exact = |weight: u32| u64::from(weight) * HASH_SPACE / total;
    let mut targets: BTreeMap<SetName, u64> = weights
        .iter()
        .filter_map(|(set, weight)| {
            let had = *old.get(set)?;
            (had.abs_diff(exact(*weight)) <= KEEP_WITHIN).then(|| (set.clone(), had))
        })
        .collect();
    let kept: u64 = targets.values().sum();
    if targets.len() == weights.len() && kept == HASH_SPACE {
        return targets;
    }
    if targets.len() == weights.len() || kept > HASH_SPACE {
        targets.clear();
    }
    let space = HASH_SPACE - targets.values().sum::<u64>();
    let changed: Vec<(&SetName, u64)> = weights
        .iter()
        .filter(|(set, _)| !targets.contains_key(*set))
        .map(|(set, weight)| (set, u64::from(*weight)))
        .collect();
    let changed_total: u64 = changed.iter().map(|(_, weight)| weight).sum();
    let (mut sum, mut given) = (0, 0);
    for (set, weight) in changed {
        sum += weight;
        let end = space * sum / changed_total;
        targets.insert(set.clone(), end - given);
        given = end;
    }
    targets
}

/// Cuts every range list down to its target, from its end. Returns what is kept and what was freed.
fn shrink(mut old: Vec<Range>, targets: &BTreeMap<SetName, u64>) -> (Vec<Range>, Vec<Range>) {
    let mut excess = sizes(&old);
    for (set, size) in &mut excess {
        *size = size.saturating_sub(targets.get(set).copied().unwrap_or(0));
    }
    let (mut kept, mut freed) = (Vec::new(), Vec::new());
    while let Some(range) = old.pop() {
        let over = excess.get_mut(&range.set).map_or(0, |size| {
            let cut = (range.end - range.start).min(*size);
            *size -= cut;
            cut
        });
        let middle = range.end - over;
        if over > 0 {
            freed.push(Range {
                start: middle,
                end: range.end,
                set: range.set.clone(),
            });
        }
        if middle > range.start {
            kept.push(Range {
                start: range.start,
                end: middle,
                set: range.set,
            });
        }
    }
    if kept.is_empty() && freed.is_empty() {
        let nobody = targets.keys().next().cloned();
        freed.extend(nobody.map(|set| Range {
            start: 0,
            end: HASH_SPACE,
            set,
        }));
    }
    freed.reverse();
    (kept, freed)
}

/// Gives the freed ranges, lowest first, to the sets that lack something.
fn give(kept: &mut Vec<Range>, freed: Vec<Range>, targets: &BTreeMap<SetName, u64>) {
    let have = sizes(kept);
    let mut lack: Vec<(SetName, u64)> = targets
        .iter()
        .map(|(set, target)| (set.clone(), target - have.get(set).copied().unwrap_or(0)))
        .filter(|(_, size)| *size > 0)
        .rev()
        .collect();
    for mut range in freed {
        while range.start < range.end {
            let Some((set, size)) = lack.last_mut() else { return };
            let end = range.end.min(range.start + *size);
            kept.push(Range {
                start: range.start,
                end,
                set: set.clone(),
            });
            *size -= end - range.start;
            range.start = end;
            if *size == 0 {
                lack.pop();
            }
        }
    }
}

fn merge(mut ranges: Vec<Range>) -> Vec<SplitSegment> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<SplitSegment> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.set == range.set => last.end = range.end,
            _ => merged.push(SplitSegment {
                end: range.end,
                set: range.set,
            }),
        }
    }
    merged
}

fn contiguous(targets: &BTreeMap<SetName, u64>) -> Vec<SplitSegment> {
    let mut end = 0;
    let mut segments = Vec::with_capacity(targets.len());
    for (set, size) in targets.iter().filter(|(_, size)| **size > 0) {
        end += size;
        segments.push(SplitSegment { end, set: set.clone() });
    }
    segments
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Rounding that a row of changes may leave: a millionth.
    const ROUNDING: u64 = 4_200;

    fn name(number: u8) -> SetName {
        format!("v{number}").parse().unwrap()
    }

    fn weights(list: &[(u8, u32)]) -> BTreeMap<SetName, u32> {
        list.iter().map(|(number, weight)| (name(*number), *weight)).collect()
    }

    fn owner(split: &Split, hash: u64) -> SetName {
        split
            .segments
            .iter()
            .find(|segment| hash < segment.end)
            .unwrap()
            .set
            .clone()
    }

    /// Hashes worth asking about: around each border of both.
    fn borders(a: &Split, b: &Split) -> Vec<u64> {
        let ends = a.segments.iter().chain(&b.segments).map(|segment| segment.end);
        let mut all: Vec<u64> = ends
            .flat_map(|end| [end - 1, end])
            .filter(|hash| *hash < HASH_SPACE)
            .collect();
        all.push(0);
        all
    }

    #[test]
    fn a_first_split_is_contiguous() {
        let split = Split::default().change(&weights(&[(1, 1), (2, 3)]));
        assert_eq!(
            split.segments,
            vec![
                SplitSegment {
                    end: HASH_SPACE / 4,
                    set: name(1)
                },
                SplitSegment {
                    end: HASH_SPACE,
                    set: name(2)
                },
            ]
        );
    }

    #[test]
    fn an_upgrade_leaves_other_sets_to_the_hash() {
        let before = Split::default().change(&weights(&[(1, 1), (2, 1), (3, 1)]));
        let after = before.change(&weights(&[(1, 1), (3, 1), (4, 1)]));
        for (old, new) in before.segments.iter().zip(&after.segments) {
            assert_eq!(old.end, new.end);
            let expected = if old.set == name(2) { name(4) } else { old.set.clone() };
            assert_eq!(new.set, expected);
        }
    }

    #[test]
    fn weights_of_zero_are_nobody() {
        let split = Split::default().change(&weights(&[(1, 0), (2, 7)]));
        assert_eq!(split.text(), "v2=7");
        assert_eq!(split.segments.len(), 1);
        assert_eq!(Split::default().text(), "nothing");
    }

    fn any_weights() -> impl Strategy<Value = BTreeMap<SetName, u32>> {
        prop::collection::btree_map((1..9_u8).prop_map(name), 0..=1_000_u32, 1..8)
            .prop_filter("a split has a weight", |weights| {
                weights.values().any(|weight| *weight > 0)
            })
    }

    proptest! {
        #[test]
        fn shares_are_exact_and_cover_everything(steps in prop::collection::vec(any_weights(), 1..20)) {
            let mut split = Split::default();
            for weights in steps {
                split = split.change(&weights);
                prop_assert!(split.segments.len() <= SEGMENTS_MAX);
                prop_assert_eq!(split.segments.last().map(|segment| segment.end), Some(HASH_SPACE));
                prop_assert!(split.segments.windows(2).all(|pair| pair[0].end < pair[1].end && pair[0].set != pair[1].set));
                let total: u64 = weights.values().map(|weight| u64::from(*weight)).sum();
                let sizes = split.sizes();
                for (set, weight) in &weights {
                    let exact = u64::from(*weight) * HASH_SPACE / total;
                    let size = sizes.get(set).copied().unwrap_or(0);
                    prop_assert!(size.abs_diff(exact) <= ROUNDING, "{set}: {size} for {exact}");
                    prop_assert!(*weight > 0 || size == 0);
                }
            }
        }

        #[test]
        fn a_hash_moves_only_from_a_loser_to_a_gainer(a in any_weights(), b in any_weights(), c in any_weights()) {
            let before = Split::default().change(&a).change(&b);
            let after = before.change(&c);
            let (had, has) = (before.sizes(), after.sizes());
            let size = |sizes: &BTreeMap<SetName, u64>, set: &SetName| sizes.get(set).copied().unwrap_or(0);
            for hash in borders(&before, &after) {
                let (old, new) = (owner(&before, hash), owner(&after, hash));
                if old != new {
                    prop_assert!(size(&has, &old) < size(&had, &old), "{old} lost a hash and kept its share");
                    prop_assert!(size(&has, &new) > size(&had, &new), "{new} got a hash and kept its share");
                }
            }
        }

        #[test]
        fn raising_a_share_moves_clients_one_way(shares in prop::collection::btree_set(0..=1_000_u32, 2..12)) {
            let mut split = Split::default().change(&weights(&[(1, 1_000)]));
            for share in shares {
                let next = split.change(&weights(&[(1, 1_000 - share), (2, share)]));
                for hash in borders(&split, &next) {
                    prop_assert!(owner(&split, hash) != name(2) || owner(&next, hash) == name(2), "a client went back");
                }
                split = next;
            }
        }
    }
}
