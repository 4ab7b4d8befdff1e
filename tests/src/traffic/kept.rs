//! A kept-alive connection: one task, its requests one after the other, never opened again.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::Failure;
use super::http::Connection;
use super::ledger::{Due, Ledger, On};
use super::load::REQUEST_LIMIT;
use super::report::{AnswerRun, KeptReport};
use crate::clock;

/// Requests that may wait for one connection.
const WAITING_MAX: usize = 1024;
/// A bound on what is remembered of one connection; more changes of version than any run has.
const RUNS_MAX: usize = 1000;

/// A connection's task, and the way to it.
pub(super) struct Kept {
    queue: mpsc::Sender<Due>,
    task: JoinHandle<KeptReport>,
}

impl Kept {
    /// Opens the connection and starts its task.
    pub async fn open(
        target: SocketAddr,
        source: Option<IpAddr>,
        run: Arc<str>,
        ledger: Arc<Ledger>,
    ) -> Result<Self, Failure> {
        let opened = timeout_at(Instant::now() + REQUEST_LIMIT, Connection::open(target, source));
        let connection = opened.await.map_err(|_| Failure::TimedOut)??;
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let report = KeptReport {
            local: connection.local(),
            target,
            answers: Vec::new(),
            ended: None,
        };
        let task = tokio::spawn(serve(connection, waiting, report, run, ledger));
        Ok(Self { queue, task })
    }

    /// Hands a request over; fails at once if too many wait.
    pub fn send(&self, due: Due) -> Result<(), Failure> {
        self.queue.try_send(due).map_err(|_| Failure::TooManyWaiting)
    }

    /// Ends the connection after what waits.
    pub async fn finish(self) -> KeptReport {
        drop(self.queue);
        self.task.await.expect("a connection's task does not panic")
    }
}

async fn serve(
    connection: Connection,
    mut waiting: mpsc::Receiver<Due>,
    mut report: KeptReport,
    run: Arc<str>,
    ledger: Arc<Ledger>,
) -> KeptReport {
    let mut alive = Some(connection);
    while let Some(due) = waiting.recv().await {
        let result = match &mut alive {
            Some(connection) => ask(connection, due, &run).await,
            None => Err(Failure::ConnectionGone),
        };
        match &result {
            Ok(version) => note(&mut report.answers, version),
            Err(failure) => {
                alive = None;
                report.ended.get_or_insert_with(|| failure.to_string());
            }
        }
        ledger.end(due, On::Kept, Instant::now(), result);
    }
    if let Some(connection) = alive {
        let closed = timeout_at(Instant::now() + REQUEST_LIMIT, connection.close()).await;
        if let Err(failure) = closed.unwrap_or(Err(Failure::TimedOut)) {
            report.ended = Some(format!("at its end: {failure}"));
        }
    }
    report
}

async fn ask(connection: &mut Connection, due: Due, run: &str) -> Result<String, Failure> {
    let id = format!("{run}-{}", due.number);
    timeout_at(due.at + REQUEST_LIMIT, connection.ask_version(&id, false))
        .await
        .unwrap_or(Err(Failure::TimedOut))
}

/// Appends an answer to the runs.
fn note(answers: &mut Vec<AnswerRun>, version: &str) {
    let now_us = clock::unix_us();
    if let Some(run) = answers.last_mut()
        && run.version == version
    {
        run.count += 1;
        run.last_us = now_us;
    } else if answers.len() < RUNS_MAX {
        answers.push(AnswerRun {
            version: version.to_owned(),
            count: 1,
            first_us: now_us,
            last_us: now_us,
        });
    }
}
