//! The verdict on a new version: from the figures of both sets in one step to "go on" or to a breach.
//!
//! Two ways lead to a breach. The evidence so far is overwhelming, whenever one looks (`evidence`). Or the step is over,
//! and a limit that somebody set is exceeded by what it counted.

use super::evidence::{LN_BREACH, against_old, against_share, float};
use super::later::{Later, later};
use crate::model::{Histogram, Limit, Metric, SetFigures, Unit};

/// Fewer flows than these say nothing at the end of a step about a limit in percent, ms or x.
pub const FLOWS_MIN: u64 = 20;

/// What both sets had in a step, of one alias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The set that gets the share.
    pub new: SetFigures,
    /// The set that gives it.
    pub old: SetFigures,
    /// Flows that the new set had established two seconds ago.
    pub new_waited: u64,
    /// The same of the old set.
    pub old_waited: u64,
    /// The old set's figures, ever, when the rollout began: what is compared with where the old set has no flows any more.
    pub past: SetFigures,
}

/// What is judged beside limits that are set: what nobody has to say.
#[derive(Clone, Copy, Debug)]
struct Rule {
    metric: Metric,
    /// Fewer failures are no breach, whatever the evidence.
    failures_min: u64,
    /// Fewer flows are none.
    flows_min: u64,
    /// The new set must fail by so much more of its flows.
    excess: f64,
}

const RULES: [Rule; 5] = [
    rule(Metric::Failed, 3, 3, 0.005),
    rule(Metric::Retransmitted, 5, 5, 0.02),
    rule(Metric::ServerResets, 5, 5, 0.01),
    rule(Metric::Unreplied, 10, 10, 0.1),
    rule(SLOW, 20, 50, 0.3),
];

/// Replies that took longer than 95 % of the old set's did.
const SLOW: Metric = Metric::FirstReply(950);
/// A reply within this is never slow.
const SLOW_US_MIN: u64 = 1_024;

/// Times of which the whole distribution is compared, not its slow end: see `later`.
const LATER: [Metric; 2] = [Metric::FirstReply(500), Metric::Answer(500)];

const fn rule(metric: Metric, failures_min: u64, flows_min: u64, excess: f64) -> Rule {
    Rule {
        metric,
        failures_min,
        flows_min,
        excess,
    }
}

/// What a step's figures say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// A breach, whenever one looks.
    pub now: Option<String>,
    /// A breach if this is the step's last look.
    pub at_end: Option<String>,
}

/// Judges one alias. A limit takes the place of the rule for what it measures.
#[must_use]
pub fn judge(window: &Window, limits: &[Limit]) -> Verdict {
    let named = |metric: Metric| limits.iter().any(|limit| same_kind(limit.metric, metric));
    let by_rule = RULES
        .iter()
        .filter(|rule| !named(rule.metric))
        .find_map(|rule| by_rule(window, *rule));
    let by_times = || {
        let metrics = LATER.iter().filter(|metric| !named(**metric));
        metrics
            .filter_map(|metric| Some((*metric, by_times(window, *metric)?)))
            .map(|(metric, found)| later_sentence(metric, found))
            .next()
    };
    let by_limit = || limits.iter().find_map(|limit| by_limit(window, *limit));
    Verdict {
        now: by_rule.or_else(by_times).or_else(by_limit),
        at_end: limits.iter().find_map(|limit| exceeded(window, *limit)),
    }
}

fn same_kind(a: Metric, b: Metric) -> bool {
    match (a, b) {
        (Metric::FirstReply(_), Metric::FirstReply(_)) | (Metric::Answer(_), Metric::Answer(_)) => true,
        _ => a == b,
    }
}

/// Failures and what they are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    failed: u64,
    of: u64,
}

impl Count {
    fn share(self) -> f64 {
        if self.of == 0 {
            0.0
        } else {
            float(self.failed) / float(self.of)
        }
    }
}

fn failed(figures: &SetFigures) -> u64 {
    figures.flows_refused + figures.flows_timed_out + figures.flows_reset_in_handshake
}

/// What a metric that counts flows has in one set's figures.
fn count(metric: Metric, figures: &SetFigures, waited: u64) -> Count {
    let ended = figures.flows_established + failed(figures);
    let established = figures.flows_established;
    let (failed, of) = match metric {
        Metric::Failed => (failed(figures), ended),
        Metric::Refused => (figures.flows_refused, ended),
        Metric::TimedOut => (figures.flows_timed_out, ended),
        Metric::Retransmitted => (figures.syns_retransmitted, figures.flows_opened),
        Metric::ServerResets => (figures.flows_reset_by_backend, established),
        Metric::ClientResets => (figures.flows_reset_by_client, established),
        Metric::Unreplied => (waited.saturating_sub(figures.latency.first_reply.count()), waited),
        Metric::FirstReply(_) | Metric::Answer(_) => (0, 0),
    };
    // Flows of an earlier step may end in this one.
    Count {
        failed,
        of: of.max(failed),
    }
}

