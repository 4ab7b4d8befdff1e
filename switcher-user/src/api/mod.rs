//! `/v1` on the agent's unix socket: its documents, its errors, and the server that turns requests into [`Command`]s.
//!
//! It knows nothing of the agent: commands go into a bounded queue, answers come back through it.

mod command;
mod documents;
mod error;
mod extract;
mod flows;
mod forecast;
mod routes;
mod server;
mod status;

pub use crate::model::UpgradeRequest;
pub use command::{Command, Envelope, Reply};
pub use documents::{
    AliasPut, AliasSummary, AliasesDocument, ApplyRequest, CONTAINERS_NAMED_MAX, Change, ChangesDocument,
    ContainerStatus, ContainersDocument, ContainersQuery, ContainersRequest, DetachedDocument, HeldFlows, HoldDocument,
    HoldRequest, LeavingDocument, PlacePort, Places, Progress, ReceiptSummary, ReceiptsDocument, SetProgress, SetPut,
    SplitRequest,
};
pub use error::{ApiError, ErrorCode};
pub use extract::TIMEOUT_HEADER;
pub use flows::{FLOW_BACKENDS_MAX, FLOWS_LISTED, FLOWS_LISTED_MAX, FlowStatus, FlowsDocument, FlowsRequest};
pub use forecast::{ForecastAlias, ForecastDocument, ForecastSet, ForecastStep};
pub use server::{BindError, Server};
pub use status::{
    AcceptQueueStatus, AddressStatus, AliasStatus, AttachedStatus, BackendStatus, ChangeStatus, ClockReading,
    FlowCounts, FlowTable, LocalStatus, NO_HOOK, ReasonStatus, SetStatus, StatusDocument,
};

/// Version of all documents.
pub const SCHEMA: u32 = 1;
/// Largest request, in bytes: more than the largest stack file, as JSON.
pub const REQUEST_BYTES_MAX: usize = 8 << 20;
/// Where the socket is unless told otherwise.
pub const SOCKET_PATH: &str = "/run/switcher/switcher.sock";

#[cfg(test)]
mod tests;
