//! The agent's own logic against a recording kernel and host. That the real ones do the same is shown end to end.

mod addresses;
mod changes;
pub(super) mod fakes;
mod full_disk;
mod health;
mod leaving;
mod lifecycle;
mod recall;
mod rollouts;
mod upgrades;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};

use self::fakes::{Fake, FakeHost};
use super::owner::Owner;
use super::start::Beside;
use crate::api::{
    AliasPut, ApiError, ApplyRequest, ChangesDocument, Command, Envelope, ErrorCode, Progress, Reply, SetPut,
    SplitRequest, StatusDocument, UpgradeRequest,
};
use crate::model::{AliasName, Caller, PathPolicy, Receipt, SetName};
use crate::plan::Desired;
use crate::store::Store;

const LONG: Duration = Duration::from_secs(60);

/// A running agent.
struct Agent {
    kernel: Fake,
    host: FakeHost,
    directory: TempDir,
    commands: mpsc::Sender<Envelope>,
    _stop: oneshot::Sender<()>,
}

impl Agent {
    async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap(), Fake::default(), FakeHost::default()).await
    }

    async fn start_in(directory: TempDir, kernel: Fake, host: FakeHost) -> Self {
        Self::start_at(directory, kernel, host, &[], Beside::default()).await
    }

    async fn start_at(directory: TempDir, kernel: Fake, host: FakeHost, edges: &[&str], beside: Beside) -> Self {
        let edges: Vec<String> = edges.iter().map(ToString::to_string).collect();
        let store = Store::open(directory.path()).unwrap();
        let desired = store.load().unwrap();
        kernel.watch_file(directory.path().join("desired.json"));
        host.watch_record(directory.path().join("addresses.json"));
        let owner = Owner::start(kernel.clone(), host.clone(), store, desired, &edges, beside)
            .await
            .unwrap();
        let (commands, inbox) = mpsc::channel(8);
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(owner.run(inbox, stopped));
        Self {
            kernel,
            host,
            directory,
            commands,
            _stop: stop,
        }
    }

    /// One with alias `web`, sets `v1` (which has everything) and `v2`.
    async fn with_web() -> Self {
        let agent = Self::start().await;
        agent.put_alias("web", 80).await.unwrap();
        agent.put_set("web", "v1", &["10.1.0.2:8080"]).await.unwrap();
        agent.put_set("web", "v2", &["10.1.1.2:8080"]).await.unwrap();
        agent.split("web", &[("v1", 100)]).await.unwrap();
        agent
    }

    async fn ask_within(&self, command: Command, timeout: Duration) -> Result<Reply, ApiError> {
        let (reply, answer) = oneshot::channel();
        let started = Instant::now();
        let caller = Caller {
            uid: 1_000,
            pid: Some(7),
        };
        let envelope = Envelope {
            command,
            caller,
            started,
            deadline: started + timeout,
            reply,
        };
        self.commands.send(envelope).await.unwrap();
        answer.await.unwrap()
    }

    async fn ask(&self, command: Command) -> Result<Reply, ApiError> {
        self.ask_within(command, LONG).await
    }

    async fn changes(&self, command: Command) -> Result<ChangesDocument, ApiError> {
        match self.ask(command).await? {
            Reply::Changes(document) => Ok(*document),
            other => panic!("no changes: {other:?}"),
        }
    }

    async fn put_alias(&self, alias: &str, port: u16) -> Result<ChangesDocument, ApiError> {
        let listen = vec![format!("198.51.100.10:{port}/tcp").parse().unwrap()];
        self.changes(Command::AliasPut(
            alias.parse().unwrap(),
            AliasPut {
                listen,
                path: PathPolicy::Auto,
                udp: crate::model::UdpPolicy::Stay,
                shield: false,
                add_addresses: false,
                force: false,
            },
        ))
        .await
    }

    async fn put_set(&self, alias: &str, set: &str, backends: &[&str]) -> Result<ChangesDocument, ApiError> {
        let backends = backends.iter().map(|backend| backend.parse().unwrap()).collect();
        self.changes(Command::SetPut(
            alias.parse().unwrap(),
            set.parse().unwrap(),
            SetPut {
                backends,
                health: None,
                containers: None,
            },
        ))
        .await
    }

    async fn split(&self, alias: &str, weights: &[(&str, i64)]) -> Result<Receipt, ApiError> {
        let weights: BTreeMap<_, _> = weights
            .iter()
            .map(|(set, weight)| (set.parse().unwrap(), (*weight).try_into().unwrap()))
            .collect();
        self.receipt(Command::Split(alias.parse().unwrap(), SplitRequest { weights }))
            .await
    }

    async fn rollback(&self, alias: &str) -> Result<Receipt, ApiError> {
        self.receipt(Command::Rollback(alias.parse().unwrap())).await
    }

    async fn receipt(&self, command: Command) -> Result<Receipt, ApiError> {
        match self.ask(command).await? {
            Reply::Receipt(receipt) => Ok(*receipt),
            other => panic!("no receipt: {other:?}"),
        }
    }

    async fn apply(&self, yaml: &str, dry_run: bool, prune: bool) -> Result<ChangesDocument, ApiError> {
        let spec = crate::config::parse(yaml, "stack.yaml").unwrap().spec;
        self.changes(Command::Apply(Box::new(ApplyRequest {
            spec,
            dry_run,
            prune,
            force: false,
            take_over: false,
            places: BTreeMap::new(),
        })))
        .await
    }

    async fn upgrade(
        &self,
        request: &UpgradeRequest,
        timeout: Duration,
    ) -> Result<watch::Receiver<Progress>, ApiError> {
        match self.ask_within(Command::Upgrade(request.clone()), timeout).await? {
            Reply::Progress(progress) => Ok(progress),
            other => panic!("no progress: {other:?}"),
        }
    }

    async fn newest_receipt(&self) -> Receipt {
        let Reply::Receipts(list) = self.ask(Command::Receipts).await.unwrap() else {
            panic!("no list")
        };
        self.receipt(Command::Receipt(list.receipts[0].id)).await.unwrap()
    }

    async fn status(&self) -> StatusDocument {
        match self.ask(Command::Status(None)).await.unwrap() {
            Reply::Status(status) => *status,
            other => panic!("no status: {other:?}"),
        }
    }

    fn on_disk(&self) -> Desired {
        on_disk(&self.directory)
    }

    /// Stops it as SIGTERM would, and waits until it has let go of its files.
    async fn end(self) -> (Fake, FakeHost, TempDir) {
        let Self {
            kernel,
            host,
            directory,
            commands,
            _stop,
        } = self;
        drop(_stop);
        commands.closed().await;
        let deadline = Instant::now() + LONG;
        while Store::open(directory.path()).is_err() {
            assert!(Instant::now() < deadline, "it lets go");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (kernel, host, directory)
    }
}

