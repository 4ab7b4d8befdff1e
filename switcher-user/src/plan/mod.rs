//! From what is wanted and what was observed to the image. Pure: no I/O, no clock.

mod addresses;
mod check;
mod converge;
mod desired;
mod difference;
mod edit;
mod follow;
mod hook;
mod pool;
mod refusal;
mod resolve;
mod rollout;
mod shadow;
mod split;

pub use addresses::{AddressPlace, place_address, refuse_address};
pub use converge::Reach;
pub use desired::{Alias, Backend, DESIRED_SCHEMA, Desired, Set};
pub use difference::{Difference, RemovedSet};
pub use edit::{FlowSetIds, Move};
pub use follow::{Candidate, places_of};
pub use hook::{HookChoice, choose_hook};
pub use pool::Pool;
pub use refusal::Refusal;
pub use resolve::{AliasPaths, BackendChoice, Resolved, Touched};
pub use rollout::{Rollout, RolloutMove};
pub use shadow::{PlacedListener, shadowed};
pub use split::{HASH_SPACE, SEGMENTS_MAX, Split, SplitSegment, weights_text};

#[cfg(test)]
mod tests;
