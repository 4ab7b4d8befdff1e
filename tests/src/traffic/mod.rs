//! Traffic whose every request is accounted for.
//!
//! The generator is open-loop: a request is sent when it is due, whatever became of those before, and it ends exactly once,
//! as ok, late or failed. It never retries. It runs as a process of its own inside the client's namespace, takes a
//! [`Plan`] and hands back a [`Report`].

mod control;
mod echo;
mod failure;
mod generate;
mod http;
mod kept;
mod ledger;
mod load;
pub mod pattern;
mod pings;
mod plan;
mod report;
mod sample;
mod sources;
mod transfer;

pub use control::Generator;
pub use echo::Echo;
pub use failure::Failure;
pub use generate::generate;
pub use pings::{Ping, Pings};
pub use plan::{LoadPlan, Plan, SamplePlan, Sources, TransferPlan, Work};
pub use report::{
    AnswerRun, Bucket, Event, KeptReport, LatencyReport, LoadReport, Report, SampleReport, TransferReport,
};
