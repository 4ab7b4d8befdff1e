//! `GET /v1/status`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Progress;
use crate::model::{
    Action, AliasName, BackendAddress, ContainerSource, FailedFlow, FlipTime, Listener, Outcome, PathPolicy, Receipt,
    SetFigures, SetName, StackName,
};

/// Everything there is to see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusDocument {
    /// Version of the document.
    pub schema: u32,
    /// The agent's version.
    pub version: String,
    /// The agent's process id.
    pub pid: u32,
    /// Epoch of the image that the kernel reads.
    pub epoch: u64,
    /// When the kernel last changed images; none: not under this agent.
    #[serde(default)]
    pub last_flip: Option<FlipTime>,
    /// The clocks when the figures were read.
    #[serde(default)]
    pub clock: ClockReading,
    /// Where programs are attached.
    pub attached: Vec<AttachedStatus>,
    /// Requests made on this host.
    #[serde(default)]
    pub local: LocalStatus,
    /// Addresses of listeners that this agent adds where the host does not have them.
    #[serde(default)]
    pub addresses: Vec<AddressStatus>,
    /// Rules that `auto` does not walk past, as sentences.
    pub firewall: Vec<String>,
    /// What is not as wanted, as sentences.
    pub notes: Vec<String>,
    /// The flow table.
    pub flow_table: FlowTable,
    /// Flows of these sets, ever, that the full table could not pin.
    pub unpinned_flows: u64,
    /// The aliases by name.
    pub aliases: Vec<AliasStatus>,
    /// Why packets were passed, rewritten or dropped.
    pub reasons: Vec<ReasonStatus>,
}

/// What two clocks said at one moment. Differences between two times of one document are exact; the wall clock may be
/// off by up to 50 ms, so that it does not jump from document to document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReading {
    /// Nanoseconds of CLOCK_MONOTONIC, the clock of all `_ns`.
    pub monotonic_ns: u64,
    /// Nanoseconds since 1970, UTC.
    pub unix_ns: u64,
}

impl ClockReading {
    /// A time of CLOCK_MONOTONIC as seconds since 1970.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn unix_seconds(&self, monotonic_ns: u64) -> f64 {
        let ns = self.unix_ns.wrapping_sub(self.monotonic_ns).wrapping_add(monotonic_ns);
        ns as f64 / 1e9
    }
}

/// The hook of an interface that has none.
pub const NO_HOOK: &str = "none";

/// One interface with programs, or one that is to have them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedStatus {
    /// The interface.
    pub interface: String,
    /// `edge` or `backend`.
    pub role: String,
    /// Where what comes in is met: `tc`, `xdp`, or `none` where no program could be attached.
    pub hook: String,
    /// Why there.
    pub why: String,
}

/// Whether requests made on this host are switched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalStatus {
    /// They are.
    pub served: bool,
    /// The cgroup whose processes are served.
    pub cgroup: Option<String>,
    /// Why they are not.
    pub why: Option<String>,
}

/// An address of a listener that this agent adds where the host does not have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressStatus {
    /// The address.
    pub address: IpAddr,
    /// The interface that has it; empty: none.
    pub interface: String,
    /// The first alias that wants it; none: it goes.
    pub alias: Option<AliasName>,
    /// The agent added it, and takes it away again.
    pub added: bool,
    /// How it is with it, as a part of a sentence.
    pub why: String,
}

/// How full the flow table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowTable {
    /// Records in use, by state.
    pub flows: FlowCounts,
    /// Of these, flows of sets that were removed.
    pub of_removed_sets: u64,
    /// Most it can hold.
    pub capacity: u64,
}

/// Flows by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowCounts {
    /// In their handshake.
    pub pending: u64,
    /// Handshake complete.
    pub established: u64,
    /// Ended; the record waits for its time-out.
    pub closing: u64,
    /// Of the pending and established ones, those of local clients.
    #[serde(default)]
    pub local: u64,
}

