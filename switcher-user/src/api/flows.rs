//! `GET /v1/aliases/{alias}/flows`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::model::{AliasName, BackendAddress, SetName};

/// Most flows of one answer: some 20 MB.
pub const FLOWS_LISTED_MAX: u32 = 65_536;
/// Most backends that one request names.
pub const FLOW_BACKENDS_MAX: usize = 1_024;
/// Flows of an answer where none says how many.
pub const FLOWS_LISTED: u32 = 100;

/// Which flows, and how many of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowsRequest {
    /// Their alias.
    pub alias: AliasName,
    /// Only flows of this set.
    pub set: Option<SetName>,
    /// Only flows to these; empty: to any. Without a port: to any port there.
    pub backends: Vec<BackendAddress>,
    /// At most this many, the oldest; up to [`FLOWS_LISTED_MAX`].
    pub limit: u32,
}

/// The flows of an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowsDocument {
    /// Version of the document.
    pub schema: u32,
    /// Their alias.
    pub alias: AliasName,
    /// Only flows of this set were asked for.
    pub set: Option<SetName>,
    /// Only flows to these were asked for; empty: to any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<BackendAddress>,
    /// How many there are in all, listed or not.
    pub total: u64,
    /// How many of all are not closing.
    pub live: u64,
    /// The oldest of them, oldest first.
    pub flows: Vec<FlowStatus>,
}

/// One flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStatus {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Who connected.
    pub client: SocketAddr,
    /// What it connected to.
    pub listener: SocketAddr,
    /// Where it was sent.
    pub backend: SocketAddr,
    /// The set; none: it was removed since.
    pub set: Option<SetName>,
    /// `pending`, `established` or `closing`.
    pub state: String,
    /// The way its packets take: `bypass` or `stack`.
    pub path: String,
    /// Epoch of the image that decided it.
    pub epoch: u64,
    /// Time since its first packet, in milliseconds.
    pub age_ms: u64,
    /// Time since its last packet, in milliseconds.
    pub idle_ms: u64,
    /// Wire packets from the client. These four may miss a packet now and then; a set's own figures do not.
    pub packets_in: u64,
    /// Bytes of layer 3 from the client.
    pub bytes_in: u64,
    /// Wire packets from the backend.
    pub packets_out: u64,
    /// Bytes of layer 3 from the backend.
    pub bytes_out: u64,
}
