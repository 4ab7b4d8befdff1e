//! Facts about the host's network, read by netlink: where backends are, which rules could cover them.
//!
//! Everything is read in the network namespace of the thread that called [`Observer::new`]. Nothing is changed.

mod observed;

pub use observed::{BackendRoute, Interface, NetError, Observed, RouteKind};

use std::net::IpAddr;

/// Reads the facts. Made inside a tokio runtime.
#[derive(Clone, Debug)]
pub struct Observer {
    handle: rtnetlink::Handle,
}

// SIGNATURES FIRST: bodies are being written.
#[allow(clippy::todo, clippy::unused_async)]
impl Observer {
    /// Opens the netlink sockets, in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel refuses a socket.
    pub fn new() -> Result<Self, NetError> {
        todo!()
    }

    /// Where each of `backends` is, which firewall rules stand on this host, and its interfaces.
    ///
    /// # Errors
    /// When netlink fails; a backend without a route is no error, it is [`RouteKind::Unreachable`].
    pub async fn observe(&self, backends: &[IpAddr]) -> Result<Observed, NetError> {
        let _ = (backends, &self.handle);
        todo!()
    }

    /// The interfaces of the default routes, IPv4 and IPv6, each once.
    ///
    /// # Errors
    /// When netlink fails.
    pub async fn default_interfaces(&self) -> Result<Vec<Interface>, NetError> {
        todo!()
    }
}
