//! UDP conversations as the kernel has to count them, from what their clients know.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::traffic::Ping;

/// Of local clients: each socket is one, whatever is switched.
pub(super) fn of_sockets(pings: &[Ping]) -> RangeInclusive<u64> {
    let fresh = pings.iter().filter(|ping| ping.fresh).count();
    let mut long: Vec<_> = pings
        .iter()
        .filter(|ping| !ping.fresh)
        .map(|ping| ping.target)
        .collect();
    long.sort_unstable();
    long.dedup();
    let all = (fresh + long.len()) as u64;
    all..=all
}

/// Of clients that are met by their packets: a pair of ends is one conversation in each image that a datagram of it met, since
/// the alias says `udp: move`. `images`: within which time each was put in place. Which image met a datagram that was under way during a switch is not known: hence a range.
pub(super) fn of_packets(pings: &[Ping], images: &[(u64, u64)]) -> RangeInclusive<u64> {
    let mut pairs: BTreeMap<_, Vec<(usize, usize)>> = BTreeMap::new();
    for ping in pings {
        let first = images.partition_point(|&(_, ended_us)| ended_us <= ping.sent_us);
        let last = images.partition_point(|&(began_us, _)| began_us <= ping.ended_us);
        pairs.entry((ping.target, ping.port)).or_default().push((first, last));
    }
    let (mut least, mut most) = (0, 0);
    for met in pairs.values_mut() {
        met.sort_unstable_by_key(|&(first, last)| (last, first));
        least += fewest(met);
        most += largest(met);
    }
    least..=most
}

/// The fewest images that can have met them all.
fn fewest(images: &[(usize, usize)]) -> u64 {
    let (mut count, mut met) = (0, None);
    for &(first, last) in images {
        if met.is_none_or(|met| met < first) {
            (met, count) = (Some(last), count + 1);
        }
    }
    count
}

/// The most images that can have met one or more of them.
fn largest(images: &[(usize, usize)]) -> u64 {
    let (mut count, mut next) = (0, 0);
    for &(first, last) in images {
        if last >= next {
            (next, count) = (next.max(first) + 1, count + 1);
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::{fewest, largest};

    #[test]
    fn images_that_a_conversation_met() {
        for (images, least, most) in [
            (&[(0, 0)][..], 1, 1),
            (&[(0, 0), (0, 0)], 1, 1),
            (&[(0, 0), (1, 1)], 2, 2),
            (&[(0, 0), (0, 1), (1, 1)], 2, 2),
            (&[(0, 0), (0, 1)], 1, 2),
            (&[(0, 1), (1, 2)], 1, 2),
            (&[(0, 0), (0, 1), (2, 2)], 2, 3),
        ] {
            assert_eq!((fewest(images), largest(images)), (least, most), "{images:?}");
        }
    }
}
