//! Flows that failed, as the kernel saw it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// How a flow failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The backend answered the SYN with a RST.
    Refused,
    /// The handshake never completed.
    TimedOut,
    /// A RST of the client before the handshake was complete.
    ResetInHandshakeByClient,
    /// A RST of the backend after its SYN-ACK and before the handshake was complete.
    ResetInHandshakeByBackend,
    /// A RST of the client.
    ResetByClient,
    /// A RST of the backend.
    ResetByBackend,
}

impl Failure {
    /// As it is written.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timed out in its handshake",
            Self::ResetInHandshakeByClient => "reset by the client in its handshake",
            Self::ResetInHandshakeByBackend => "reset by the backend in its handshake",
            Self::ResetByClient => "reset by the client",
            Self::ResetByBackend => "reset by the backend",
        }
    }
}

/// One flow that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedFlow {
    /// Its last packet, on CLOCK_MONOTONIC; to a millisecond.
    pub at_ns: u64,
    /// The client.
    pub client: SocketAddr,
    /// Where the client connected to.
    pub listener: SocketAddr,
    /// The backend.
    pub backend: SocketAddr,
    /// How it failed.
    pub how: Failure,
}
