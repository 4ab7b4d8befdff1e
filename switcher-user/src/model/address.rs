//! An address that the agent added to this host.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What the state directory says of one: only these are ever removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddedAddress {
    /// The address.
    pub address: IpAddr,
    /// The interface that has it.
    pub interface: String,
    /// It was added without asking whether somebody else has it.
    #[serde(default)]
    pub forced: bool,
}
