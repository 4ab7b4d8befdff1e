//! Switching end to end: namespaces, real nginx, the real agent. Needs root; fails without it.

mod bad_input;
mod contract;
mod crash;
mod ground;
mod keeping;
mod mtu;
mod rules;
