//! Switching end to end: namespaces, real nginx, the real agent. Needs root; fails without it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod address;
mod adoption;
mod bad_input;
mod contract;
mod crash;
mod cutovers;
mod driver;
mod ground;
mod health;
mod host_process;
mod keeping;
mod local;
mod mtu;
mod names;
mod reset;
mod rollout;
mod rules;
mod shadow;
mod udp;
mod verdict;
mod waiting;
mod xdp;
