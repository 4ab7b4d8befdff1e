//! Health probes: a task for each backend that is asked. They only look and tell.

mod judge;
mod probe;
mod tasks;
mod tls;

pub use judge::{BackendHealth, Verdict};
pub use tasks::{Asked, Probers, Report};
