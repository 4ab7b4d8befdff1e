//! The API of Docker, at a unix socket.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bollard::models::EventMessage;
use bollard::query_parameters::{
    EventsOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::{Stream, StreamExt as _};
use thiserror::Error;
use tokio::time::timeout;

use super::signal::{self, Process};
use super::{CONTAINERS_MAX, Container, Occupant};

/// Where Docker listens unless told otherwise.
pub const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// How long one answer may take.
const ANSWER_SECONDS_MAX: u64 = 10;
/// The same for what is made or started, where nobody has more time.
pub(super) const MAKE_TIME: Duration = Duration::from_secs(ANSWER_SECONDS_MAX);
/// A container with much on its disk takes long to remove.
const REMOVE_TIME: Duration = Duration::from_secs(60);
/// How long the answer about one container may take: others wait for it.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Why Docker did not do it.
#[derive(Debug, Error)]
pub enum EngineError {
    /// Nobody answers.
    #[error("Docker at {socket}: {cause}; start it, or name its socket with --docker")]
    Absent {
        /// The socket.
        socket: PathBuf,
        /// What happened.
        cause: String,
    },
    /// It refused.
    #[error("Docker refused {doing}: {cause}")]
    Refused {
        /// What was asked for.
        doing: String,
        /// What it said.
        cause: String,
    },
}

/// What runs, and what of it an alias could have to do with.
#[derive(Debug)]
pub(super) struct Listing {
    /// The containers of interest by name, stopped ones too; at most [`CONTAINERS_MAX`].
    pub containers: Vec<Container>,
    /// Who has which address, of interest or not, by name; at most [`CONTAINERS_MAX`].
    pub occupants: Vec<Occupant>,
}

/// Something that happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The container's id.
    pub id: String,
    /// What happened: `start`, `kill`, `die` …
    pub action: String,
    /// The signal of a `kill`.
    pub signal: Option<u32>,
}

/// The longest grace of a container that is waited for; usual are ten seconds.
const STOP_MAX: Duration = Duration::from_secs(600);

/// The API.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(super) docker: Docker,
    socket: PathBuf,
    until: Option<Instant>,
}

impl Engine {
    /// Connects, and agrees on a version of the API.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn connect(socket: &Path) -> Result<Self, EngineError> {
        let absent = |error: bollard::errors::Error| EngineError::Absent {
            socket: socket.to_owned(),
            cause: said(&error),
        };
        let path = socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&path, ANSWER_SECONDS_MAX, API_DEFAULT_VERSION).map_err(absent)?;
        Ok(Self {
            docker: docker.negotiate_version().await.map_err(absent)?,
            socket: socket.to_owned(),
            until: None,
        })
    }

    /// Lets what takes long with large images and slow disks take all the time that a command has.
    #[must_use]
    pub fn until(mut self, deadline: Instant) -> Self {
        self.until = Some(deadline);
        self
    }

    /// The same for one such request; `least`: what cannot be left half done gets so long in any case.
    pub(super) fn patient(&self, least: Duration) -> Docker {
        let left = self
            .until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        self.docker.clone().with_timeout(left.max(least))
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn refused(doing: impl Into<String>) -> impl FnOnce(bollard::errors::Error) -> EngineError {
        let doing = doing.into();
        move |error| EngineError::Refused {
            doing,
            cause: said(&error),
        }
    }

    /// All containers that an alias could have to do with, stopped ones too, by name; at most [`CONTAINERS_MAX`].
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn containers(&self) -> Result<Vec<Container>, EngineError> {
        Ok(self.listing().await?.containers)
    }

    pub(super) async fn listing(&self) -> Result<Listing, EngineError> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let listed = self.docker.list_containers(Some(options)).await;
        let listed = listed.map_err(Self::refused("a list of the containers"))?;
        let mut occupants: Vec<Occupant> = listed.iter().filter_map(Occupant::read).collect();
        occupants.sort_by(|a, b| a.name.cmp(&b.name));
        occupants.truncate(CONTAINERS_MAX);
        let mut containers: Vec<Container> = listed
            .into_iter()
            .filter_map(Container::read)
            .filter(Container::is_of_interest)
            .collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        containers.truncate(CONTAINERS_MAX);
        Ok(Listing { containers, occupants })
    }

    /// The process of a running container; `None`: it does not run, or Docker does not say. One that Docker has trouble with
    /// must not keep the others from being seen, so that is no error; the next listing asks again.
    pub(super) async fn process(&self, id: &str) -> Option<Process> {
        let inspected = self.docker.inspect_container(id, None);
        let inspected = timeout(INSPECT_TIMEOUT, inspected).await.ok()?.ok()?;
        let pid = inspected.state.and_then(|state| state.pid);
        let stop_signal = inspected.config.and_then(|config| config.stop_signal);
        Some(Process {
            pid: pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0)?,
            stop_signal: stop_signal.as_deref().and_then(signal::number),
        })
    }

    /// What happens to containers from now on.
    pub fn events(&self) -> impl Stream<Item = Result<Event, EngineError>> + use<> {
        let filters = std::collections::HashMap::from([("type", vec!["container"])]);
        let options = EventsOptionsBuilder::new().filters(&filters).build();
        let events = self.docker.events(Some(options));
        events.filter_map(|event| std::future::ready(event.map(read).map_err(Self::refused("its events")).transpose()))
    }

    /// Stops a container: its own signal, then, after `seconds`, SIGKILL.
    ///
    /// # Errors
    /// When it does not do it.
    pub async fn stop(&self, container: &Container, seconds: Option<u32>) -> Result<(), EngineError> {
        let mut options = StopContainerOptionsBuilder::new();
        if let Some(seconds) = seconds.and_then(|seconds| i32::try_from(seconds).ok()) {
            options = options.t(seconds);
        }
        // A process that does not hear its signal takes all the grace that its container has.
        let patient = self.docker.clone().with_timeout(STOP_MAX);
        let stopped = patient.stop_container(&container.id, Some(options.build())).await;
        stopped.map_err(Self::refused(format!("to stop {}", container.name)))
    }

    /// Removes a container, running or not. Its anonymous volumes stay: nobody asked for the end of what it wrote.
    ///
    /// # Errors
    /// When it does not do it.
    pub async fn remove(&self, container: &Container) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(false).build();
        let removed = self
            .patient(REMOVE_TIME)
            .remove_container(&container.id, Some(options))
            .await;
        removed.map_err(Self::refused(format!("to remove {}", container.name)))
    }
}

fn read(message: EventMessage) -> Option<Event> {
    let actor = message.actor?;
    let attributes = actor.attributes.unwrap_or_default();
    Some(Event {
        id: actor.id?,
        action: message.action?,
        signal: attributes.get("signal").and_then(|signal| signal.parse().ok()),
    })
}

/// The daemon's own words, where it said any.
pub(super) fn said(error: &bollard::errors::Error) -> String {
    match error {
        bollard::errors::Error::DockerResponseServerError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}
