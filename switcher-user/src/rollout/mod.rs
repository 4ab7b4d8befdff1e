//! The rollout: an upgrade as a machine of states. Pure: no I/O and no clock, so an hour is a test of a millisecond.
//!
//! ```text
//! checking health --> flipping 1 --> observing 1 --> flipping 2 ... --> draining (--> resetting) --> done
//!        |                |                |                               |             |
//!     refused          refused             +--------> rolling back <-------+-------------+
//! ```

mod evidence;
mod later;
mod machine;
mod order;
mod pace;
mod state;
mod verdict;

pub use machine::{RESETS_PER_SECOND, advance};
pub use order::Order;
pub use pace::Pace;
pub use state::{Action, Check, End, Health, Snapshot, State};
pub use verdict::{FLOWS_MIN, Verdict, Window, judge};

#[cfg(test)]
mod dice;
#[cfg(test)]
mod tests;
