//! The table of packets: every row is run on TC and on XDP, by the kernel (BPF_PROG_TEST_RUN) and natively, and all must give
//! the packet that etherparse builds, with the same reason. Needs root; fails without it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod agreement;
mod bench;
mod connections;
mod frames;
mod handshakes;
mod icmp;
mod not_ours;
mod pair;
mod plans;
mod pool;
mod race;
mod rewriting;
mod traffic;
mod udp;
mod waiting;
