//! Requests a second around a switch, by version, as rows of bars.

use super::Switch;
use super::console::{Console, Tone};
use crate::traffic::Bucket;

/// Tenths of seconds before and after the switch.
pub(super) const BEFORE: usize = 8;
/// Tenths of seconds after it.
pub(super) const AFTER: usize = 10;
/// Columns a bucket.
const WIDTH: usize = 3;

const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const PLAIN: [char; 9] = [' ', '.', ':', '-', '=', '+', '*', '#', '@'];

/// The buckets around `at_us`, those outside the run left out.
pub(super) fn around(buckets: &[Bucket], at_us: u64) -> Vec<Bucket> {
    let at_ms = at_us / 1000;
    let flip = buckets.partition_point(|bucket| bucket.at_ms + 100 <= at_ms);
    buckets[flip.saturating_sub(BEFORE)..(flip + AFTER).min(buckets.len())].to_vec()
}

/// Draws the rows.
pub(super) fn draw(console: &mut Console, buckets: &[Bucket], switch: &Switch) {
    let top = buckets
        .iter()
        .flat_map(|b| b.fresh.values().chain(b.kept.values()))
        .copied()
        .max()
        .unwrap_or(1)
        .max(1);
    console.line(format!(
        "            {}",
        console.tone(Tone::Dim, &ruler(buckets, switch.began_us / 1000))
    ));
    for (label, on) in [("new ", Rows::Fresh), ("kept", Rows::Kept)] {
        for (version, tone) in [("v1", Tone::Old), ("v2", Tone::New)] {
            let counts: Vec<u32> = buckets.iter().map(|bucket| on.count(bucket, version)).collect();
            if on == Rows::Kept && counts.iter().all(|&count| count == 0) {
                continue;
            }
            let bars = console.tone(tone, &row(console, &counts, top));
            console.line(format!("    {label} {version} {bars}  {}", ends(&counts)));
        }
    }
    let failed: Vec<u32> = buckets.iter().map(|bucket| bucket.failed + bucket.late).collect();
    let lost: u32 = failed.iter().sum();
    let tone = if lost == 0 { Tone::Dim } else { Tone::Bad };
    let marks: String = failed
        .iter()
        .map(|&count| if count == 0 { "  ." } else { "  X" })
        .collect();
    console.line(format!(
        "    lost    {}  {lost} failed or late",
        console.tone(tone, &marks)
    ));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    Fresh,
    Kept,
}

impl Rows {
    fn count(self, bucket: &Bucket, version: &str) -> u32 {
        let counts = if self == Self::Fresh {
            &bucket.fresh
        } else {
            &bucket.kept
        };
        counts.get(version).copied().unwrap_or(0)
    }
}

/// A mark over the bucket in which the command was started.
fn ruler(buckets: &[Bucket], flip_ms: u64) -> String {
    let marks: String = buckets
        .iter()
        .map(|bucket| {
            if (bucket.at_ms..bucket.at_ms + 100).contains(&flip_ms) {
                "  v"
            } else {
                "---"
            }
        })
        .collect();
    format!("{marks}  0.1 s each")
}

fn row(console: &Console, counts: &[u32], top: u32) -> String {
    let ramp = if console.terminal() { BARS } else { PLAIN };
    let bar = |count: u32| {
        // Anything at all is seen: rounded up.
        let height = (u64::from(count) * 8).div_ceil(u64::from(top));
        ramp[usize::try_from(height).unwrap_or(8).min(8)]
    };
    counts
        .iter()
        .flat_map(|&count| std::iter::repeat_n(bar(count), WIDTH))
        .collect()
}

/// Requests a second at both ends of the row.
fn ends(counts: &[u32]) -> String {
    let rate = |part: &[u32]| part.iter().sum::<u32>() * 10 / u32::try_from(part.len()).unwrap_or(1).max(1);
    let third = counts.len().min(5);
    format!(
        "{:>5}/s -> {}/s",
        rate(&counts[..third]),
        rate(&counts[counts.len() - third..])
    )
}
