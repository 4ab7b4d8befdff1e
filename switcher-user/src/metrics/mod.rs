//! Prometheus metrics: a snapshot rendered as text, and the socket where scrapers find it.
//!
//! It gathers nothing: a scrape is a `status` command to the agent, and its document is rendered. What is new in the
//! snapshot is added to the table in `families`; docs/operations.md is compared with that table by a test.

mod families;
mod negotiate;
mod render;
mod server;

pub use negotiate::Format;
pub use render::render;
pub use server::{MetricsError, MetricsServer};

#[cfg(test)]
mod tests;