const fn times(metric: Metric, figures: &SetFigures) -> &Histogram {
    match metric {
        Metric::Answer(_) => &figures.latency.answer,
        _ => &figures.latency.first_reply,
    }
}

/// Times in buckets that begin at this many microseconds or later.
fn slower(histogram: &Histogram, us: u64) -> Count {
    let late = histogram
        .buckets
        .iter()
        .enumerate()
        .filter(|(bucket, _)| Histogram::bounds_us(*bucket).0 >= us);
    Count {
        failed: late.map(|(_, count)| count).sum(),
        of: histogram.count(),
    }
}

/// The end of the bucket that the quantile lies in.
fn slow_us(histogram: &Histogram, permille: u16) -> Option<u64> {
    let at = histogram.quantile_us(permille)?;
    (0..histogram.buckets.len())
        .filter_map(|bucket| Histogram::bounds_us(bucket).1)
        .find(|end| *end >= at)
}

/// Both sets' counts by a rule, and what the old set had before the rollout.
fn counts(window: &Window, rule: Rule) -> Option<(Count, Count, Count)> {
    if !rule.metric.is_time() {
        let (new, old, past) = (&window.new, &window.old, &window.past);
        return Some((
            count(rule.metric, new, window.new_waited),
            count(rule.metric, old, window.old_waited),
            count(rule.metric, past, past.flows_established),
        ));
    }
    let (Metric::FirstReply(permille) | Metric::Answer(permille)) = rule.metric else {
        return None;
    };
    let (new, old, past) = (
        times(rule.metric, &window.new),
        times(rule.metric, &window.old),
        times(rule.metric, &window.past),
    );
    let known = if past.count() >= 100 { past } else { old };
    if known.count() < FLOWS_MIN {
        return None;
    }
    let us = slow_us(known, permille)?.max(SLOW_US_MIN);
    Some((slower(new, us), slower(old, us), slower(past, us)))
}

fn by_rule(window: &Window, rule: Rule) -> Option<String> {
    let (new, old, past) = counts(window, rule)?;
    if new.failed < rule.failures_min || new.of < rule.flows_min {
        return None;
    }
    // Both are moved by the load of the machine: only what happens at the same time can be compared.
    if old.of == 0 && (rule.metric.is_time() || rule.metric == Metric::Retransmitted) {
        return None;
    }
    let (evidence, reference) = if old.of > 0 {
        (
            against_old(new.failed, new.of, old.failed, old.of, 1.0, 1.0),
            old.share(),
        )
    } else {
        let allowed = allowed(past);
        (against_share(new.failed, new.of, allowed), allowed)
    };
    let is_breach = evidence >= LN_BREACH && new.share() >= reference + rule.excess;
    is_breach.then(|| sentence(rule.metric, new, old))
}

fn by_times(window: &Window, metric: Metric) -> Option<Later> {
    later(times(metric, &window.new), times(metric, &window.old))
}

fn later_sentence(metric: Metric, found: Later) -> String {
    let what = match metric {
        Metric::Answer(_) => "handshakes were answered late",
        _ => "replies were late",
    };
    let ms = |us: u64| format!("{}.{} ms", us / 1_000, us % 1_000 / 100);
    format!(
        "{}: {what}: {} of {} of the new set took {} or longer, and {} of {} of the old one (medians {} and {})",
        metric.name(),
        found.new_late,
        found.new,
        ms(found.edge_us),
        found.old_late,
        found.old,
        ms(found.new_median_us),
        ms(found.old_median_us),
    )
}

/// What the old set may have failed of, beside chance; without a past, half.
fn allowed(past: Count) -> f64 {
    if past.of < FLOWS_MIN {
        return 0.5;
    }
    let failed = float(past.failed);
    ((failed + 2.0 * failed.sqrt() + 3.0) / float(past.of)).clamp(0.01, 0.5)
}