fn on_disk(directory: &TempDir) -> Desired {
    serde_json::from_slice(&std::fs::read(directory.path().join("desired.json")).unwrap()).unwrap()
}

fn upgrade(to: &str, drain_timeout_ms: u64) -> UpgradeRequest {
    UpgradeRequest {
        aliases: vec![alias("web")],
        to: to.parse().unwrap(),
        from: None,
        drain_timeout_ms,
        rollout: crate::model::RolloutOptions::default(),
    }
}

fn alias(name: &str) -> AliasName {
    name.parse().unwrap()
}

fn set(name: &str) -> SetName {
    name.parse().unwrap()
}

/// Waits for the end of an upgrade.
async fn finished(mut progress: watch::Receiver<Progress>) -> Receipt {
    let end = progress.wait_for(|progress| matches!(progress, Progress::Finished { .. }));
    let end = tokio::time::timeout(LONG, end).await.unwrap().unwrap().clone();
    match end {
        Progress::Finished { receipt, .. } => *receipt,
        Progress::Checking { .. }
        | Progress::Refused { .. }
        | Progress::Observing { .. }
        | Progress::Draining { .. }
        | Progress::StillRunning { .. } => {
            unreachable!("it has finished")
        }
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, ApiError>, code: ErrorCode, words: &[&str]) {
    let error = answer.unwrap_err();
    assert_eq!(error.code, code, "{error}");
    for word in words {
        assert!(error.message.contains(word), "'{word}' is not in: {error}");
    }
}
