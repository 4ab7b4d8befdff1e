//! The sockets.
//!
//! Datagrams are hickory's own server's. Its TCP part takes any number of connections, and spins when the host gives none, so that
//! part is ours: it has a bound on each, and asks the same answerer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use hickory_server::Server;
use hickory_server::net::BufDnsStreamHandle;
use hickory_server::net::runtime::TokioTime;
use hickory_server::net::xfer::Protocol;
use hickory_server::proto::op::MessageType;
use hickory_server::server::{Request, RequestHandler as _, ResponseHandle};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::answerer::Answerer;
use super::names::Names;
use super::socket;
use crate::model::Zone;

/// Longest question that is read from a connection.
const QUESTION_BYTES_MAX: usize = 1_232;
/// Most connections at a time; more wait.
const CONNECTIONS_MAX: usize = 64;
/// Most questions by one connection.
const QUESTIONS_MAX: usize = 256;
/// How long a connection may be silent.
const SILENT_FOR: Duration = Duration::from_secs(5);
/// How long no connection is taken after the host gave none.
const RETRY: Duration = Duration::from_millis(100);

/// Answers questions at one address, by UDP and by TCP.
#[derive(Debug)]
pub struct Responder {
    socket: UdpSocket,
    listener: TcpListener,
}

impl Responder {
    /// Takes the address, which the host may have only later. Within a runtime.
    ///
    /// # Errors
    /// When it is not to be had.
    pub fn bind(place: SocketAddr) -> io::Result<Self> {
        let (socket, listener) = socket::take(place)?;
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            listener: TcpListener::from_std(listener)?,
        })
    }

    /// Answers until nobody tells names any more.
    pub async fn serve(self, zone: Zone, mut names: watch::Receiver<Arc<Names>>) {
        let answerer = match Answerer::new(zone, names.clone()) {
            Ok(answerer) => answerer,
            Err(error) => return tracing::error!("names are not answered: {error}; name another zone with --dns-zone"),
        };
        let streams = tokio::spawn(take(self.listener, answerer.clone()));
        let mut server = Server::new(answerer);
        server.register_socket(self.socket);
        let told_no_more = async { while names.changed().await.is_ok() {} };
        tokio::select! {
            () = told_no_more => {}
            ended = server.block_until_done() => if let Err(error) = ended {
                tracing::error!("names are not answered any more: {error}; start the agent again");
            },
        }
        streams.abort();
    }
}

/// Takes connections, a bounded number at a time.
async fn take(listener: TcpListener, answerer: Answerer) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(permit) = Arc::clone(&free).acquire_owned().await {
        let Ok((stream, from)) = listener.accept().await else {
            sleep(RETRY).await;
            continue;
        };
        let answerer = answerer.clone();
        tokio::spawn(async move {
            // Whoever breaks off asks again.
            let _ = converse(stream, from, &answerer).await;
            drop(permit);
        });
    }
}

/// Questions by one connection, each with its length before it, as RFC 1035 4.2.2 has it.
async fn converse(mut stream: TcpStream, from: SocketAddr, answerer: &Answerer) -> io::Result<()> {
    for _ in 0..QUESTIONS_MAX {
        let question = async {
            let length = usize::from(stream.read_u16().await?);
            if length > QUESTION_BYTES_MAX {
                return Err(io::Error::from(io::ErrorKind::InvalidData));
            }
            let mut packet = vec![0; length];
            stream.read_exact(&mut packet).await?;
            Ok(packet)
        };
        let packet = timeout(SILENT_FOR, question).await??;
        let Some(answer) = reply(answerer, packet, from, Protocol::Tcp).await else {
            break;
        };
        let Ok(length) = u16::try_from(answer.len()) else { break };
        let whole = [&length.to_be_bytes()[..], &answer].concat();
        timeout(SILENT_FOR, stream.write_all(&whole)).await??;
    }
    Ok(())
}

/// The answer to a packet; `None`: it is no question at all.
async fn reply(answerer: &Answerer, packet: Vec<u8>, from: SocketAddr, protocol: Protocol) -> Option<Vec<u8>> {
    let request = Request::from_bytes(packet, from, protocol).ok()?;
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    let (sender, mut sent) = BufDnsStreamHandle::new(from);
    let handle = ResponseHandle::new(from, sender, protocol);
    answerer.handle_request::<_, TokioTime>(&request, handle).await;
    let (answer, _) = sent.next().await?.into_parts();
    Some(answer)
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
