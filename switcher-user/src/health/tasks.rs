//! The tasks that ask: one a backend, a bounded number of questions at the same time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::probe::ask;
use crate::model::HealthSpec;

/// Questions at the same time, of all backends.
const ASKED_MAX: usize = 64;
/// Answers that wait to be read; the tasks wait too.
const REPORTS_MAX: usize = 64;

/// Who is asked, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Where the backend is.
    pub address: SocketAddr,
    /// The check of its set.
    pub spec: HealthSpec,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Number of the backend.
    pub backend: u32,
    /// The answer; the error is a part of a sentence.
    pub answer: Result<(), String>,
}

/// All tasks.
#[derive(Debug)]
pub struct Probers {
    tasks: BTreeMap<u32, (Asked, Task)>,
    slots: Arc<Semaphore>,
    reports: mpsc::Sender<Report>,
    inbox: mpsc::Receiver<Report>,
}

#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Default for Probers {
    fn default() -> Self {
        let (reports, inbox) = mpsc::channel(REPORTS_MAX);
        Self {
            tasks: BTreeMap::new(),
            slots: Arc::new(Semaphore::new(ASKED_MAX)),
            reports,
            inbox,
        }
    }
}

impl Probers {
    /// Asks these backends, by their numbers, and no others.
    pub fn ask(&mut self, wanted: BTreeMap<u32, Asked>) {
        self.tasks
            .retain(|backend, (asked, _)| wanted.get(backend) == Some(asked));
        for (backend, asked) in wanted {
            if self.tasks.contains_key(&backend) {
                continue;
            }
            let task = tokio::spawn(keep_asking(
                backend,
                asked.clone(),
                Arc::clone(&self.slots),
                self.reports.clone(),
            ));
            self.tasks.insert(backend, (asked, Task(task)));
        }
    }

    /// The check that a backend is asked by.
    #[must_use]
    pub fn spec(&self, backend: u32) -> Option<&HealthSpec> {
        self.tasks.get(&backend).map(|(asked, _)| &asked.spec)
    }

    /// The next answer.
    pub async fn next(&mut self) -> Option<Report> {
        self.inbox.recv().await
    }
}

async fn keep_asking(backend: u32, asked: Asked, slots: Arc<Semaphore>, reports: mpsc::Sender<Report>) {
    let Asked { address, spec } = asked;
    loop {
        let answer = {
            let Ok(_slot) = slots.acquire().await else { return };
            ask(&spec.probe, address, Duration::from_millis(spec.timeout_ms)).await
        };
        if reports.send(Report { backend, answer }).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(spec.interval_ms)).await;
    }
}
