//! Everything that touches the kernel through aya, and all of `unsafe`.
//!
//! The rest of the agent sees [`Datapath`] only.

// SIGNATURES FIRST: bodies are being written; the agent is written against these.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::image::ImagePlan;

/// Where and how large the data path is.
#[derive(Clone, Debug)]
pub struct DatapathConfig {
    /// A directory on bpffs (mounted there if it is not yet); everything is pinned below it.
    pub bpffs: PathBuf,
}

/// Why the kernel did not do what was asked. Nothing has changed when one is returned.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A step failed; the text says which, on what, and what to do.
    #[error("{0}")]
    Failed(String),
}

/// What an interface is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Clients come in here: programs at ingress and at egress.
    Edge,
    /// The host-side veth of a bypass backend: a program at ingress.
    Backend,
}

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetCounters {
    /// New flows for which the set was chosen (SYNs decided).
    pub flows_opened: u64,
    /// Flows whose handshake completed.
    pub flows_established: u64,
    /// Flows refused by the backend (RST in answer to the SYN).
    pub flows_refused: u64,
    /// Flows ended by FINs of both sides.
    pub flows_finished: u64,
    /// Flows ended by a RST from the client after the handshake.
    pub flows_reset_by_client: u64,
    /// Flows ended by a RST from the backend after the handshake.
    pub flows_reset_by_backend: u64,
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

/// One flow as the table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowView {
    /// The client.
    pub client: SocketAddr,
    /// The listener.
    pub listener: SocketAddr,
    /// The backend.
    pub backend: SocketAddr,
    /// Numbers of the alias, set and backend.
    pub alias_id: u32,
    /// Number of the set.
    pub set_id: u32,
    /// Number of the backend.
    pub backend_id: u32,
    /// Epoch that decided it.
    pub epoch: u64,
    /// True: bypass; false: stack.
    pub bypass: bool,
    /// State.
    pub state: FlowState,
    /// Time since its last packet.
    pub idle: Duration,
}

/// One row of the table of verdict reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonCount {
    /// Name of the reason, as in docs.
    pub reason: &'static str,
    /// Packets.
    pub packets: u64,
}

/// The programs, maps and links of one agent.
#[derive(Debug)]
pub struct Datapath {
    _private: (),
}

#[allow(clippy::todo, missing_docs, unused_variables)]
impl Datapath {
    /// Loads the programs, or adopts what an earlier agent pinned at the same path.
    pub fn open(config: &DatapathConfig) -> Result<Self, KernelError> {
        todo!()
    }
    /// Epoch of the image the kernel reads now; 0: none yet.
    pub fn epoch(&self) -> Result<u64, KernelError> {
        todo!()
    }
    /// Attaches to an interface of this network namespace; attached already: adopted, its program replaced atomically.
    pub fn attach(&mut self, interface: &str, ifindex: u32, role: Role) -> Result<(), KernelError> {
        todo!()
    }
    /// What is attached: interface name and role.
    pub fn attached(&self) -> Vec<(String, Role)> {
        todo!()
    }
    /// Compiles the plan, installs it and waits until no program runs on the old image. Blocks for 4 to 30 ms and more.
    pub fn flip(&mut self, plan: &ImagePlan) -> Result<Flip, KernelError> {
        todo!()
    }
    /// Keeps bypass decisions alive: the interface indexes of the image are right until `now + valid_for`.
    pub fn refresh(&self, valid_for: Duration) -> Result<(), KernelError> {
        todo!()
    }
    /// Counters of one set.
    pub fn set_counters(&self, set_id: u32) -> Result<SetCounters, KernelError> {
        todo!()
    }
    /// Zeroes the counters of a set whose number is given to a new set.
    pub fn clear_set_counters(&self, set_id: u32) -> Result<(), KernelError> {
        todo!()
    }
    /// All verdict reasons with their counts.
    pub fn reasons(&self) -> Result<Vec<ReasonCount>, KernelError> {
        todo!()
    }
    /// Calls `visit` for each flow record in use. A million records take some tens of milliseconds.
    pub fn for_each_flow(&self, visit: &mut dyn FnMut(FlowView)) -> Result<(), KernelError> {
        todo!()
    }
    /// Most flows the table can hold.
    pub fn flow_capacity(&self) -> u64 {
        todo!()
    }
    /// Removes links, programs and maps: packets pass as if Switcher had never been.
    pub fn detach(bpffs: &Path) -> Result<Vec<String>, KernelError> {
        todo!()
    }
    /// Nanoseconds of CLOCK_MONOTONIC, the clock of the kernel's figures.
    #[must_use]
    pub fn now_ns() -> u64 {
        todo!()
    }
}

#[allow(dead_code)]
fn _unused(_: IpAddr) {}
