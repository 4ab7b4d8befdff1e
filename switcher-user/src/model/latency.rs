//! How long things took, as the kernel counts it: histograms whose buckets double.

use serde::{Deserialize, Serialize};

/// Buckets of a [`Histogram`].
pub const HISTOGRAM_BUCKETS: usize = 32;

/// How often something took how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// All times together, in microseconds.
    pub sum_us: u64,
    /// Bucket 0: under 1 µs. Bucket n: from 2^(n-1) µs to under 2^n µs. The last: all from 18 minutes on.
    pub buckets: [u64; HISTOGRAM_BUCKETS],
}

impl Histogram {
    /// How many times were measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The mean in microseconds; `None` where nothing was measured.
    #[must_use]
    pub fn mean_us(&self) -> Option<u64> {
        self.sum_us.checked_div(self.count())
    }

    /// The time that `permille` of 1,000 do not exceed, in microseconds: exact to its bucket, a straight line within it.
    /// `None` where nothing was measured. What lies in the last bucket counts as its beginning.
    #[must_use]
    pub fn quantile_us(&self, permille: u16) -> Option<u64> {
        let rank = (u128::from(self.count()) * u128::from(permille.min(1_000))).div_ceil(1_000);
        let rank = u64::try_from(rank).ok()?.max(1);
        let mut below = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            if below + count >= rank {
                let (first, end) = Self::bounds_us(bucket);
                let width = u128::from(end.unwrap_or(first) - first);
                let within = width * u128::from(rank - below) / u128::from(*count);
                return Some(first + u64::try_from(within).ok()?);
            }
            below += count;
        }
        None
    }

    /// A bucket's first time, and the first that is past it; microseconds. The last bucket has no end.
    #[must_use]
    pub const fn bounds_us(bucket: usize) -> (u64, Option<u64>) {
        let first = if bucket == 0 { 0 } else { 1 << (bucket - 1) };
        let is_last = bucket + 1 >= HISTOGRAM_BUCKETS;
        (first, if is_last { None } else { Some(1 << bucket) })
    }

    /// What came since an earlier reading of the same histogram.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            sum_us: self.sum_us.saturating_sub(before.sum_us),
            buckets: std::array::from_fn(|i| self.buckets[i].saturating_sub(before.buckets[i])),
        }
    }
}

/// How long the backends and clients of one set took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latencies {
    /// From the client's first SYN to the backend's first SYN-ACK: the backend's own share of the handshake.
    pub answer: Histogram,
    /// From the client's first SYN to the client's ACK that completes the handshake.
    pub handshake: Histogram,
    /// From the client's first data to the backend's first data; of UDP from datagram to answer.
    pub first_reply: Histogram,
}

impl Latencies {
    /// What came since an earlier reading.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            answer: self.answer.since(&before.answer),
            handshake: self.handshake.since(&before.handshake),
            first_reply: self.first_reply.since(&before.first_reply),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(counts: &[(usize, u64)]) -> Histogram {
        let mut histogram = Histogram::default();
        for (bucket, count) in counts {
            histogram.buckets[*bucket] = *count;
        }
        histogram
    }

    #[test]
    fn nothing_measured_has_no_mean_and_no_quantile() {
        assert_eq!(Histogram::default().mean_us(), None);
        assert_eq!(Histogram::default().quantile_us(500), None);
    }

    #[test]
    fn a_quantile_lies_in_the_bucket_of_its_rank() {
        // 90 between 512 and 1,024 µs, 10 between 16 and 32 ms.
        let histogram = of(&[(10, 90), (15, 10)]);
        assert_eq!(histogram.count(), 100);
        let median = histogram.quantile_us(500).unwrap();
        assert!((512..1_024).contains(&median), "{median}");
        assert_eq!(histogram.quantile_us(900), Some(1_024));
        let high = histogram.quantile_us(950).unwrap();
        assert!((16_384..32_768).contains(&high), "{high}");
        assert_eq!(histogram.quantile_us(1_000), Some(32_768));
    }

    #[test]
    fn the_last_bucket_counts_as_its_beginning() {
        assert_eq!(
            of(&[(HISTOGRAM_BUCKETS - 1, 3)]).quantile_us(990),
            Some(1 << (HISTOGRAM_BUCKETS - 2))
        );
        assert_eq!(Histogram::bounds_us(HISTOGRAM_BUCKETS - 1), (1 << 30, None));
    }

    #[test]
    fn since_is_the_difference_bucket_by_bucket() {
        let mut later = of(&[(3, 7), (5, 1)]);
        later.sum_us = 50;
        let mut before = of(&[(3, 4)]);
        before.sum_us = 20;
        let since = later.since(&before);
        assert_eq!((since.sum_us, since.buckets[3], since.buckets[5]), (30, 3, 1));
    }
}
