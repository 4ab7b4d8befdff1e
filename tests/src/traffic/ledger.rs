//! The account of a load: every request that came due, and the one way it ended.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::report::{Bucket, LatencyReport, LoadReport};
use super::{Failure, LoadPlan};
use crate::clock;

/// An answer later than this after its due time is late.
pub(super) const LATE_AFTER: Duration = Duration::from_secs(1);
/// How many failures are told one by one.
const SAMPLES_MAX: usize = 50;
/// The length of a bucket.
pub(super) const BUCKET_MS: u64 = 100;

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// Its number.
    pub number: u64,
    /// When it is to be sent.
    pub at: Instant,
}

/// What kind of connection a request used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    Fresh,
    Kept,
}

/// The account; shared by all requests.
#[derive(Debug)]
pub(super) struct Ledger {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    report: LoadReport,
    latencies_us: Vec<u32>,
    buckets_max: usize,
    began_ms: u64,
}

impl Ledger {
    pub fn new(run: &str, plan: &LoadPlan) -> Self {
        let began_us = clock::unix_us();
        let report = LoadReport {
            run: run.to_owned(),
            began_us,
            ..LoadReport::default()
        };
        // The last answers come up to a request's whole time after the last due time.
        let buckets_max = (plan.seconds_max as usize + 60) * 10;
        let inner = Inner {
            report,
            buckets_max,
            began_ms: began_us / 1000,
            ..Inner::default()
        };
        Self {
            inner: Mutex::new(inner),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request came due.
    pub fn due(&self) {
        self.lock().report.due += 1;
    }

    /// A request ended; `answered` is when its answer was whole.
    pub fn end(&self, due: Due, on: On, answered: Instant, result: Result<String, Failure>) {
        let mut inner = self.lock();
        let now_ms = clock::unix_us() / 1000;
        let latency = answered.saturating_duration_since(due.at);
        match result {
            Ok(version) => {
                let late = latency > LATE_AFTER;
                let bucket = inner.bucket(now_ms);
                bucket.late += u32::from(late);
                let by_version = if on == On::Fresh {
                    &mut bucket.fresh
                } else {
                    &mut bucket.kept
                };
                *by_version.entry(version.clone()).or_default() += 1;
                inner
                    .latencies_us
                    .push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
                *inner.report.answers.entry(version).or_default() += 1;
                let count = if late {
                    &mut inner.report.late
                } else {
                    &mut inner.report.ok
                };
                *count += 1;
            }
            Err(failure) => {
                inner.bucket(now_ms).failed += 1;
                let report = &mut inner.report;
                report.failed += 1;
                report.resets += u64::from(failure == Failure::Reset);
                *report.failures.entry(failure.kind()).or_default() += 1;
                if report.failure_samples.len() < SAMPLES_MAX {
                    let connection = if on == On::Fresh { "fresh" } else { "kept-alive" };
                    report.failure_samples.push(format!(
                        "{}-{} ({connection}, {} ms after it was due): {failure}",
                        report.run,
                        due.number,
                        latency.as_millis()
                    ));
                }
            }
        }
    }

    /// A fresh connection that was begun at `began_us` was answered by `version`.
    pub fn fresh(&self, began_us: u64, version: &str) {
        let mut inner = self.lock();
        let begun = inner.report.fresh_began_us.entry(version.to_owned()).or_default();
        begun.push(began_us);
    }

    /// A fresh connection that was begun at `began_us` was not answered.
    pub fn fresh_failed(&self, began_us: u64) {
        self.lock().report.fresh_failed_us.push(began_us);
    }

    /// The bucket before the current one, which changes no more.
    pub fn last_whole_bucket(&self) -> Option<Bucket> {
        let mut inner = self.lock();
        let before_ms = (clock::unix_us() / 1000).checked_sub(BUCKET_MS)?;
        (before_ms >= inner.began_ms).then(|| inner.bucket(before_ms).clone())
    }

    /// The report so far, to be completed with the connections and transfers.
    pub fn report(&self) -> LoadReport {
        let mut inner = self.lock();
        inner.latencies_us.sort_unstable();
        let mut report = inner.report.clone();
        report.latency = quantiles(&inner.latencies_us);
        report.ended_us = clock::unix_us();
        report
    }
}

impl Inner {
    fn bucket(&mut self, at_ms: u64) -> &mut Bucket {
        let number = usize::try_from(at_ms.saturating_sub(self.began_ms) / BUCKET_MS).unwrap_or(usize::MAX);
        let number = number.min(self.buckets_max - 1);
        while self.report.buckets.len() <= number {
            let at_ms = self.began_ms + self.report.buckets.len() as u64 * BUCKET_MS;
            self.report.buckets.push(Bucket {
                at_ms,
                fresh: BTreeMap::new(),
                kept: BTreeMap::new(),
                late: 0,
                failed: 0,
            });
        }
        &mut self.report.buckets[number]
    }
}

fn quantiles(sorted_us: &[u32]) -> LatencyReport {
    let at = |per_mille: usize| {
        let last = sorted_us.len().saturating_sub(1);
        sorted_us
            .get((sorted_us.len() * per_mille / 1000).min(last))
            .copied()
            .unwrap_or(0)
    };
    LatencyReport {
        p50_us: at(500),
        p99_us: at(990),
        p999_us: at(999),
        max_us: at(1000),
    }
}