impl FlowCounts {
    /// Flows that live: pending and established.
    #[must_use]
    pub const fn live(&self) -> u64 {
        self.pending + self.established
    }
}

/// One alias.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AliasStatus {
    /// Its name.
    pub name: AliasName,
    /// The stack that owns it.
    pub stack: Option<StackName>,
    /// Where clients find it.
    pub listen: Vec<Listener>,
    /// Which way its packets are to take.
    pub path: PathPolicy,
    /// Refusals are kept from its clients.
    #[serde(default)]
    pub shield: bool,
    /// Addresses of its listeners that this host does not have are added to it, and taken away with the alias.
    #[serde(default)]
    pub add_addresses: bool,
    /// How much longer its new flows wait at most, in milliseconds; none: they do not.
    #[serde(default)]
    pub held_for_ms: Option<u64>,
    /// The change that is running.
    pub running: Option<String>,
    /// How far that is, as the command that waits for it is told.
    #[serde(default)]
    pub progress: Option<Box<Progress>>,
    /// Weights now.
    pub split: BTreeMap<SetName, u32>,
    /// When the last change of the split was final; none: not known to this agent.
    #[serde(default)]
    pub switched: Option<FlipTime>,
    /// The last change of the split, from its receipt; none: not known to this agent.
    #[serde(default)]
    pub last_change: Option<ChangeStatus>,
    /// Weights that `rollback` restores.
    pub previous: Option<BTreeMap<SetName, u32>>,
    /// The set that the last upgrade took the share from, until `confirm`.
    #[serde(default)]
    pub unconfirmed: Option<SetName>,
    /// The sets by name.
    pub sets: Vec<SetStatus>,
}

/// What a receipt says, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeStatus {
    /// Number of the receipt; none where it could not be kept.
    pub receipt: Option<u64>,
    /// The command.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
    /// From the command to its end, in microseconds.
    pub command_us: u64,
    /// Flows that were left at the old sets.
    pub flows_left: u64,
}

impl From<&Receipt> for ChangeStatus {
    fn from(receipt: &Receipt) -> Self {
        Self {
            receipt: receipt.id,
            action: receipt.action,
            outcome: receipt.outcome,
            command_us: receipt.command_us,
            flows_left: receipt.drain.map_or(0, |drain| drain.left()),
        }
    }
}

/// One set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetStatus {
    /// Its name.
    pub name: SetName,
    /// Its weight.
    pub weight: u32,
    /// Its share of new flows, 0 to 1.
    pub share: f64,
    /// Its flows.
    pub flows: FlowCounts,
    /// The kernel's figures.
    pub counters: SetFigures,
    /// The flows that failed last, the newest first; a few.
    #[serde(default)]
    pub failures: Vec<FailedFlow>,
    /// The containers that it follows; none: its backends stay as they were given.
    #[serde(default)]
    pub containers: Option<ContainerSource>,
    /// The backends in their order.
    pub backends: Vec<BackendStatus>,
}

/// One backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Where it is.
    pub address: BackendAddress,
    /// The way its new flows take: `bypass` or `stack`.
    pub path: String,
    /// The interface that leads there; empty: none.
    pub interface: String,
    /// Why that way.
    pub why: String,
    /// What its health check says; `None`: nobody asks.
    #[serde(default)]
    pub health: Option<String>,
    /// Its accept queue; `None`: it is not on this host, or cannot be asked.
    #[serde(default)]
    pub accept_queue: Option<AcceptQueueStatus>,
}

/// Who listens at a backend on this host, and what waits there to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptQueueStatus {
    /// A socket listens there.
    pub listens: bool,
    /// Connections that wait.
    pub waiting: u32,
    /// So many may.
    pub waiting_max: u32,
    /// Handshakes that found no room, since this agent looks.
    pub overflowed: u64,
}

/// One verdict reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonStatus {
    /// Its name, as in the documentation.
    pub reason: String,
    /// Packets.
    pub packets: u64,
}
