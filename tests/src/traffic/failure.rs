//! Why a request failed.

use std::fmt;
use std::io;

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection was refused.
    Refused,
    /// The other side reset the connection.
    Reset,
    /// The connection ended before the answer was whole.
    ClosedEarly,
    /// No whole answer within the time that any request has.
    TimedOut,
    /// The kept-alive connection had broken before; it is never opened again.
    ConnectionGone,
    /// So many requests wait already that this one is given up.
    TooManyWaiting,
    /// An answer, but not the one asked for.
    WrongAnswer(String),
    /// Another error of the system.
    System(io::ErrorKind),
}

impl Failure {
    /// A short name to count by.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Refused => "refused".to_owned(),
            Self::Reset => "reset".to_owned(),
            Self::ClosedEarly => "closed-early".to_owned(),
            Self::TimedOut => "timed-out".to_owned(),
            Self::ConnectionGone => "connection-gone".to_owned(),
            Self::TooManyWaiting => "too-many-waiting".to_owned(),
            Self::WrongAnswer(_) => "wrong-answer".to_owned(),
            Self::System(kind) => format!("system: {kind}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongAnswer(what) => write!(f, "wrong answer: {what}"),
            other => f.write_str(&other.kind()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            // EPIPE is what a write sees after the reset was already read.
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::UnexpectedEof => Self::ClosedEarly,
            io::ErrorKind::TimedOut => Self::TimedOut,
            kind => Self::System(kind),
        }
    }
}