fn sentence(metric: Metric, new: Count, old: Count) -> String {
    let old = if old.of > 0 {
        format!("the old one {} of {}", old.failed, old.of)
    } else {
        "the old one had no flows".to_owned()
    };
    let (what, of) = match metric {
        Metric::Failed => ("failed", "handshake(s)"),
        Metric::Refused => ("were refused:", "handshake(s)"),
        Metric::TimedOut => ("timed out:", "handshake(s)"),
        Metric::Retransmitted => ("were not answered at once:", "new flow(s)"),
        Metric::ServerResets => ("were reset by the backend:", "flow(s)"),
        Metric::ClientResets => ("were reset by the client:", "flow(s)"),
        Metric::Unreplied => ("were not replied to within two seconds:", "flow(s)"),
        Metric::FirstReply(_) | Metric::Answer(_) => ("were slow:", "repl(ies)"),
    };
    format!(
        "{}: {what} {} of {} {of} of the new set, {old}",
        metric.name(),
        new.failed,
        new.of
    )
}

fn exact(limit: Limit) -> f64 {
    float(limit.thousandths) / 1_000.0
}

/// The evidence so far that a limit is exceeded; of counts without a unit the count itself.
fn by_limit(window: &Window, limit: Limit) -> Option<String> {
    let new = count(limit.metric, &window.new, window.new_waited);
    let old = count(limit.metric, &window.old, window.old_waited);
    let evidence = match limit.unit {
        Unit::Count => return exceeded(window, limit),
        Unit::Percent => against_share(new.failed, new.of, exact(limit) / 100.0),
        Unit::Times if !limit.metric.is_time() => {
            against_old(new.failed, new.of, old.failed, old.of, exact(limit), 1.0)
        }
        Unit::Ms | Unit::Times => time_evidence(window, limit)?,
    };
    (evidence >= LN_BREACH).then(|| too_much(limit, window))
}

/// More of the times lie above the limit than may.
fn time_evidence(window: &Window, limit: Limit) -> Option<f64> {
    let (Metric::FirstReply(permille) | Metric::Answer(permille)) = limit.metric else {
        return None;
    };
    let us = time_limit_us(window, limit)?;
    let late = slower(times(limit.metric, &window.new), us);
    Some(against_share(late.failed, late.of, 1.0 - f64::from(permille) / 1_000.0))
}

/// The limit of a time in microseconds; `None`: the old set has too few flows to be compared with.
fn time_limit_us(window: &Window, limit: Limit) -> Option<u64> {
    let (Metric::FirstReply(permille) | Metric::Answer(permille)) = limit.metric else {
        return None;
    };
    if limit.unit == Unit::Ms {
        return Some(limit.thousandths);
    }
    let old = times(limit.metric, &window.old);
    if old.count() < FLOWS_MIN {
        return None;
    }
    Some(old.quantile_us(permille)?.saturating_mul(limit.thousandths) / 1_000)
}

/// The figures of the whole step exceed a limit.
fn exceeded(window: &Window, limit: Limit) -> Option<String> {
    let new = count(limit.metric, &window.new, window.new_waited);
    let old = count(limit.metric, &window.old, window.old_waited);
    let enough = new.of >= FLOWS_MIN;
    let is_over = match limit.unit {
        Unit::Count => new.failed.saturating_mul(1_000) > limit.thousandths,
        Unit::Percent => enough && new.share() * 100.0 > exact(limit),
        Unit::Times if !limit.metric.is_time() => {
            enough && old.of >= FLOWS_MIN && new.failed > 0 && new.share() > old.share() * exact(limit)
        }
        Unit::Ms | Unit::Times => {
            let (Metric::FirstReply(permille) | Metric::Answer(permille)) = limit.metric else {
                return None;
            };
            let new = times(limit.metric, &window.new);
            let at = new.quantile_us(permille)?;
            new.count() >= FLOWS_MIN && at > time_limit_us(window, limit)?
        }
    };
    is_over.then(|| too_much(limit, window))
}

fn too_much(limit: Limit, window: &Window) -> String {
    if limit.metric.is_time() {
        let (Metric::FirstReply(permille) | Metric::Answer(permille)) = limit.metric else {
            return limit.to_string();
        };
        let at = |figures: &SetFigures| {
            let at = times(limit.metric, figures).quantile_us(permille);
            at.map_or_else(
                || "none".to_owned(),
                |us| format!("{}.{:03} ms", us / 1_000, us % 1_000),
            )
        };
        return format!(
            "{limit}: {} at the new set, {} at the old one",
            at(&window.new),
            at(&window.old)
        );
    }
    let new = count(limit.metric, &window.new, window.new_waited);
    let old = count(limit.metric, &window.old, window.old_waited);
    format!("{limit}: {}", sentence(limit.metric, new, old))
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
