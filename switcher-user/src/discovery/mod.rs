//! Containers: what Docker (or Podman, by the same API) runs, which of them may serve, and where they are.
//!
//! [`Watcher`] follows the events and hands out snapshots; what it saw last stays when Docker goes away. [`Engine`] is the
//! API itself, which `switcher compose` uses too.

mod container;
mod engine;
mod host;
mod interest;
mod make;
mod occupant;
mod signal;
mod state;
mod watch;

pub use container::{Address, Container, Health, Readiness};
pub use engine::{DOCKER_SOCKET, Engine, EngineError, Event};
pub use interest::{Interest, PORTS_ASKED_MAX};
pub use occupant::Occupant;
pub use state::{LEAVING_FOR, Seen, Snapshot};
pub use watch::Watcher;

/// Label: the alias that a container serves.
pub const LABEL_ALIAS: &str = "switcher.alias";
/// Label: the set that it belongs to.
pub const LABEL_SET: &str = "switcher.set";
/// Label: the port where it serves.
pub const LABEL_PORT: &str = "switcher.port";
/// Label: names that the agent answers to this container, as `NAME=alias/ALIAS` or `NAME=service/SERVICE` of its project,
/// blanks between them.
pub const LABEL_LINKS: &str = "switcher.links";
/// Before an alias there.
pub const LINK_ALIAS: &str = "alias/";
/// Before a service there.
pub const LINK_SERVICE: &str = "service/";
/// Label of compose: the project.
pub const LABEL_PROJECT: &str = "com.docker.compose.project";
/// Label of compose: the service.
pub const LABEL_SERVICE: &str = "com.docker.compose.service";
/// Label of compose: which container of the service.
pub const LABEL_NUMBER: &str = "com.docker.compose.container-number";
/// Label of compose: `True` at what `docker compose run` made, which serves nobody.
pub const LABEL_ONEOFF: &str = "com.docker.compose.oneoff";
/// Label of compose: what the container was made of.
pub const LABEL_HASH: &str = "com.docker.compose.config-hash";
/// Label of compose: what a volume is called in the files.
pub const LABEL_VOLUME: &str = "com.docker.compose.volume";
/// Most containers that are looked at; more are left out, and counted.
pub const CONTAINERS_MAX: usize = 4_096;
