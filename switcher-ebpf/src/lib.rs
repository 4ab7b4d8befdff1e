//! Switcher's map ABI and packet logic.
//!
//! Three functions decide every packet: [`parse::parse`] reads it, [`decide`] finds or opens its flow, [`rewrite`] changes
//! its addresses. [`connect`] decides for processes of the host when they connect. All are written over two small traits, [`packet::Packet`] and [`tables::Tables`], and compiled three
//! times: for TC and for XDP in the kernel, and natively for unit tests, property tests and the agent.
//!
//! There is no `unsafe` here and no allocation; the BPF binary's accessor files have the first, [`native`] the second.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(not(target_arch = "bpf"))]
extern crate std;

pub mod abi;
pub mod choose;
pub mod connect;
pub mod decide;
pub mod deferred;
pub mod driver;
pub mod flow;
pub mod latency;
#[cfg(not(target_arch = "bpf"))]
pub mod native;
pub mod packet;
pub mod parse;
pub mod reason;
pub mod reset;
pub mod rewrite;
pub mod shield;
pub mod socket;
pub mod sum;
pub mod tables;
pub mod track;
pub mod waiting;
