//! What is wanted: everything the agent keeps on disk.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Rollout;
use super::split::Split;
use crate::model::{
    AliasName, BackendAddress, ContainerSource, HealthSpec, Listener, PathPolicy, SetName, StackName, StepBy, UdpPolicy,
};

/// Version of the form on disk.
pub const DESIRED_SCHEMA: u32 = 1;

/// Everything that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    /// Version of the form: [`DESIRED_SCHEMA`].
    pub schema: u32,
    /// Epoch of the image that was made of it.
    pub epoch: u64,
    /// Number of the next alias; never given twice.
    pub next_alias_id: u32,
    /// Number of the next backend; never given twice.
    pub next_backend_id: u32,
    /// The aliases by name.
    pub aliases: BTreeMap<AliasName, Alias>,
    /// Rollouts that have begun and not ended.
    #[serde(default)]
    pub rollouts: Vec<Rollout>,
}

impl Default for Desired {
    fn default() -> Self {
        Self {
            schema: DESIRED_SCHEMA,
            epoch: 0,
            next_alias_id: 1,
            next_backend_id: 1,
            aliases: BTreeMap::new(),
            rollouts: Vec::new(),
        }
    }
}

/// One alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alias {
    /// Its number; flow records carry it.
    pub id: u32,
    /// The stack that owns it; none: made by a command.
    pub stack: Option<StackName>,
    /// Which way its packets take.
    pub path: PathPolicy,
    /// What a switch does to UDP conversations.
    #[serde(default)]
    pub udp: UdpPolicy,
    /// Refusals are kept from its clients.
    #[serde(default)]
    pub shield: bool,
    /// Addresses of its listeners that this host does not have are added to it, and taken away with the alias.
    #[serde(default)]
    pub add_addresses: bool,
    /// Until when its new flows wait; nanoseconds of CLOCK_MONOTONIC, 0: they do not.
    #[serde(default)]
    pub hold_until_ns: u64,
    /// What chooses among the sets, while a rollout is between its first and last step; else the client.
    #[serde(default)]
    pub step_by: StepBy,
    /// Where clients find it.
    pub listen: Vec<Listener>,
    /// Who gets new flows now.
    pub split: Split,
    /// Who got them before the last change; what `rollback` restores.
    pub previous: Option<Split>,
    /// The set that an upgrade took the share from, until somebody confirms it: it cannot be removed.
    #[serde(default)]
    pub unconfirmed: Option<SetName>,
    /// The sets by name.
    pub sets: BTreeMap<SetName, Set>,
}

/// One set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Its number, which is also its counter slot.
    pub id: u32,
    /// Its backends.
    pub backends: Vec<Backend>,
    /// How it is found out whether they work.
    #[serde(default)]
    pub health: Option<HealthSpec>,
    /// The containers that it follows; none: it stays as it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<ContainerSource>,
}

/// One backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Its number; flow records carry it.
    pub id: u32,
    /// Where it is.
    pub address: BackendAddress,
}

impl Desired {
    /// Every backend's address, each once, sorted.
    #[must_use]
    pub fn backend_addresses(&self) -> Vec<IpAddr> {
        let mut all: Vec<IpAddr> = self
            .aliases
            .values()
            .flat_map(|alias| alias.sets.values())
            .flat_map(|set| set.backends.iter().map(|backend| backend.address.address))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Every set's number.
    pub fn set_ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.aliases
            .values()
            .flat_map(|alias| alias.sets.values().map(|set| set.id))
    }
}
