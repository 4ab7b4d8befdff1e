//! One clock for every process of a run: the wall clock in microseconds, which is what captured packets carry too.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Microseconds since 1970.
#[must_use]
pub fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// A kernel's time (`CLOCK_MONOTONIC`, nanoseconds) on the wall clock, in microseconds since 1970. It is as exact as two
/// clocks that are read one after the other.
#[must_use]
pub fn unix_us_of(monotonic_ns: u64) -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(std::time::Duration::from);
    let now_ns = now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
    unix_us().saturating_sub(now_ns.saturating_sub(monotonic_ns) / 1_000)
}
