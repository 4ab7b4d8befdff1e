//! What the server asks the agent for, and how the answer comes back.

use std::time::Instant;

use serde::Serialize;
use tokio::sync::{oneshot, watch};

use super::{
    AliasPut, AliasesDocument, ApiError, ApplyRequest, ChangesDocument, ContainersDocument, ContainersQuery,
    ContainersRequest, DetachedDocument, FlowsDocument, FlowsRequest, ForecastDocument, HoldDocument, HoldRequest,
    LeavingDocument, Progress, ReceiptsDocument, SetPut, SplitRequest, StatusDocument, UpgradeRequest,
};
use crate::model::{AliasName, Caller, Receipt, SetName};

/// One request, checked piece by piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Converge on a stack file.
    Apply(Box<ApplyRequest>),
    /// Create or replace an alias.
    AliasPut(AliasName, AliasPut),
    /// Remove an alias.
    AliasRm(AliasName),
    /// List the aliases.
    AliasLs,
    /// Create or replace a set.
    SetPut(AliasName, SetName, SetPut),
    /// Remove a set.
    SetRm(AliasName, SetName),
    /// Change a split at once.
    Split(AliasName, SplitRequest),
    /// Move a share, then drain.
    Upgrade(UpgradeRequest),
    /// Say what that would do.
    Forecast(UpgradeRequest),
    /// Let new flows wait.
    Hold(AliasName, HoldRequest),
    /// Let them go.
    Release(AliasName),
    /// Restore the split before the last change.
    Rollback(AliasName),
    /// Let the set go that the last upgrade took the share from.
    Confirm(AliasName),
    /// Everything there is to see; of one alias only, if named.
    Status(Option<AliasName>),
    /// List the containers that discovery sees.
    Containers(Option<ContainersQuery>),
    /// Take containers out of their sets, and say what they still hold.
    Leave(ContainersRequest),
    /// Let them serve again.
    Stay(ContainersRequest),
    /// List flows.
    Flows(FlowsRequest),
    /// List the newest receipts.
    Receipts,
    /// One receipt.
    Receipt(u64),
    /// Remove the data path and stop.
    Detach,
}

/// A command on its way to the agent.
#[derive(Debug)]
pub struct Envelope {
    /// What is asked for.
    pub command: Command,
    /// Who asks.
    pub caller: Caller,
    /// When it was taken.
    pub started: Instant,
    /// Nothing may change after it.
    pub deadline: Instant,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Reply, ApiError>>,
}

/// The agent's answer.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To `apply`, `alias put|rm`, `set put|rm`.
    Changes(Box<ChangesDocument>),
    /// To `alias ls`.
    Aliases(AliasesDocument),
    /// To `split`, `rollback`, `receipt show`.
    Receipt(Box<Receipt>),
    /// To `receipt ls`.
    Receipts(ReceiptsDocument),
    /// To `status`.
    Status(Box<StatusDocument>),
    /// To `hold` and `release`.
    Hold(Box<HoldDocument>),
    /// To `GET /v1/containers`.
    Containers(Box<ContainersDocument>),
    /// To `POST /v1/containers/leave` and `stay`.
    Leaving(Box<LeavingDocument>),
    /// To `flows`.
    Flows(Box<FlowsDocument>),
    /// To `upgrade --dry-run`.
    Forecast(Box<ForecastDocument>),
    /// To `detach`.
    Detached(DetachedDocument),
    /// To `upgrade`: how far it is, until it has finished.
    #[serde(skip)]
    Progress(watch::Receiver<Progress>),
}
