//! Everything that touches the kernel through aya, and all of `unsafe`. The rest of the agent sees [`Datapath`] only.
#![allow(unsafe_code)]

mod abi;
mod accept;
mod adopt;
mod bpffs;
mod build;
mod cgroup;
mod clock;
mod counters;
mod datapath;
mod ending;
mod error;
mod figures;
mod hooks;
mod image_map;
mod mapped;
mod netns;
mod pin;
pub mod probe;
mod spaces;
mod taken;
mod xdp;

pub use accept::AcceptQueue;
pub use adopt::Found;
pub use cgroup::{CgroupChoice, LocalClients};
pub use datapath::{Datapath, DatapathConfig};
pub use ending::{Ended, Ending, FlowPlace};
pub use error::KernelError;
pub use figures::{Flip, FlowFigures, FlowPath, FlowState, FlowView, ReasonCount, SetCounters};
pub use hooks::{Attached, HookMode, Role};
pub use xdp::Device;

/// The BPF object, built from `switcher-ebpf` by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/switcher"));
