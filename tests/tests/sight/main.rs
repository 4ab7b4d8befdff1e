//! What can be seen of a running agent: metrics, flows, doctor, the watched status, and docs/operations.md taken at its
//! word. Needs root; fails without it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "../switching/ground.rs"]
#[allow(dead_code, reason = "the other suites use the rest")]
mod ground;

mod doctor;
mod flows;
mod manual;
mod metrics;
mod prometheus;
mod scrape;
mod service;
mod watch;
mod ways;
