//! The address at which names are answered, taken also before the host has it.
//!
//! At boot the agent is there before Docker has made `docker0`. An agent that ended for that would leave every alias down.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Socket, Type};

/// Connections that wait to be taken.
const BACKLOG: i32 = 128;

/// Both sockets, at the same address and port, ready for a runtime.
pub(super) fn take(place: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let socket: UdpSocket = at(place, Type::DGRAM)?.into();
    let stream = at(socket.local_addr()?, Type::STREAM)?;
    stream.listen(BACKLOG)?;
    Ok((socket, stream.into()))
}

fn at(place: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(place), kind, None)?;
    socket.set_nonblocking(true)?;
    if kind == Type::STREAM {
        // Connections of the agent before may still be on their way out.
        socket.set_reuse_address(true)?;
    }
    match socket.bind(&place.into()) {
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
            bind_early(&socket, place)?;
            if kind == Type::DGRAM {
                tracing::warn!(
                    "the host does not have {} yet; names are answered once it does",
                    place.ip()
                );
            }
        }
        bound => bound?,
    }
    Ok(socket)
}

fn bind_early(socket: &Socket, place: SocketAddr) -> io::Result<()> {
    match place {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
    }
    socket.bind(&place.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_not_there_yet_is_taken_and_one_that_is_taken_is_not() {
        for early in ["192.0.2.53:0", "[2001:db8::53]:0"] {
            let (socket, stream) = take(early.parse().unwrap()).unwrap();
            let place = socket.local_addr().unwrap();
            assert_eq!(stream.local_addr().unwrap(), place);
            assert_eq!(place.ip(), early.parse::<SocketAddr>().unwrap().ip());
            assert_eq!(take(place).unwrap_err().kind(), ErrorKind::AddrInUse);
        }
    }
}
