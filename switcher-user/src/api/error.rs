//! Errors as documents, and the exit code that each stands for.

use serde::{Deserialize, Serialize};

use super::SCHEMA;

/// What kind of error it is. The name is part of the contract; so is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The command, file or request is wrong.
    Invalid,
    /// No such alias.
    UnknownAlias,
    /// No such set.
    UnknownSet,
    /// No such receipt.
    UnknownReceipt,
    /// The agent's state does not allow it.
    Refused,
    /// The host or its kernel did not do it.
    HostFailed,
    /// The disk did not do it.
    StoreFailed,
    /// The time was up before anything changed.
    TimedOut,
    /// Another change of the alias is running.
    Busy,
    /// There is no agent at the socket; nothing was sent.
    NoAgent,
    /// It is not known how it ended, or it was done in part.
    Unknown,
}

impl ErrorCode {
    /// The exit code of the command.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::UnknownAlias
            | Self::UnknownSet
            | Self::UnknownReceipt
            | Self::Refused
            | Self::HostFailed
            | Self::StoreFailed
            | Self::TimedOut => 1,
            Self::Invalid => 2,
            Self::NoAgent => 5,
            Self::Busy => 6,
            Self::Unknown => 7,
        }
    }

    /// The HTTP status of the answer.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::UnknownAlias | Self::UnknownSet | Self::UnknownReceipt => 404,
            Self::TimedOut => 408,
            Self::Refused | Self::Busy => 409,
            Self::HostFailed | Self::NoAgent | Self::Unknown => 500,
            Self::StoreFailed => 507,
        }
    }
}

/// An error as a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Version of the document.
    pub schema: u32,
    /// What kind of error it is.
    pub code: ErrorCode,
    /// What happened, where, and what to do.
    pub message: String,
    /// The field of the stack file that it is about, as `aliases.web.listen[0]`.
    pub field: Option<String>,
}

impl ApiError {
    /// An error that is about no field.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            schema: SCHEMA,
            code,
            message: message.into(),
            field: None,
        }
    }
}
