//! What the generator is to do: a JSON document.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// One run of the generator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// What the ids of its requests begin with.
    pub run: String,
    /// Where requests go, in turn.
    pub targets: Vec<SocketAddr>,
    /// Who they come from.
    pub sources: Sources,
    /// What is sent.
    pub work: Work,
}

/// The addresses that connections come from; `None`: the client's own.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Sources {
    /// The first of 65,536 IPv4 addresses.
    pub v4: Option<Ipv4Addr>,
    /// The first of 65,536 IPv6 addresses.
    pub v6: Option<Ipv6Addr>,
}

impl Sources {
    /// The address of client `number` for a target, if there is a choice.
    #[must_use]
    pub fn pick(&self, number: u64, target: SocketAddr) -> Option<IpAddr> {
        // 0 and 65,535 are left out: they look like network and broadcast addresses.
        let host = 1 + number % 65_534;
        match target {
            SocketAddr::V4(_) => self
                .v4
                .map(|base| (u32::from(base) + u32::try_from(host).unwrap_or(1)).into())
                .map(IpAddr::V4),
            SocketAddr::V6(_) => self
                .v6
                .map(|base| (u128::from(base) + u128::from(host)).into())
                .map(IpAddr::V6),
        }
    }
}

/// What is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Work {
    /// A steady load.
    Load(LoadPlan),
    /// Many new connections, to measure shares.
    Sample(SamplePlan),
}

/// A steady load: every other request on a fresh connection, the rest in turn over kept-alive ones.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoadPlan {
    /// Requests due each second.
    pub rate_per_s: u32,
    /// The load ends by itself after this.
    pub seconds_max: u32,
    /// Connections opened before the first request and kept to the end; 0: all requests are on fresh ones.
    pub kept_alive: usize,
    /// Transfers that begin before the first request.
    pub upload: Option<TransferPlan>,
    /// Transfers that begin before the first request.
    pub download: Option<TransferPlan>,
    /// Beside the requests, UDP pings of each target, on long conversations and on new ones.
    #[serde(default)]
    pub pings: bool,
}

/// One long transfer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TransferPlan {
    /// The URL's path.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// It is held back to this speed until the load is told to stop.
    pub pace_bytes_per_s: u64,
    /// The seed of its pattern.
    pub seed: u64,
}

/// New connections with one request each, as fast as they go.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SamplePlan {
    /// How many in all.
    pub connections: u32,
    /// How many at a time.
    pub concurrency: usize,
}
