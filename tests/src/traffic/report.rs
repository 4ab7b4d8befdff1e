//! What the generator tells: events as JSON lines, the last one the report.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Ping;

/// A line of the generator's stdout.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The kept-alive connections are open and the transfers have begun.
    Ready,
    /// A tenth of a second has passed.
    Tick(Bucket),
    /// The run is over.
    Report(Report),
}

/// What ended within one tenth of a second.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Bucket {
    /// Its begin, milliseconds since 1970.
    pub at_ms: u64,
    /// Answers on fresh connections by version.
    pub fresh: BTreeMap<String, u32>,
    /// Answers on kept-alive connections by version.
    pub kept: BTreeMap<String, u32>,
    /// Of these answers: later than a second after they were due.
    pub late: u32,
    /// Requests that failed.
    pub failed: u32,
}

/// The end of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Report {
    /// Of [`super::Work::Load`].
    Load(Box<LoadReport>),
    /// Of [`super::Work::Sample`].
    Sample(SampleReport),
}

/// What became of every request of a load. `ok + late + failed = due`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LoadReport {
    /// What the ids begin with; they are `RUN-0` to `RUN-(due - 1)`.
    pub run: String,
    /// When the first request was due, microseconds since 1970.
    pub began_us: u64,
    /// When the last one had ended.
    pub ended_us: u64,
    /// Requests that came due.
    pub due: u64,
    /// Answered within a second of their due time.
    pub ok: u64,
    /// Answered, but later.
    pub late: u64,
    /// Not answered.
    pub failed: u64,
    /// Failures that were a reset from the other side.
    pub resets: u64,
    /// Failures by what went wrong.
    pub failures: BTreeMap<String, u64>,
    /// The first failures, one sentence each.
    pub failure_samples: Vec<String>,
    /// Answers by version.
    pub answers: BTreeMap<String, u64>,
    /// By the version that answered, when each fresh connection was begun, microseconds since 1970.
    pub fresh_began_us: BTreeMap<String, Vec<u64>>,
    /// When the fresh connections that were not answered were begun, microseconds since 1970.
    #[serde(default)]
    pub fresh_failed_us: Vec<u64>,
    /// Time from due to answered.
    pub latency: LatencyReport,
    /// Tenths of seconds, in order.
    pub buckets: Vec<Bucket>,
    /// The kept-alive connections.
    pub kept_alive: Vec<KeptReport>,
    /// The upload, if one was planned.
    pub upload: Option<TransferReport>,
    /// The download, if one was planned.
    pub download: Option<TransferReport>,
    /// The UDP pings, if planned.
    pub pings: Vec<Ping>,
}

impl LoadReport {
    /// Every request was answered, and in time.
    ///
    /// # Panics
    /// If one was not; with the first failures.
    #[track_caller]
    pub fn assert_nothing_lost(&self) {
        assert_eq!(
            (self.failed, self.late, self.ok),
            (0, 0, self.due),
            "failed, late, answered in time: {:?}",
            self.failure_samples
        );
    }
}

/// Quantiles of the time from due to answered.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct LatencyReport {
    /// Half are faster.
    pub p50_us: u32,
    /// 99 of 100 are faster.
    pub p99_us: u32,
    /// 999 of 1,000 are faster.
    pub p999_us: u32,
    /// The slowest.
    pub max_us: u32,
}

/// One kept-alive connection. It is never opened again: both addresses are the same from begin to end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptReport {
    /// Its own end.
    pub local: SocketAddr,
    /// The other end, as the client sees it.
    pub target: SocketAddr,
    /// Who answered, in order.
    pub answers: Vec<AnswerRun>,
    /// Why it ended early, if it did.
    pub ended: Option<String>,
}

/// Answers in a row by one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerRun {
    /// The version.
    pub version: String,
    /// How many.
    pub count: u64,
    /// When the first came.
    pub first_us: u64,
    /// When the last came.
    pub last_us: u64,
}

/// One long transfer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TransferReport {
    /// Its request's id.
    pub id: String,
    /// Its own end.
    pub local: Option<SocketAddr>,
    /// Who answered.
    pub version: Option<String>,
    /// Bytes that went through; of a download, all compared with the pattern.
    pub bytes: u64,
    /// When its first byte went.
    pub began_us: u64,
    /// When its last byte and its answer were in.
    pub ended_us: u64,
    /// What went wrong, if anything.
    pub failure: Option<String>,
}

/// Shares over new connections.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SampleReport {
    /// What the ids begin with; they are `RUN-0` to `RUN-(connections - 1)`.
    pub run: String,
    /// Connections tried.
    pub connections: u64,
    /// Answers by version.
    pub answers: BTreeMap<String, u64>,
    /// Failures by what went wrong.
    pub failures: BTreeMap<String, u64>,
    /// How long it took.
    pub took_ms: u64,
}
