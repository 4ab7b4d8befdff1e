//! How strongly counts speak against a new version, however often one looks.
//!
//! A false roll-back must not become likelier because somebody looks ten times a second. So what is computed is not a
//! p-value, which holds for one look, but a betting score: the wealth of a player who stakes on each failure coming from
//! the new version, at odds that are fair or worse while the new version is no worse than the old. Such a player's
//! wealth ever reaches W times its beginning with a chance of at most 1/W (Ville's inequality), whenever one looks.

/// A breach: wealth of ten thousand. So an equal version is rolled back in at most one of 10,000 rollouts by each rule.
pub(super) const LN_BREACH: f64 = 9.210_340_371_976_184;

/// The player divides its stake over these: the new version fails so many times as often.
const RATIOS: [f64; 6] = [1.5, 2.0, 4.0, 16.0, 128.0, 1_024.0];

/// Failures of both versions against what they carried; the logarithm of the wealth. The new version may fail `times` as
/// often as the old one. Each failure comes from it with a chance of `times * new / (times * new + old)` at most. `bunch`
/// failures count as one: as many may have one cause.
pub(super) fn against_old(failed_new: u64, new: u64, failed_old: u64, old: u64, times: f64, bunch: f64) -> f64 {
    let (weight_new, weight_old) = (times * float(new), float(old));
    if weight_new <= 0.0 || weight_old <= 0.0 {
        return 0.0;
    }
    let chance = weight_new / (weight_new + weight_old);
    let (failed_new, all) = (float(failed_new) / bunch, float(failed_new + failed_old) / bunch);
    mean(RATIOS.map(|ratio| failed_new * ratio.ln() - all * (ratio * chance + 1.0 - chance).ln()))
}

/// Failures of the new version against a share that is allowed; the logarithm of the wealth.
pub(super) fn against_share(failed: u64, of: u64, allowed: f64) -> f64 {
    if allowed >= 1.0 || of == 0 {
        return 0.0;
    }
    if allowed <= 0.0 {
        return if failed > 0 { f64::INFINITY } else { 0.0 };
    }
    let good = float(of.saturating_sub(failed));
    let failed = float(failed.min(of));
    mean(RATIOS.map(|ratio| {
        // Never as far as certainty: one good flow would then lose all.
        let share = (allowed * ratio).min((1.0 + allowed) / 2.0);
        failed * (share / allowed).ln() + good * ((1.0 - share) / (1.0 - allowed)).ln()
    }))
}

/// The logarithm of the mean of what these are the logarithms of.
pub(super) fn mean<const N: usize>(logarithms: [f64; N]) -> f64 {
    let largest = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logarithms.iter().map(|one| (one - largest).exp()).sum();
    largest + (sum / float(N as u64)).ln()
}

/// Exact below 2^53, which no count of flows reaches.
#[allow(clippy::cast_precision_loss)]
pub(super) const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_shares_speak_for_nothing() {
        assert!(against_old(50, 1_000, 950, 19_000, 1.0, 1.0) < 0.0);
        assert!(against_share(10, 1_000, 0.01) < 0.0);
        assert_eq!(against_old(0, 100, 0, 100, 1.0, 1.0), 0.0);
        assert_eq!(against_old(5, 100, 0, 0, 1.0, 1.0), 0.0, "nothing to compare with");
    }

    #[test]
    fn a_few_failures_of_a_small_share_suffice() {
        // 5 % of the flows, and all five failures: a version that refuses is seen by its fifth client.
        assert!(against_old(5, 5, 0, 95, 1.0, 1.0) > LN_BREACH);
        assert!(against_old(2, 100, 0, 1_900, 1.0, 1.0) < LN_BREACH, "two may be chance");
        assert!(against_share(10, 12, 0.05) > LN_BREACH);
        assert!(against_share(1, 1, 0.0) > LN_BREACH, "none is allowed");
    }

    #[test]
    fn what_is_allowed_is_allowed() {
        assert!(
            against_old(30, 1_000, 10, 1_000, 4.0, 1.0) < 0.0,
            "three times as many, four are allowed"
        );
        assert!(against_share(1, 10, 1.0) <= 0.0);
    }
}
