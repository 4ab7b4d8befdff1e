//! Times of the kernel's clock on the wall's, and what is known of switches before this agent.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use crate::api::{ChangeStatus, ClockReading};
use crate::kernel::Datapath;
use crate::model::{AliasName, FlipTime, Receipt};
use crate::store::Store;

/// A wall clock that runs a little off, as one that is being slewed does, moves no time that was told before.
const SLACK_NS: u64 = 50_000_000;
/// Receipts that are looked at for the last switches.
const RECEIPTS_READ_MAX: usize = 200;
/// Two clocks that were this far apart, as they are now, were of this boot.
const SAME_BOOT_NS: u64 = 2_000_000_000;

/// The distance of the two clocks, as it was first told; told anew only when the wall clock was set.
#[derive(Debug, Default)]
pub(super) struct WallClock(AtomicU64);

impl WallClock {
    /// Reads both clocks.
    pub(super) fn read(&self) -> ClockReading {
        let (monotonic_ns, unix_ns) = now();
        self.settle(monotonic_ns, unix_ns)
    }

    fn settle(&self, monotonic_ns: u64, unix_ns: u64) -> ClockReading {
        let (distance, kept) = (unix_ns.wrapping_sub(monotonic_ns), self.0.load(Relaxed));
        let distance = if distance.abs_diff(kept) > SLACK_NS {
            self.0.store(distance, Relaxed);
            distance
        } else {
            kept
        };
        ClockReading {
            monotonic_ns,
            unix_ns: monotonic_ns.wrapping_add(distance),
        }
    }
}

fn now() -> (u64, u64) {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let unix_ns = u64::try_from(since_1970.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
    (Datapath::now_ns(), unix_ns)
}

/// When the splits of these aliases last changed, as the receipts of earlier agents of this boot tell.
pub(super) fn switched_before<'a>(
    store: &Store,
    aliases: impl Iterator<Item = &'a AliasName>,
) -> BTreeMap<AliasName, FlipTime> {
    let (monotonic_ns, unix_ns) = now();
    let receipts = store.newest_receipts(RECEIPTS_READ_MAX);
    aliases
        .filter_map(|alias| {
            Some((
                alias.clone(),
                last_switch(&receipts, alias, unix_ns.wrapping_sub(monotonic_ns))?,
            ))
        })
        .collect()
}

/// What the newest receipts of these aliases say.
pub(super) fn changes_before<'a>(
    store: &Store,
    aliases: impl Iterator<Item = &'a AliasName>,
) -> BTreeMap<AliasName, ChangeStatus> {
    let receipts = store.newest_receipts(RECEIPTS_READ_MAX);
    let newest = |alias: &AliasName| receipts.iter().find(|receipt| concerns(receipt, alias));
    aliases
        .filter_map(|alias| Some((alias.clone(), ChangeStatus::from(newest(alias)?))))
        .collect()
}

fn concerns(receipt: &Receipt, alias: &AliasName) -> bool {
    receipt.aliases.iter().any(|change| change.alias == *alias)
}

/// Of receipts, the newest first.
fn last_switch(receipts: &[Receipt], alias: &AliasName, distance_ns: u64) -> Option<FlipTime> {
    let mut about = receipts.iter().filter(|receipt| concerns(receipt, alias));
    let newest = about.find(|receipt| receipt.flip.is_some())?;
    let flip = newest.flip_back.as_ref().or(newest.flip.as_ref())?;
    // CLOCK_MONOTONIC begins anew with each boot, and the kernel's figures with it.
    let at = humantime::parse_rfc3339(&flip.at).ok()?;
    let at_ns = u64::try_from(at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_nanos()).ok()?;
    let same_boot = at_ns.wrapping_sub(flip.after_ns).abs_diff(distance_ns) < SAME_BOOT_NS;
    same_boot.then(|| flip.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;
    /// 2023-11-14T22:13:20Z.
    const THEN_NS: u64 = 1_700_000_000 * SECOND_NS;

    #[test]
    fn times_move_only_when_the_clock_was_set() {
        let wall = WallClock::default();
        let seconds = |wall: &WallClock, monotonic, unix| wall.settle(monotonic, unix).unix_seconds(SECOND_NS);
        let first = seconds(&wall, 5 * SECOND_NS, THEN_NS);
        assert!((first - 1_699_999_996.0).abs() < 1e-6, "{first}");
        // A little later, the clock slewed by 10 ms.
        assert_eq!(
            seconds(&wall, 6 * SECOND_NS, THEN_NS + 1_010_000_000).to_bits(),
            first.to_bits()
        );
        // Set back by an hour.
        let set = seconds(&wall, 7 * SECOND_NS, THEN_NS + 2 * SECOND_NS - 3_600 * SECOND_NS);
        assert!((set - first + 3_600.0).abs() < 1e-6, "{set}");
    }

    fn receipt(alias: &str, after_ns: u64, at: &str) -> Receipt {
        let text = serde_json::json!({
            "schema": 1, "id": 1, "action": "split", "outcome": "done", "exit_code": 0, "message": "", "command_us": 1,
            "caller": {"uid": 0, "pid": 1}, "started_at": at, "epoch_before": 1, "epoch_after": 2,
            "aliases": [{"alias": alias, "from": null, "to": null, "before": {}, "after": {"v1": 1}}],
            "flip": {"before_ns": after_ns - 1, "after_ns": after_ns, "at": at}, "flip_back": null,
            "sets": [], "last_new_flows": [], "drain": null, "unpinned_flows": 0, "statements": [], "warnings": [],
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn a_switch_before_this_agent_is_known_unless_the_host_was_booted_since() {
        let web: AliasName = "web".parse().unwrap();
        let at = "2023-11-14T22:13:20.000000Z";
        let receipts = [receipt("api", 9 * SECOND_NS, at), receipt("web", 7 * SECOND_NS, at)];
        let this_boot = THEN_NS - 7 * SECOND_NS;
        let flip = last_switch(&receipts, &web, this_boot).unwrap();
        assert_eq!(flip.after_ns, 7 * SECOND_NS);
        assert_eq!(last_switch(&receipts, &web, this_boot + 60 * SECOND_NS), None);
        assert_eq!(last_switch(&receipts[..1], &web, this_boot), None);
        let mut back = receipt("web", 7 * SECOND_NS, at);
        back.flip_back = Some(FlipTime {
            after_ns: 7 * SECOND_NS + 5,
            ..flip
        });
        assert_eq!(
            last_switch(&[back], &web, this_boot).unwrap().after_ns,
            7 * SECOND_NS + 5
        );
    }
}
