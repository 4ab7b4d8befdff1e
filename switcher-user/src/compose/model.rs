//! What compose files ask for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use super::attached::{Joined, Linked, Logging, Mount, Shared};
use crate::config::Location;
use crate::model::{AliasName, Protocol, SetName, StackName};

/// The name of a service; behind an alias it is the name of a set, so the same rule holds.
pub type ServiceName = SetName;

/// Most containers of one service.
pub const SCALE_MAX: u32 = 256;

/// How a file is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Each key at the top is a service; containers share Docker's `bridge` network.
    #[default]
    First,
    /// `services:`; containers share a network of the project's own.
    Services,
}

/// Everything that the files ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Project {
    /// What `name:` says.
    pub name: Option<StackName>,
    /// How the files are laid out; all are alike.
    pub form: Option<Form>,
    /// What runs in containers.
    pub services: BTreeMap<ServiceName, Service>,
    /// What is switched in the kernel.
    pub aliases: BTreeMap<AliasName, AliasService>,
    /// Networks that services may name.
    pub networks: BTreeMap<String, Shared>,
    /// Volumes that services may name.
    pub volumes: BTreeMap<String, Shared>,
    /// What was read and has no effect here, as sentences.
    pub warnings: Vec<String>,
    /// Services that none of the active profiles runs.
    pub(super) inactive: BTreeMap<ServiceName, Vec<String>>,
    /// Where each service (no key), and its `links` and `ports` stand.
    pub(super) origins: BTreeMap<(String, String), Origin>,
}

/// Where something stands: file, field, place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub file: String,
    pub path: String,
    pub place: Location,
}

/// A link as it is written, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The service or alias.
    pub target: String,
    /// The name it is known by inside the container; empty: its own.
    pub known_as: String,
    pub origin: Origin,
}

/// A port of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// Its number.
    pub number: NonZeroU16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// One line of `ports`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The address of the host; `None`: all of them.
    pub address: Option<IpAddr>,
    /// The port of the host; `None`: not named.
    pub published: Option<NonZeroU16>,
    /// The port of the container.
    pub target: Port,
}

/// A service that is an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasService {
    /// Which of the two it is.
    pub kind: AliasKind,
    /// Where it is published; never empty for a balancer.
    pub ports: Vec<Published>,
    /// The services behind it, each once, never empty.
    pub links: Vec<ServiceName>,
    pub(super) written: Vec<Link>,
}

/// The images that make an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AliasKind {
    /// `rancher/dns-service`: a name; it answers at the ports that the linked services expose.
    Dns,
    /// `rancher/load-balancer-service`: published on its ports.
    Balancer,
    /// `rancher/lb-service-haproxy`: the same; its `port_rules` say what is behind it.
    RuledBalancer,
}

impl AliasKind {
    /// The image's name.
    #[must_use]
    pub const fn image(self) -> &'static str {
        match self {
            Self::Dns => "rancher/dns-service",
            Self::Balancer => "rancher/load-balancer-service",
            Self::RuledBalancer => "rancher/lb-service-haproxy",
        }
    }

    /// Which one an image makes, whatever its registry's name, tag and digest.
    #[must_use]
    pub fn of_image(image: &str) -> Option<Self> {
        let image = image.split_once('@').map_or(image, |(name, _)| name);
        let image = ["docker.io/", "index.docker.io/"]
            .iter()
            .find_map(|registry| image.strip_prefix(registry))
            .unwrap_or(image);
        let name = image.split_once(':').map_or(image, |(name, _)| name);
        [Self::Dns, Self::Balancer, Self::RuledBalancer]
            .into_iter()
            .find(|kind| kind.image() == name)
    }
}

/// When Docker starts a container again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// Whenever it has ended.
    Always,
    /// When it failed, at most so often (0: no limit).
    OnFailure(u32),
    /// Whenever it has ended, unless it was stopped.
    UnlessStopped,
}

/// How Docker finds out whether a container is healthy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Healthcheck {
    /// The command, as Docker takes it: `["CMD-SHELL", "…"]`; `["NONE"]` switches the image's own off.
    pub test: Vec<String>,
    /// Between two checks.
    pub interval: Option<Duration>,
    /// Of one check.
    pub timeout: Option<Duration>,
    /// How long failures do not count after the start.
    pub start_period: Option<Duration>,
    /// Failures in a row until it is unhealthy.
    pub retries: Option<u32>,
}

