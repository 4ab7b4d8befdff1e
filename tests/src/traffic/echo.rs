//! A UDP server that answers each datagram with its own name and what it got.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::lab::Namespace;

/// How often the server looks whether it is to end.
const STEP: Duration = Duration::from_millis(100);
/// The longest datagram it answers in full.
const DATAGRAM_BYTES_MAX: usize = 2_048;

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Echo {
    /// Starts it in a namespace, for both families, and returns once its port is bound.
    ///
    /// # Errors
    /// If the namespace cannot be entered or the port cannot be bound.
    pub fn start(space: &Namespace, name: &'static str, port: u16) -> Result<Self> {
        Self::start_at(space, name, (Ipv6Addr::UNSPECIFIED, port).into())
    }

    /// The same at one address: a host with several answers from the one that was asked only so.
    ///
    /// # Errors
    /// If the namespace cannot be entered or the address cannot be bound.
    pub fn start_at(space: &Namespace, name: &'static str, address: SocketAddr) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let socket = space
            .spawn(move || UdpSocket::bind(address).context("cannot bind the echo's address"))?
            .join()
            .map_err(|_| anyhow::anyhow!("the echo's thread died"))??;
        socket.set_read_timeout(Some(STEP))?;
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            serve(&socket, name, &flag);
            Ok(())
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, name: &str, stop: &AtomicBool) {
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    while !stop.load(Relaxed) {
        if let Ok((size, from)) = socket.recv_from(&mut buffer) {
            let answer = [name.as_bytes(), b" ", &buffer[..size]].concat();
            // A client that is gone is no reason to end.
            let _ = socket.send_to(&answer, from);
        }
    }
}
