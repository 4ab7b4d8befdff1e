//! The socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::message::{Names, answer};

/// Longest question that is read.
const QUESTION_BYTES_MAX: usize = 1_232;

/// Answers questions at one address.
#[derive(Debug)]
pub struct Responder {
    socket: UdpSocket,
}

impl Responder {
    /// Takes the address.
    ///
    /// # Errors
    /// When it is not to be had.
    pub async fn bind(place: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            socket: UdpSocket::bind(place).await?,
        })
    }

    /// Answers until nobody tells names any more.
    pub async fn serve(self, mut names: watch::Receiver<Arc<Names>>) {
        let mut packet = vec![0; QUESTION_BYTES_MAX];
        loop {
            let received = tokio::select! {
                received = self.socket.recv_from(&mut packet) => received,
                changed = names.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
            };
            // An error here is about an earlier answer that did not arrive.
            let Ok((length, from)) = received else { continue };
            let known = Arc::clone(&names.borrow());
            if let Some(answer) = answer(&packet[..length], &known) {
                let _ = self.socket.send_to(&answer, from).await;
            }
        }
    }
}
