//! Opening a connection from a chosen address.

use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

use super::Failure;

/// Connects to `target`, from `source` if one is given.
pub(super) async fn connect(target: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream, Failure> {
    let socket = if target.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
