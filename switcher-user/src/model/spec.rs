//! What a user asks for: the content of a stack file or a command, already checked piece by piece.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::{AliasName, BackendAddress, HealthSpec, Listener, SetName, StackName, Weight};

/// Which way the packets of an alias take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathPolicy {
    /// Bypass where the host has no rules that would be walked past, the stack elsewhere.
    #[default]
    Auto,
    /// Redirected past the host's stack.
    Bypass,
    /// Through the host's stack.
    Stack,
}

impl PathPolicy {
    /// As it is written.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Bypass => "bypass",
            Self::Stack => "stack",
        }
    }
}

/// What a switch does to a UDP conversation: nothing tells that one has ended, so somebody must say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UdpPolicy {
    /// It stays at its backend until it is idle for three minutes.
    #[default]
    Stay,
    /// Its next datagram goes where the new split sends it.
    Move,
}

impl UdpPolicy {
    /// As it is written.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Stay => "stay",
            Self::Move => "move",
        }
    }
}

/// How the packets of an alias are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AliasPolicy {
    /// Which way they take.
    pub path: PathPolicy,
    /// What a switch does to UDP conversations.
    pub udp: UdpPolicy,
    /// Refusals are kept from clients.
    pub shield: bool,
    /// Addresses of its listeners that this host does not have are added to it, and taken away with the alias.
    pub add_addresses: bool,
}

impl From<PathPolicy> for AliasPolicy {
    fn from(path: PathPolicy) -> Self {
        Self {
            path,
            ..Self::default()
        }
    }
}

/// A whole stack file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackSpec {
    /// Owner of the aliases; `--prune` removes only what this stack owns.
    pub stack: StackName,
    /// The aliases by name.
    pub aliases: BTreeMap<AliasName, AliasSpec>,
}

/// One alias of a stack file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AliasSpec {
    /// Where clients find it; never empty.
    pub listen: Vec<Listener>,
    /// Which way its packets take.
    #[serde(default)]
    pub path: PathPolicy,
    /// What a switch does to UDP conversations.
    #[serde(default)]
    pub udp: UdpPolicy,
    /// Refusals are kept from clients: their SYNs come again and are sent elsewhere.
    #[serde(default)]
    pub shield: bool,
    /// Addresses of its listeners that this host does not have are added to it, and taken away with the alias.
    #[serde(default)]
    pub add_addresses: bool,
    /// Shares of new flows by set; `None` leaves the split as it is (an error for a new alias).
    #[serde(default)]
    pub split: Option<BTreeMap<SetName, Weight>>,
    /// The sets by name.
    pub sets: BTreeMap<SetName, SetSpec>,
}

/// One set of an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetSpec {
    /// The backends, never empty, at most [`super::BACKENDS_PER_SET_MAX`], no two alike.
    pub backends: Vec<BackendAddress>,
    /// How it is found out whether they work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSpec>,
    /// The containers whose addresses follow from now on; `None`: the backends stay as they are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<ContainerSource>,
}

/// Which containers make up a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ContainerSource {
    /// Those that the labels `switcher.alias` and `switcher.set` name.
    Labels,
    /// Those of a service of a compose project.
    Service {
        /// The project.
        project: StackName,
        /// The service.
        service: SetName,
        /// Only those that were made of one of these; empty: all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        hashes: Vec<String>,
        /// The port where they serve; `None`: the listener's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<NonZeroU16>,
    },
}

impl ContainerSource {
    /// The port where they serve; `None`: the listener's.
    #[must_use]
    pub const fn port(&self) -> Option<NonZeroU16> {
        match self {
            Self::Service { port, .. } => *port,
            Self::Labels => None,
        }
    }
}
