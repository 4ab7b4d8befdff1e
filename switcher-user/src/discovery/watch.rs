//! Follows Docker: events as they come, a full listing now and then, and after each interruption.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::state::{State, probe_ports};
use super::{Container, Engine, EngineError, Snapshot, host};

/// How often everything is listed, whatever the events say.
const LIST_EVERY: Duration = Duration::from_secs(5);
/// How long events are gathered before what they are about is listed again.
const GATHER: Duration = Duration::from_millis(20);
/// How often containers that take no connection yet are asked again.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// How long one such question may take.
const PROBE_TIMEOUT: Duration = Duration::from_millis(300);
/// Most questions at a time.
const PROBES_MAX: usize = 64;
/// How long Docker is left alone after it did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// The task that follows Docker.
#[derive(Debug)]
pub struct Watcher {
    socket: PathBuf,
    /// Where clients come in.
    interfaces: Vec<String>,
    host: Vec<IpAddr>,
    state: State,
    listed: bool,
    publish: watch::Sender<Arc<Snapshot>>,
}

impl Watcher {
    /// A watcher, and where its snapshots come out. `interfaces`: where clients come in; containers on the host's own network are
    /// at their addresses.
    #[must_use]
    pub fn new(socket: PathBuf, interfaces: Vec<String>) -> (Self, watch::Receiver<Arc<Snapshot>>) {
        let first = Snapshot {
            socket: socket.clone(),
            absent: Some("not asked yet".to_owned()),
            ..Snapshot::default()
        };
        let (publish, snapshots) = watch::channel(Arc::new(first));
        let watcher = Self {
            socket,
            interfaces,
            host: Vec::new(),
            state: State::default(),
            listed: false,
            publish,
        };
        (watcher, snapshots)
    }

    /// Follows until nobody wants snapshots any more. Docker may come and go: what was seen last stays.
    pub async fn run(mut self) {
        while !self.publish.is_closed() {
            let ended = match Engine::connect(&self.socket).await {
                Ok(engine) => self.follow(&engine).await,
                Err(error) => Err(error),
            };
            let why = ended
                .err()
                .map_or_else(|| "it ended".to_owned(), |error| error.to_string());
            self.tell(Some(why));
            sleep(RETRY).await;
        }
    }

    async fn follow(&mut self, engine: &Engine) -> Result<(), EngineError> {
        // Events first: what happens while the list is made is not missed.
        let mut events = std::pin::pin!(engine.events());
        self.state.missed_events();
        self.list(engine).await?;
        let mut relist = interval(LIST_EVERY);
        let mut probe = interval(PROBE_EVERY);
        for timer in [&mut relist, &mut probe] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut dirty = false;
        loop {
            tokio::select! {
                biased;
                () = self.publish.closed() => return Ok(()),
                event = events.next() => match event {
                    Some(event) => {
                        if self.state.event(&event?, Instant::now()) {
                            self.tell(None);
                        }
                        dirty = true;
                    }
                    None => return Ok(()),
                },
                () = sleep(GATHER), if dirty => {
                    dirty = false;
                    self.list(engine).await?;
                }
                _ = relist.tick() => self.list(engine).await?,
                _ = probe.tick() => self.probe().await,
            }
        }
    }

    async fn list(&mut self, engine: &Engine) -> Result<(), EngineError> {
        let mut containers = engine.containers().await?;
        self.host = host::addresses(&self.interfaces);
        for container in &mut containers {
            container.place_on_host(&self.host);
        }
        self.state.list(containers, Instant::now());
        for id in self.state.without_pid() {
            if let Some(pid) = engine.pid(&id).await? {
                self.state.set_pid(id, pid);
            }
        }
        self.listed = true;
        self.tell(None);
        Ok(())
    }

    /// Asks those without a health check whether they take a connection.
    async fn probe(&mut self) {
        let waiting = self.state.to_probe();
        if waiting.is_empty() {
            return;
        }
        let answers = join_all(waiting.iter().take(PROBES_MAX).map(takes_connections)).await;
        let accepted: Vec<String> = waiting
            .into_iter()
            .zip(answers)
            .filter(|(_, answer)| *answer)
            .map(|(container, _)| container.id)
            .collect();
        if accepted.is_empty() {
            return;
        }
        for id in accepted {
            self.state.accepted(id);
        }
        self.tell(None);
    }

    fn tell(&self, absent: Option<String>) {
        let snapshot = Snapshot {
            socket: self.socket.clone(),
            listed: self.listed,
            absent,
            host: self.host.clone(),
            containers: self.state.seen(),
        };
        self.publish.send_if_modified(|last| {
            let changed = **last != snapshot;
            if changed {
                *last = Arc::new(snapshot);
            }
            changed
        });
    }
}

/// True where one of its ports takes one: an image may expose ports that nobody uses.
async fn takes_connections(container: &Container) -> bool {
    let ports = probe_ports(container);
    let places = container
        .addresses
        .iter()
        .flat_map(|address| ports.iter().map(|port| SocketAddr::new(address.address, *port)));
    let answers = join_all(
        places.map(|place| async move { matches!(timeout(PROBE_TIMEOUT, TcpStream::connect(place)).await, Ok(Ok(_))) }),
    );
    answers.await.into_iter().any(|answer| answer)
}
