//! The lab: network namespaces for a client, a host, `v1` and `v2`, wired as a small site, with real nginx behind.
//!
//! ```text
//! client (eth0) ---- (client) host (v1) ---- (eth0) v1   10.1.0.2  fd00::2
//!                                  (v2) ---- (eth0) v2   10.1.1.2  fd00:1::2
//! ```
//!
//! Names of namespaces carry the lab's id, so labs run side by side; addresses and devices are the same in each, since
//! namespaces keep them apart.

mod access_log;
mod agent;
mod cable;
mod capture;
mod cgroup;
mod namespace;
mod network;
mod nginx;
mod process;
mod resets;
mod site;
mod sshd;
mod talker;
mod teardown;

pub use access_log::{LogEntry, read_access_log};
pub use agent::Agent;
pub use cable::{Cable, End};
pub use capture::{Capture, Captured, ENDS_FILTER, Packet, SYN_FILTER};
pub use cgroup::Cgroup;
pub use namespace::Namespace;
pub use network::{CLIENT_POOL_V4, CLIENT_POOL_V6, LISTENER_V4, LISTENER_V6, V1_V4, V1_V6, V2_V4, V2_V6};
pub use nginx::Nginx;
pub use process::{Outcome, Process, guarded, run};
pub use resets::Resets;
pub use site::{Container, Lab, Wires};
pub use sshd::{Sshd, banner};
pub use talker::Talker;
pub use teardown::{sweep, tear_down};
