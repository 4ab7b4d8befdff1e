//! Errors of the agent's parts as error documents.

use std::path::PathBuf;

use thiserror::Error;

use crate::api::{ApiError, BindError, ErrorCode, SCHEMA};
use crate::kernel::KernelError;
use crate::metrics::MetricsError;
use crate::net::NetError;
use crate::plan::Refusal;
use crate::store::StoreError;

/// Why the agent did not start, or ended.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The address for names cannot be had.
    #[error(
        "names cannot be answered at {place}: {cause}; name an address that is free with --dns; ports below 1024 need CAP_NET_BIND_SERVICE"
    )]
    Dns {
        /// The address.
        place: std::net::SocketAddr,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The state directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The metrics' socket.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// What is wanted cannot be had.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The kernel has an image, the disk has no state.
    #[error(
        "the kernel still serves epoch {epoch} and {path} is not there: an empty start would take every alias away; restore it from a backup, or run `switcher detach` first (flows that are switched end)"
    )]
    StateGone {
        /// The kernel's epoch.
        epoch: u64,
        /// Where the state would be.
        path: PathBuf,
    },
    /// An interface is not there.
    #[error("there is no interface '{name}'; there are: {known}")]
    NoInterface {
        /// The name that was given.
        name: String,
        /// Those there are.
        known: String,
    },
    /// The folder that was named is no cgroup.
    #[error(
        "{0} is no cgroup of cgroup2: requests of its processes cannot be switched; name one with --cgroup, or --cgroup none"
    )]
    NoCgroup(PathBuf),
    /// No default route.
    #[error(
        "this host has no default route, so where clients come in is not known; name the interfaces with --interface"
    )]
    NoDefaultInterface,
    /// Another agent has the pins.
    #[error(
        "{path} belongs to another running agent (pid {pid}): two would take each other's traffic; stop that one first, or name another directory with --bpffs"
    )]
    PinsTaken {
        /// The directory on bpffs.
        path: PathBuf,
        /// The other agent's process id; `unknown` where the kernel does not say.
        pid: String,
    },
    /// The pins cannot be locked.
    #[error("{path} cannot be locked: {cause}; name another directory with --bpffs")]
    Pins {
        /// The directory on bpffs.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The socket failed while it was served.
    #[error("socket {path}: {cause}")]
    Serve {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The signals cannot be waited for.
    #[error("signals: {0}")]
    Signals(std::io::Error),
    /// A task died.
    #[error("a part of the agent died: {0}; the data path keeps running, start the agent again")]
    Died(String),
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let code = code_of(&refusal);
        Self {
            schema: SCHEMA,
            code,
            message: refusal.to_string(),
            field: refusal.field(),
        }
    }
}

/// What is wrong with the command or file is `Invalid`; what the state of agent or host does not allow is `Refused`.
const fn code_of(refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::UnknownAlias { .. } => ErrorCode::UnknownAlias,
        Refusal::UnknownSet { .. } | Refusal::UnknownSetInSplit { .. } => ErrorCode::UnknownSet,
        Refusal::NoListeners { .. }
        | Refusal::ListenerClaimed { .. }
        | Refusal::ListenerTwice { .. }
        | Refusal::ListenerIsLoopback { .. }
        | Refusal::NoBackends { .. }
        | Refusal::Health { .. }
        | Refusal::BackendTwice { .. }
        | Refusal::BackendIsListener { .. }
        | Refusal::FamilyMismatch { .. }
        | Refusal::SplitZero { .. }
        | Refusal::SplitMissing { .. }
        | Refusal::AmbiguousFrom { .. }
        | Refusal::FromIsTo { .. }
        | Refusal::TooManyAliases { .. }
        | Refusal::TooManyListeners { .. }
        | Refusal::TooManySets { .. }
        | Refusal::TooManyBackends { .. } => ErrorCode::Invalid,
        Refusal::NoBypass { .. }
        | Refusal::ListenerShadows { .. }
        | Refusal::NoAddress { .. }
        | Refusal::NoSocket { .. }
        | Refusal::NoXdp { .. }
        | Refusal::PoolUsedUp { .. }
        | Refusal::NowhereToPublish { .. }
        | Refusal::NobodyHasShare { .. }
        | Refusal::FromHasNoShare { .. }
        | Refusal::NoPrevious { .. }
        | Refusal::PreviousSetGone { .. }
        | Refusal::SetHasShare { .. }
        | Refusal::Unconfirmed { .. }
        | Refusal::SetHasFlows { .. }
        | Refusal::OtherStack { .. }
        | Refusal::SetNumbersUsedUp { .. }
        | Refusal::NumbersUsedUp { .. }
        | Refusal::NotObserved { .. } => ErrorCode::Refused,
    }
}

impl From<AgentError> for ApiError {
    fn from(error: AgentError) -> Self {
        Self::new(ErrorCode::HostFailed, error.to_string())
    }
}

impl From<KernelError> for ApiError {
    fn from(error: KernelError) -> Self {
        Self::new(ErrorCode::HostFailed, format!("{error}; nothing was changed"))
    }
}

impl From<NetError> for ApiError {
    fn from(error: NetError) -> Self {
        Self::new(ErrorCode::HostFailed, format!("{error}; nothing was changed"))
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::NoReceipt { .. } => ErrorCode::UnknownReceipt,
            StoreError::Unsure { .. } => ErrorCode::Unknown,
            _ => ErrorCode::StoreFailed,
        };
        Self::new(code, error.to_string())
    }
}
