//! The open loop: what is due is sent.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::http::Connection;
use super::kept::Kept;
use super::ledger::{BUCKET_MS, Due, Ledger, On};
use super::report::{Event, LoadReport};
use super::transfer::{download, upload};
use super::{Failure, LoadPlan, Pings, Plan, pattern};
use crate::clock;

/// The longest time any request gets.
pub(super) const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// The pause between two UDP pings of one kind to one target.
const PING_PAUSE: Duration = Duration::from_millis(20);
/// Requests on fresh connections that may be in flight.
const FRESH_MAX: usize = 6000;

/// Runs a load until `stop` or its own end; `tell` takes the events.
pub(super) async fn run(
    plan: &Plan,
    load: &LoadPlan,
    mut stop: watch::Receiver<bool>,
    tell: fn(&Event),
) -> Result<LoadReport> {
    let ledger = Arc::new(Ledger::new(&plan.run, load));
    let run: Arc<str> = plan.run.as_str().into();
    let mut kept = Vec::with_capacity(load.kept_alive);
    for number in 0..load.kept_alive {
        let target = plan.targets[number % plan.targets.len()];
        let source = plan.sources.pick(1 + number as u64, target);
        let opened = Kept::open(target, source, Arc::clone(&run), Arc::clone(&ledger)).await;
        kept.push(opened.map_err(|failure| anyhow::anyhow!("kept-alive connection to {target}: {failure}"))?);
    }
    let transfer = |part: &str, at: usize| {
        let target = plan.targets[at % plan.targets.len()];
        (
            target,
            plan.sources.pick(40_000 + at as u64, target),
            format!("{run}-{part}"),
        )
    };
    let upload = load.upload.clone().map(|plan| {
        let (target, source, id) = transfer("upload", 0);
        tokio::spawn(upload(plan, target, source, id, stop.clone()))
    });
    let download = load.download.clone().map(|plan| {
        let (target, source, id) = transfer("download", 1);
        tokio::spawn(download(plan, target, source, id, stop.clone()))
    });
    let pings = load.pings.then(|| Pings::here(&plan.targets, PING_PAUSE)).transpose()?;
    tell(&Event::Ready);
    let ticks = tokio::spawn(tick(Arc::clone(&ledger), tell));
    let mut fresh = JoinSet::new();
    dispatch(plan, load, &kept, &mut fresh, &ledger, &mut stop).await;
    fresh.join_all().await;
    let mut kept_alive = Vec::with_capacity(kept.len());
    for connection in kept {
        kept_alive.push(connection.finish().await);
    }
    let mut report = ledger.report();
    report.kept_alive = kept_alive;
    if let Some(task) = upload {
        report.upload = Some(task.await.context("the upload's task")?);
    }
    if let Some(task) = download {
        report.download = Some(task.await.context("the download's task")?);
    }
    if let Some(pings) = pings {
        report.pings = pings.stop()?;
    }
    ticks.abort();
    Ok(report)
}

/// Sends each request at its due time until told to stop.
async fn dispatch(
    plan: &Plan,
    load: &LoadPlan,
    kept: &[Kept],
    fresh: &mut JoinSet<()>,
    ledger: &Arc<Ledger>,
    stop: &mut watch::Receiver<bool>,
) {
    let start = Instant::now();
    let all = u64::from(load.rate_per_s) * u64::from(load.seconds_max);
    for number in 0..all {
        let at = start + Duration::from_nanos(number * 1_000_000_000 / u64::from(load.rate_per_s));
        tokio::select! {
            biased;
            () = sleep_until(at) => {}
            _ = stop.wait_for(|&stop| stop) => return,
        }
        // A request already due is sent before the loop looks at `stop` again, so look here.
        if *stop.borrow() {
            return;
        }
        let due = Due { number, at };
        ledger.due();
        while fresh.try_join_next().is_some() {}
        let turn = usize::try_from(number / 2).unwrap_or(usize::MAX);
        if number % 2 == 1 && !kept.is_empty() {
            if let Err(failure) = kept[turn % kept.len()].send(due) {
                ledger.end(due, On::Kept, Instant::now(), Err(failure));
            }
        } else if fresh.len() >= FRESH_MAX {
            ledger.end(due, On::Fresh, Instant::now(), Err(Failure::TooManyWaiting));
        } else {
            let target = plan.targets[turn % plan.targets.len()];
            let source = plan.sources.pick(pattern::mix(number), target);
            fresh.spawn(one_fresh(
                target,
                source,
                format!("{}-{number}", plan.run),
                due,
                Arc::clone(ledger),
            ));
        }
    }
}

async fn one_fresh(target: SocketAddr, source: Option<IpAddr>, id: String, due: Due, ledger: Arc<Ledger>) {
    let (mut answered, began_us) = (None, clock::unix_us());
    let limit = due.at + REQUEST_LIMIT;
    let result = timeout_at(limit, ask_once(target, source, &id, &mut answered)).await;
    let result = result.unwrap_or(Err(Failure::TimedOut));
    match &result {
        Ok(version) => ledger.fresh(began_us, version),
        Err(_) => ledger.fresh_failed(began_us),
    }
    ledger.end(due, On::Fresh, answered.unwrap_or_else(Instant::now), result);
}

/// One request on a connection of its own, to the connection's very end.
pub(super) async fn ask_once(
    target: SocketAddr,
    source: Option<IpAddr>,
    id: &str,
    answered: &mut Option<Instant>,
) -> Result<String, Failure> {
    let mut connection = Connection::open(target, source).await?;
    let version = connection.ask_version(id, true).await?;
    *answered = Some(Instant::now());
    connection.read_end().await?;
    Ok(version)
}

/// Tells each bucket once it is whole.
async fn tick(ledger: Arc<Ledger>, tell: fn(&Event)) {
    let mut told_ms = 0;
    let mut interval = tokio::time::interval(Duration::from_millis(BUCKET_MS / 2));
    loop {
        interval.tick().await;
        if let Some(bucket) = ledger.last_whole_bucket()
            && bucket.at_ms > told_ms
        {
            told_ms = bucket.at_ms;
            tell(&Event::Tick(bucket));
        }
    }
}
