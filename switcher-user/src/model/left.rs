//! Flows that a drain did not see the end of.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{AliasName, FailedFlow, SetName};

/// One flow that was left at an old set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftFlow {
    /// The alias.
    pub alias: AliasName,
    /// The set.
    pub set: SetName,
    /// The client.
    pub client: SocketAddr,
    /// The backend.
    pub backend: SocketAddr,
    /// Time since its first packet, in milliseconds.
    pub age_ms: u64,
    /// Time since its last packet, in milliseconds.
    pub idle_ms: u64,
}

/// The flows of one set that failed last, while a change ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetFailures {
    /// The alias.
    pub alias: AliasName,
    /// The set.
    pub set: SetName,
    /// The newest first.
    pub flows: Vec<FailedFlow>,
}
