//! What the kernel tells: counters, flows, verdicts, the bracket of a flip.

use std::net::SocketAddr;
use std::time::Duration;

use super::ending::FlowPlace;
use crate::model::{Failure, Latencies};

/// When the kernel changed images. Nanoseconds of CLOCK_MONOTONIC; the swap lies between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip {
    /// The epoch that was installed.
    pub epoch: u64,
    /// Just before the swap was asked for.
    pub before_ns: u64,
    /// After the call returned: no program runs on the old image any more.
    pub after_ns: u64,
}

/// What the kernel counted for one set, since the maps were made. Wire packets; bytes of layer 3.
///
/// Where nothing is on its way, `flows_opened` = `flows_established` + `flows_refused` + `flows_reset_in_handshake` +
/// `flows_timed_out` + `flows_pending`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetCounters {
    /// New flows for which the set was chosen (SYNs decided).
    pub flows_opened: u64,
    /// Flows whose handshake completed.
    pub flows_established: u64,
    /// Flows refused by the backend (RST in answer to the SYN).
    pub flows_refused: u64,
    /// Flows ended by a RST of either side after the backend's SYN-ACK and before the client's ACK, or by the client before.
    pub flows_reset_in_handshake: u64,
    /// Flows whose handshake never completed: pushed out by newer ones, decided again, or silent for ten seconds.
    pub flows_timed_out: u64,
    /// Flows in their handshake now.
    pub flows_pending: u64,
    /// SYNs that came again while their handshake was pending.
    pub syns_retransmitted: u64,
    /// SYNs and datagrams that were held back and would have chosen the set.
    pub syns_held: u64,
    /// Refusals that the shield kept from clients.
    pub refusals_hidden: u64,
    /// Flows that the shield sent on to another backend, or there again, and whose handshake completed.
    pub flows_waited: u64,
    /// Flows ended by FINs of both sides.
    pub flows_finished: u64,
    /// Flows ended by a RST from the client after the handshake.
    pub flows_reset_by_client: u64,
    /// Flows ended by a RST from the backend after the handshake.
    pub flows_reset_by_backend: u64,
    /// Flows that the agent ended, at the end of a drain.
    pub flows_reset_by_drain: u64,
    /// Flows reclaimed after their idle time-out.
    pub flows_expired: u64,
    /// New flows that found no room in the table: served, but not pinned.
    pub flows_unpinned: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Packets from backends.
    pub packets_out: u64,
    /// Bytes from backends.
    pub bytes_out: u64,
    /// When a new flow last chose the set; nanoseconds of CLOCK_MONOTONIC, 0: never.
    pub last_new_flow_ns: u64,
    /// How long backends and clients took.
    pub latency: Latencies,
}

/// The way of a flow's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowPath {
    /// Through the host's stack.
    Stack,
    /// Redirected past it.
    Bypass,
    /// Handed to a socket of the host itself.
    Socket,
    /// A local client's: decided at connect(); no packet of it is rewritten, and none counted.
    Local,
}

impl FlowPath {
    /// Its name, as in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stack => "stack",
            Self::Bypass => "bypass",
            Self::Socket => "socket",
            Self::Local => "local",
        }
    }
}

/// State of one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowState {
    /// A SYN was seen, the handshake is not complete.
    Pending,
    /// The handshake is complete.
    Established,
    /// Ended by FINs of both sides or by a RST; the record waits for its time-out.
    Closing,
}

/// What one flow carried: wire packets, bytes of layer 3. It may miss a packet now and then; a set's counters do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowFigures {
    /// Packets from the client.
    pub packets_in: u64,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Packets from the backend.
    pub packets_out: u64,
    /// Bytes from the backend.
    pub bytes_out: u64,
}

/// One flow as the table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowView {
    /// Where the table has it.
    pub place: FlowPlace,
    /// The client.
    pub client: SocketAddr,
    /// The listener.
    pub listener: SocketAddr,
    /// The backend.
    pub backend: SocketAddr,
    /// Number of the alias.
    pub alias_id: u32,
    /// Number of the set.
    pub set_id: u32,
    /// Number of the backend.
    pub backend_id: u32,
    /// IP protocol.
    pub protocol: u8,
    /// Epoch that decided it.
    pub epoch: u64,
    /// The way of its packets.
    pub path: FlowPath,
    /// A UDP conversation whose next datagram goes where the newest image sends it.
    pub moves: bool,
    /// State.
    pub state: FlowState,
    /// Time since its first packet.
    pub age: Duration,
    /// Time since its last packet.
    pub idle: Duration,
    /// What it carried.
    pub traffic: FlowFigures,
    /// How it failed, where it did.
    pub failure: Option<Failure>,
    /// Past its time-out: no live flow any more, but the record and the numbers in it stay until the slot is used again.
    pub expired: bool,
}

/// One row of the table of verdict reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonCount {
    /// Name of the reason, as in docs.
    pub reason: &'static str,
    /// Packets (socket buffers: a large send counts once).
    pub packets: u64,
}
