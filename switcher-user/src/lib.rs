//! Switcher's host agent: what the `switcher` command is made of.
//!
//! Arrows point one way: `cli` uses the `api` types; `agent` uses `kernel`, `net` and `store`; all use `model`.

pub mod agent;
pub mod api;
pub mod cli;
pub mod compose;
pub mod config;
pub mod discovery;
pub mod dns;
pub mod doctor;
pub mod health;
pub mod image;
pub mod kernel;
pub mod metrics;
pub mod model;
pub mod net;
pub mod plan;
pub mod rehearsal;
pub mod rollout;
pub mod store;
