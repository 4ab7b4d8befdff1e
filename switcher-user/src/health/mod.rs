//! Health probes: a task for each backend that is asked. They only look and tell. And how commands of the user's are run.

mod judge;
mod probe;
pub mod shell;
mod tasks;
mod tls;

pub use judge::{BackendHealth, Verdict};
pub use tasks::{Asked, Probers, Report};
