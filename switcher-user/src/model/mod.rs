//! The words of the product as types: what a user asks for, checked, without I/O and without a clock.

mod address;
mod backend;
mod failure;
mod health;
mod hook;
mod latency;
mod left;
mod limit;
mod listener;
mod name;
mod receipt;
mod rollout;
mod spec;
mod weight;
mod zone;

pub use address::AddedAddress;
pub use backend::{BackendAddress, BackendError, is_open};
pub use failure::{FailedFlow, Failure};
pub use health::{HealthSpec, Probe, ProbeError, Statuses};
pub use hook::{Hook, HookError, HookPolicy};
pub use latency::{HISTOGRAM_BUCKETS, Histogram, Latencies};
pub use left::{LeftFlow, SetFailures};
pub use limit::{LIMITS_MAX, Limit, LimitError, Metric, Unit};
pub use listener::{Listener, ListenerError, Protocol};
pub use name::{AliasName, NameError, SetName, StackName};
pub use receipt::{
    Action, AliasChange, Caller, DrainResult, FlipTime, LastNewFlow, Outcome, Receipt, SetChange, SetFigures,
    StepReport, StepSet,
};
pub use rollout::{Confirm, DrainAction, RolloutOptions, STEPS_MAX, StepBy, Steps, StepsError, UpgradeRequest};
pub use spec::{AliasPolicy, AliasSpec, ContainerSource, PathPolicy, SetSpec, StackSpec, UdpPolicy};
pub use weight::{Weight, WeightError};
pub use zone::{Zone, ZoneError};

/// Longest time that new flows may be held: clients give a connection up after one to two minutes.
pub const HOLD_MAX: std::time::Duration = std::time::Duration::from_secs(60);
/// Most backends one set may have; the Maglev table stays even up to here.
pub const BACKENDS_PER_SET_MAX: usize = 1_024;
/// Most sets one alias may have.
pub const SETS_PER_ALIAS_MAX: usize = 64;
/// Most listeners one alias may have.
pub const LISTENERS_PER_ALIAS_MAX: usize = 64;
/// Most aliases one agent carries.
pub const ALIASES_MAX: usize = 1_024;
