//! Long transfers, held back so that they span a switch; every byte is compared.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::http::Connection;
use super::report::TransferReport;
use super::{Failure, TransferPlan, pattern};
use crate::clock;

const CHUNK: usize = 16 * 1024;
/// A transfer in which nothing moves for this long has failed.
const STALL_LIMIT: Duration = Duration::from_secs(20);

/// PUTs the pattern; whoever stored it compares it.
pub(super) async fn upload(
    plan: TransferPlan,
    target: SocketAddr,
    source: Option<IpAddr>,
    id: String,
    mut stop: watch::Receiver<bool>,
) -> TransferReport {
    let mut report = begin(id);
    let result = put(&plan, target, source, &mut report, &mut stop).await;
    end(report, result)
}

/// GETs the pattern and compares it.
pub(super) async fn download(
    plan: TransferPlan,
    target: SocketAddr,
    source: Option<IpAddr>,
    id: String,
    mut stop: watch::Receiver<bool>,
) -> TransferReport {
    let mut report = begin(id);
    let result = get(&plan, target, source, &mut report, &mut stop).await;
    end(report, result)
}

fn begin(id: String) -> TransferReport {
    let began_us = clock::unix_us();
    TransferReport {
        id,
        local: None,
        version: None,
        bytes: 0,
        began_us,
        ended_us: 0,
        failure: None,
    }
}

fn end(mut report: TransferReport, result: Result<(), Failure>) -> TransferReport {
    report.ended_us = clock::unix_us();
    report.failure = result.err().map(|failure| failure.to_string());
    report
}

/// Connects and sends a request's head; `more`: whole header lines.
async fn ask(
    what: &str,
    more: &str,
    target: SocketAddr,
    source: Option<IpAddr>,
    report: &mut TransferReport,
) -> Result<Connection, Failure> {
    let mut connection = stalled(Connection::open(target, source)).await?;
    report.local = Some(connection.local());
    let head = format!(
        "{what} HTTP/1.1\r\nHost: lab\r\nX-Request-Id: {}\r\n{more}Connection: close\r\n\r\n",
        report.id
    );
    connection.send(head.as_bytes()).await?;
    Ok(connection)
}

async fn put(
    plan: &TransferPlan,
    target: SocketAddr,
    source: Option<IpAddr>,
    report: &mut TransferReport,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), Failure> {
    let more = format!("Content-Length: {}\r\n", plan.bytes);
    let mut connection = ask(&format!("PUT {}", plan.path), &more, target, source, report).await?;
    let start = Instant::now();
    let mut chunk = vec![0; CHUNK];
    while report.bytes < plan.bytes {
        let length = usize::try_from(plan.bytes - report.bytes).unwrap_or(CHUNK).min(CHUNK);
        pattern::fill(plan.seed, report.bytes, &mut chunk[..length]);
        stalled(connection.send(&chunk[..length])).await?;
        report.bytes += length as u64;
        hold_back(plan, start, report.bytes, stop).await;
    }
    let head = stalled(connection.read_head()).await?;
    report.version = Some(head.version);
    if head.status == 201 {
        Ok(())
    } else {
        Err(Failure::WrongAnswer(format!("status {}", head.status)))
    }
}

async fn get(
    plan: &TransferPlan,
    target: SocketAddr,
    source: Option<IpAddr>,
    report: &mut TransferReport,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), Failure> {
    let mut connection = ask(&format!("GET {}", plan.path), "", target, source, report).await?;
    let head = stalled(connection.read_head()).await?;
    report.version = Some(head.version);
    if head.status != 200 || head.content_length != plan.bytes {
        return Err(Failure::WrongAnswer(format!(
            "status {}, {} bytes",
            head.status, head.content_length
        )));
    }
    let start = Instant::now();
    let mut chunk = vec![0; CHUNK];
    while report.bytes < plan.bytes {
        let most = usize::try_from(plan.bytes - report.bytes).unwrap_or(CHUNK).min(CHUNK);
        let length = stalled(connection.read_some(&mut chunk[..most])).await?;
        if let Some(at) = pattern::first_difference(plan.seed, report.bytes, &chunk[..length]) {
            let at = report.bytes + at as u64;
            return Err(Failure::WrongAnswer(format!("byte {at} is not the one that was sent")));
        }
        report.bytes += length as u64;
        hold_back(plan, start, report.bytes, stop).await;
    }
    stalled(connection.read_end()).await
}

/// Waits until `done` bytes are due at the plan's pace; not at all once the load ends.
async fn hold_back(plan: &TransferPlan, start: Instant, done: u64, stop: &mut watch::Receiver<bool>) {
    let due_us = done.saturating_mul(1_000_000) / plan.pace_bytes_per_s.max(1);
    tokio::select! {
        () = sleep_until(start + Duration::from_micros(due_us)) => {}
        _ = stop.wait_for(|&stop| stop) => {}
    }
}

async fn stalled<T>(step: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(STALL_LIMIT, step).await.unwrap_or(Err(Failure::TimedOut))
}
