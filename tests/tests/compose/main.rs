//! Compose files and containers end to end: a real dockerd in the lab's host namespace, real nginx in its containers, the
//! real agent. Needs root; fails without it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod asked;
mod cleanup;
mod docker;
mod ends;
mod interrupted;
mod labels;
mod names;
mod networks;
mod podman;
mod ready;
mod registry;
mod renewed;
mod restarts;
mod shrink;
mod strangers;
mod thread;
mod upgrade;