/// A service that runs in containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// The image.
    pub image: String,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Replaces the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Environment; `None`: nothing, as it is not set where the command runs.
    pub environment: BTreeMap<String, Option<String>>,
    /// Labels of its containers.
    pub labels: BTreeMap<String, String>,
    /// Published ports.
    pub ports: Vec<Published>,
    /// Exposed ports.
    pub expose: Vec<Port>,
    /// Containers that run.
    pub scale: u32,
    /// When a container is started again.
    pub restart: Restart,
    /// A terminal is allocated.
    pub tty: bool,
    /// Standard input stays open.
    pub stdin_open: bool,
    /// The health check; `None`: the image's own.
    pub healthcheck: Option<Healthcheck>,
    /// `host`, `bridge` or `none`; `None`: the project's own.
    pub network_mode: Option<String>,
    /// Networks; empty: the project's own.
    pub networks: Vec<Joined>,
    /// Mounts.
    pub volumes: Vec<Mount>,
    /// Folders in memory: `TARGET[:OPTIONS]`.
    pub tmpfs: Vec<String>,
    /// A process that reaps others is the first one.
    pub init: Option<bool>,
    /// Size of /dev/shm.
    pub shm_bytes: Option<i64>,
    /// Most memory.
    pub memory_bytes: Option<i64>,
    /// The container's own files are not written to.
    pub read_only: bool,
    /// It has all rights of the host.
    pub privileged: bool,
    /// Where its output goes; `None`: as the daemon has it.
    pub logging: Option<Logging>,
    /// User of the process.
    pub user: Option<String>,
    /// Where the process starts.
    pub working_dir: Option<String>,
    /// Host name inside.
    pub hostname: Option<String>,
    /// Signal that ends it.
    pub stop_signal: Option<String>,
    /// How long it may take to end.
    pub stop_grace_period: Option<Duration>,
    /// Capabilities that are added.
    pub cap_add: Vec<String>,
    /// Capabilities that are taken away.
    pub cap_drop: Vec<String>,
    /// Resolvers, before Switcher's own.
    pub dns: Vec<String>,
    /// Lines of /etc/hosts: `NAME:ADDRESS`.
    pub extra_hosts: Vec<String>,
    /// What is started before it.
    pub after: Vec<ServiceName>,
    /// Its links.
    pub links: Vec<Linked>,
    /// It runs where one of these is active; empty: always.
    pub(super) profiles: Vec<String>,
    pub(super) written: Vec<Link>,
}

impl Service {
    /// Every port of its containers that a client could use: published and exposed ones, each once.
    #[must_use]
    pub fn container_ports(&self) -> Vec<Port> {
        let mut ports: Vec<Port> = self.ports.iter().map(|published| published.target).collect();
        ports.extend(&self.expose);
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

impl Project {
    /// A network's name at Docker.
    #[must_use]
    pub fn network_name(&self, stack: &StackName, key: &str) -> String {
        match self.networks.get(key) {
            Some(shared) => shared.docker_name(stack, key),
            None => Shared::default().docker_name(stack, key),
        }
    }

    /// A volume's name at Docker; files of the first form name Docker's own.
    #[must_use]
    pub fn volume_name(&self, stack: &StackName, key: &str) -> String {
        match self.volumes.get(key) {
            Some(shared) => shared.docker_name(stack, key),
            None => key.to_owned(),
        }
    }

    /// True where the target of a link is an alias.
    #[must_use]
    pub fn is_alias(&self, target: &str) -> bool {
        self.aliases.keys().any(|name| name.as_str() == target)
    }

    /// The ports at which the alias answers inside: a balancer's published ones, else all that its services name.
    #[must_use]
    pub fn inside_ports(&self, alias: &AliasService) -> Vec<Port> {
        let mut ports: Vec<Port> = if alias.ports.is_empty() {
            let services = alias.links.iter().filter_map(|link| self.services.get(link));
            services.flat_map(Service::container_ports).collect()
        } else {
            alias.ports.iter().map(Published::port).collect()
        };
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

impl Published {
    /// The port that clients use: the host's; where none is named, the container's.
    #[must_use]
    pub const fn port(&self) -> Port {
        Port {
            number: match self.published {
                Some(number) => number,
                None => self.target.number,
            },
            protocol: self.target.protocol,
        }
    }
}
