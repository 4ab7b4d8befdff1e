//! How long a drain may take yet, from how fast flows ended of late.

use std::collections::VecDeque;

/// So far back counts: what ended long ago says nothing of the flows that are left.
const WINDOW_MS: u64 = 10_000;
/// Looks that are kept.
const LOOKS_MAX: usize = 256;

/// The looks of the last ten seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace(VecDeque<(u64, u64)>);

impl Pace {
    /// A look: so many flows are left.
    pub fn saw(&mut self, now_ms: u64, left: u64) {
        self.0.push_back((now_ms, left));
        let old = |at: Option<&(u64, u64)>| at.is_some_and(|(at, _)| now_ms.saturating_sub(*at) > WINDOW_MS);
        while self.0.len() > LOOKS_MAX || old(self.0.front()) {
            self.0.pop_front();
        }
    }

    /// At this pace it takes so long yet, in milliseconds; `None` where no flow has ended.
    #[must_use]
    pub fn estimate_ms(&self) -> Option<u64> {
        let ((began, first), (now, left)) = (self.0.front()?, self.0.back()?);
        let ended = first.saturating_sub(*left);
        (ended > 0).then(|| left.saturating_mul(now.saturating_sub(*began)) / ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_follows_the_last_ten_seconds() {
        let mut pace = Pace::default();
        assert_eq!(pace.estimate_ms(), None);
        pace.saw(0, 100);
        assert_eq!(pace.estimate_ms(), None, "nothing has ended");
        pace.saw(1_000, 80);
        assert_eq!(pace.estimate_ms(), Some(4_000));
        pace.saw(9_000, 40);
        assert_eq!(pace.estimate_ms(), Some(6_000));
        // The first look is too old now; 40 of 80 ended within 9.5 s.
        pace.saw(10_500, 40);
        assert_eq!(pace.estimate_ms(), Some(9_500));
        for at in 11..30 {
            pace.saw(at * 1_000, 40);
        }
        assert_eq!(pace.estimate_ms(), None, "those that are left do not end");
    }

    #[test]
    fn looks_are_bounded() {
        let mut pace = Pace::default();
        for at in 0..5_000 {
            pace.saw(at, 5_000 - at);
        }
        assert!(pace.0.len() <= LOOKS_MAX);
    }
}
