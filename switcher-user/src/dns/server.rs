//! The sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::message::{Names, answer};

/// Longest question that is read.
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
    /// Takes the address.
    ///
    /// # Errors
    /// When it is not to be had.
    pub async fn bind(place: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(place).await?;
        Ok(Self {
            listener: TcpListener::bind(socket.local_addr()?).await?,
            socket,
        })
    }

    /// Answers until nobody tells names any more.
    pub async fn serve(self, mut names: watch::Receiver<Arc<Names>>) {
        let streams = tokio::spawn(take(self.listener, names.clone()));
        let mut packet = vec![0; QUESTION_BYTES_MAX];
        loop {
            let received = tokio::select! {
                received = self.socket.recv_from(&mut packet) => received,
                changed = names.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => break,
                },
            };
            // An error here is about an earlier answer that did not arrive.
            let Ok((length, from)) = received else { continue };
            let known = Arc::clone(&names.borrow());
            if let Some(answer) = answer(&packet[..length], from.ip().to_canonical(), &known) {
                let _ = self.socket.send_to(&answer, from).await;
            }
        }
        streams.abort();
    }
}

/// Takes connections, a bounded number at a time.
async fn take(listener: TcpListener, names: watch::Receiver<Arc<Names>>) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(permit) = Arc::clone(&free).acquire_owned().await {
        let Ok((stream, from)) = listener.accept().await else {
            sleep(RETRY).await;
            continue;
        };
        let names = names.clone();
        tokio::spawn(async move {
            // Whoever breaks off asks again.
            let _ = converse(stream, from.ip().to_canonical(), &names).await;
            drop(permit);
        });
    }
}

/// Questions by one connection, each with its length before it, as RFC 1035 4.2.2 has it.
async fn converse(mut stream: TcpStream, client: IpAddr, names: &watch::Receiver<Arc<Names>>) -> io::Result<()> {
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
        let known = Arc::clone(&names.borrow());
        let Some(answer) = answer(&packet, client, &known) else {
            break;
        };
        let Ok(length) = u16::try_from(answer.len()) else { break };
        let whole = [&length.to_be_bytes()[..], &answer].concat();
        timeout(SILENT_FOR, stream.write_all(&whole)).await??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::message::tests::{names, question};
    use super::*;

    const TYPE_A: u16 = 1;

    async fn ask(stream: &mut TcpStream, packet: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_u16(u16::try_from(packet.len()).unwrap()).await?;
        stream.write_all(packet).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn one_connection_asks_twice_and_a_bad_one_is_closed() {
        let responder = Responder::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let place = responder.listener.local_addr().unwrap();
        assert_eq!(place, responder.socket.local_addr().unwrap(), "one address for both");
        let (told, heard) = watch::channel(Arc::new(Names::default()));
        tokio::spawn(responder.serve(heard));

        let mut stream = TcpStream::connect(place).await.unwrap();
        let packet = question("web.switcher.internal", TYPE_A);
        let unknown = ask(&mut stream, &packet).await.unwrap();
        assert_eq!(unknown[3] & 15, 3, "no such name yet");
        told.send(Arc::new(names())).unwrap();
        let known = ask(&mut stream, &packet).await.unwrap();
        assert_eq!(known[known.len() - 4..], [198, 18, 255, 2]);

        let mut bad = TcpStream::connect(place).await.unwrap();
        bad.write_u16(u16::MAX).await.unwrap();
        assert_eq!(bad.read(&mut [0; 1]).await.unwrap_or(0), 0, "too long a question");
        assert!(ask(&mut stream, &packet).await.is_ok(), "others go on");
    }
}
