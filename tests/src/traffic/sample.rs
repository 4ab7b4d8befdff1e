//! Shares, measured over many new connections.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::load::{REQUEST_LIMIT, ask_once};
use super::report::SampleReport;
use super::{Failure, Plan, SamplePlan};

/// A bound on the whole of a sample.
const SAMPLE_LIMIT: Duration = Duration::from_secs(120);

/// Opens the connections, each from another address, a bounded number at a time.
pub(super) async fn run(plan: &Plan, sample: &SamplePlan, stop: watch::Receiver<bool>) -> SampleReport {
    let began = Instant::now();
    let mut report = SampleReport {
        run: plan.run.clone(),
        ..SampleReport::default()
    };
    let mut running = JoinSet::new();
    for number in 0..u64::from(sample.connections) {
        if *stop.borrow() || began.elapsed() > SAMPLE_LIMIT {
            break;
        }
        if running.len() >= sample.concurrency.max(1) {
            count(&mut report, running.join_next().await);
        }
        let target = plan.targets[usize::try_from(number).unwrap_or(0) % plan.targets.len()];
        let source = plan.sources.pick(number, target);
        running.spawn(one(target, source, format!("{}-{number}", plan.run)));
        report.connections += 1;
    }
    while let Some(done) = running.join_next().await {
        count(&mut report, Some(done));
    }
    report.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    report
}

async fn one(target: SocketAddr, source: Option<IpAddr>, id: String) -> Result<String, Failure> {
    timeout(REQUEST_LIMIT, ask_once(target, source, &id, &mut None))
        .await
        .unwrap_or(Err(Failure::TimedOut))
}

fn count(report: &mut SampleReport, done: Option<Result<Result<String, Failure>, tokio::task::JoinError>>) {
    match done {
        Some(Ok(Ok(version))) => *report.answers.entry(version).or_default() += 1,
        Some(Ok(Err(failure))) => *report.failures.entry(failure.kind()).or_default() += 1,
        Some(Err(_)) => *report.failures.entry("panicked".to_owned()).or_default() += 1,
        None => {}
    }
}
