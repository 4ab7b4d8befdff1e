//! The agent: one task owns the state, everything else sends it messages and reads what it hands out.

mod addresses;
mod answer;
mod check;
mod containers;
mod disk;
mod door;
mod drain;
mod edits;
mod error;
mod failures;
mod flows;
mod forecast;
mod healths;
mod hold;
mod hooks;
mod interest;
mod leaving;
mod leftovers;
mod listing;
mod names;
mod owner;
mod pins;
mod port;
mod queues;
mod recall;
mod receipts;
mod reset;
mod run;
mod running;
mod start;
mod status;
mod tick;
mod upgrade;
mod wall;
mod who;

pub use addresses::remove_left_addresses;
pub use error::AgentError;
pub(crate) use pins::PinsLock;
pub use port::{Host, Kernel, PinnedDatapath};
pub use run::{Options, run};

#[cfg(test)]
mod tests;
