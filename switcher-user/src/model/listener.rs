//! Listeners: where clients find an alias.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, RFC 9293.
    Tcp,
    /// UDP, RFC 768.
    Udp,
}

impl Protocol {
    /// The protocol's number in the IP header (IANA).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// Where clients find an alias: `ADDR:PORT/PROTO`, as `198.51.100.10:80/tcp` or `[2001:db8::10]:80/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Listener {
    /// The address that clients connect to.
    pub address: IpAddr,
    /// The port that clients connect to, never 0.
    pub port: u16,
    /// The transport protocol.
    pub protocol: Protocol,
}

/// Why a text is no listener.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ListenerError {
    /// The protocol is missing.
    #[error("listener '{0}' names no protocol; write it as '{0}/tcp'")]
    NoProtocol(String),
    /// The protocol is none that this build carries.
    #[error("listener '{0}': protocol '{1}' is not supported; use tcp or udp")]
    BadProtocol(String, String),
    /// The address and port do not parse.
    #[error("listener '{0}' is not ADDR:PORT/PROTO; write it as 198.51.100.10:80/tcp or [2001:db8::10]:80/tcp")]
    BadAddress(String),
    /// The address can be no listener.
    #[error("listener '{0}': {1}")]
    Unusable(String, &'static str),
}

impl FromStr for Listener {
    type Err = ListenerError;

    fn from_str(text: &str) -> Result<Self, ListenerError> {
        let (socket, protocol) = text
            .rsplit_once('/')
            .ok_or_else(|| ListenerError::NoProtocol(text.to_owned()))?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => return Err(ListenerError::BadProtocol(text.to_owned(), other.to_owned())),
        };
        let socket: SocketAddr = socket.parse().map_err(|_| ListenerError::BadAddress(text.to_owned()))?;
        let unusable = |why| Err(ListenerError::Unusable(text.to_owned(), why));
        if socket.port() == 0 {
            return unusable("port 0 is no port; use 1 to 65535");
        }
        if let Some(why) = super::backend::unusable(socket.ip()) {
            return unusable(why);
        }
        Ok(Self {
            address: socket.ip(),
            port: socket.port(),
            protocol,
        })
    }
}

impl TryFrom<String> for Listener {
    type Error = ListenerError;
    fn try_from(text: String) -> Result<Self, ListenerError> {
        text.parse()
    }
}

impl From<Listener> for String {
    fn from(listener: Listener) -> Self {
        listener.to_string()
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        f.pad(&format!("{}/{protocol}", SocketAddr::new(self.address, self.port)))
    }
}
