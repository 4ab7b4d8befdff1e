//! Backends: where a version of the application really is.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A backend's address: `ADDR` or `ADDR:PORT`; without a port it has the listener's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackendAddress {
    /// The backend's own address.
    pub address: IpAddr,
    /// The backend's port; `None`: the listener's.
    pub port: Option<NonZeroU16>,
}

/// Whether connections are taken at one of these ports of an address. No port: it was not asked for.
#[must_use]
pub fn is_open(address: IpAddr, ports: &BTreeSet<u16>, open: &BTreeSet<SocketAddr>) -> bool {
    ports.is_empty() || ports.iter().any(|port| open.contains(&SocketAddr::new(address, *port)))
}

/// Why a text is no backend.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BackendError {
    /// The text does not parse.
    #[error(
        "backend '{0}' is not ADDR[:PORT]; write it as 10.1.0.2:8080, [fd00::2]:8080 or an address alone (names are not looked up)"
    )]
    BadAddress(String),
    /// The address can be no backend.
    #[error("backend '{0}': {1}")]
    Unusable(String, &'static str),
}

/// Why no packet could be sent to `address`, if so.
pub(super) fn unusable(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Some("an IPv4 address inside an IPv6 one is ambiguous; write the IPv4 address itself")
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            Some("a link-local address means nothing without its interface; use a global or unique local address")
        }
        _ if address.is_unspecified() => Some("the unspecified address is no place; name one address"),
        _ if address.is_multicast() => Some("a multicast address is no single place; use a unicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address is no single place; use a unicast address"),
        _ => None,
    }
}

impl FromStr for BackendAddress {
    type Err = BackendError;

    fn from_str(text: &str) -> Result<Self, BackendError> {
        let bad = || BackendError::BadAddress(text.to_owned());
        let (address, port) = if let Ok(socket) = text.parse::<SocketAddr>() {
            let port = NonZeroU16::new(socket.port()).ok_or(BackendError::Unusable(
                text.to_owned(),
                "port 0 is no port; use 1 to 65535",
            ))?;
            (socket.ip(), Some(port))
        } else if let Ok(address) = text.parse::<IpAddr>() {
            (address, None)
        } else {
            let inner = text
                .strip_prefix('[')
                .and_then(|t| t.strip_suffix(']'))
                .ok_or_else(bad)?;
            (IpAddr::V6(inner.parse::<Ipv6Addr>().map_err(|_| bad())?), None)
        };
        match unusable(address) {
            Some(why) => Err(BackendError::Unusable(text.to_owned(), why)),
            None => Ok(Self { address, port }),
        }
    }
}

impl TryFrom<String> for BackendAddress {
    type Error = BackendError;
    fn try_from(text: String) -> Result<Self, BackendError> {
        text.parse()
    }
}

impl From<BackendAddress> for String {
    fn from(backend: BackendAddress) -> Self {
        backend.to_string()
    }
}

impl fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => f.pad(&SocketAddr::new(self.address, port.get()).to_string()),
            None => f.pad(&self.address.to_string()),
        }
    }
}
