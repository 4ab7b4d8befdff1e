//! UDP pings, each answered or counted as lost. Nothing is sent again.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use crate::clock::unix_us;
use crate::lab::Namespace;

/// A ping that is not answered within this is lost. Nobody sends one again, so a longer wait hides no loss, and a machine that
/// stands still for a second makes none.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The pause between two pings of one thread.
const PAUSE: Duration = Duration::from_millis(5);
/// Pings of one thread end by themselves after this many.
const PINGS_MAX: u64 = 1_000_000;

/// Ports that are tried for one new conversation.
const PORT_TRIES_MAX: u32 = 1_000;

/// What became of one ping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Whom it asked.
    pub target: SocketAddr,
    /// From which port.
    pub port: u16,
    /// When it was sent, microseconds since 1970.
    pub sent_us: u64,
    /// When its answer was there, or it was given up.
    pub ended_us: u64,
    /// On a socket of its own, so a new conversation; else one of a long conversation.
    pub fresh: bool,
    /// Who answered; `None`: nobody, it is lost.
    pub answer: Option<String>,
}

/// What one thread of pings does.
type Work = Box<dyn FnOnce() -> Result<Vec<Ping>> + Send>;

/// Pings on their way: for each target one long conversation, and new ones all the time.
#[derive(Debug)]
pub struct Pings {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Vec<Ping>>>>,
}

impl Pings {
    /// Starts them in a namespace.
    ///
    /// # Errors
    /// If the namespace is gone.
    pub fn start(space: &Namespace, targets: &[SocketAddr]) -> Result<Self> {
        Self::spawn(targets, PAUSE, |work| space.spawn(work))
    }

    /// Starts them where this process is, with this pause between two pings of one thread.
    pub(super) fn here(targets: &[SocketAddr], pause: Duration) -> Result<Self> {
        Self::spawn(targets, pause, |work| Ok(std::thread::spawn(work)))
    }

    fn spawn(
        targets: &[SocketAddr],
        pause: Duration,
        start: impl Fn(Work) -> Result<JoinHandle<Result<Vec<Ping>>>>,
    ) -> Result<Self> {
        let mut pings = Self {
            stop: Arc::new(AtomicBool::new(false)),
            threads: Vec::new(),
        };
        for target in targets.iter().copied() {
            for fresh in [false, true] {
                let stop = Arc::clone(&pings.stop);
                let work = move || run(target, fresh, pause, &stop);
                pings.threads.push(start(Box::new(work))?);
            }
        }
        Ok(pings)
    }

    /// Ends them and tells what became of each.
    ///
    /// # Errors
    /// If a socket failed.
    pub fn stop(mut self) -> Result<Vec<Ping>> {
        self.stop.store(true, Relaxed);
        let mut all = Vec::new();
        for thread in std::mem::take(&mut self.threads) {
            all.extend(thread.join().map_err(|_| anyhow!("a thread of pings died"))??);
        }
        Ok(all)
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

fn run(target: SocketAddr, fresh: bool, pause: Duration, stop: &AtomicBool) -> Result<Vec<Ping>> {
    // The long conversation's; opened when first needed, since a local client's flow begins with it.
    let mut kept = None;
    let mut used = HashSet::new();
    let mut pings = Vec::new();
    for number in 0..PINGS_MAX {
        if stop.load(Relaxed) {
            break;
        }
        let sent_us = unix_us();
        let socket = match kept.take() {
            Some(socket) if !fresh => socket,
            _ if fresh => open_anew(target, &mut used)?,
            _ => open(target)?,
        };
        let answer = ping(&socket, number)?;

        pings.push(Ping {
            target,
            port: socket.local_addr()?.port(),
            sent_us,
            ended_us: unix_us(),
            fresh,
            answer,
        });
        kept = Some(socket);
        std::thread::sleep(pause);
    }
    Ok(pings)
}

fn open(target: SocketAddr) -> Result<UdpSocket> {
    connect(bind(target)?, target)
}

fn bind(target: SocketAddr) -> Result<UdpSocket> {
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).context("cannot open a socket for pings")?;
    socket.set_read_timeout(Some(ANSWER_LIMIT))?;
    Ok(socket)
}

fn connect(socket: UdpSocket, target: SocketAddr) -> Result<UdpSocket> {
    socket
        .connect(target)
        .with_context(|| format!("cannot ping {target}"))?;
    Ok(socket)
}

/// A socket with a port that none before had: the same port again is the same conversation again. One with a port that was
/// used is not connected: for a process on the host that alone is a flow.
fn open_anew(target: SocketAddr, used: &mut HashSet<u16>) -> Result<UdpSocket> {
    for _ in 0..PORT_TRIES_MAX {
        let socket = bind(target)?;
        if used.insert(socket.local_addr()?.port()) {
            return connect(socket, target);
        }
    }
    anyhow::bail!("no port is left for a new conversation with {target}")
}

/// Who answered. A refusal (ICMP) is no answer either.
fn ping(socket: &UdpSocket, number: u64) -> Result<Option<String>> {
    let text = format!("ping {number}");
    if socket.send(text.as_bytes()).is_err() {
        return Ok(None);
    }
    let mut buffer = [0; 2_048];
    let Ok(size) = socket.recv(&mut buffer) else {
        return Ok(None);
    };
    let answer = String::from_utf8_lossy(&buffer[..size]).into_owned();
    let (name, rest) = answer.split_once(' ').context("the echo answers with its name")?;
    anyhow::ensure!(rest == text, "{text:?} was answered with {rest:?}");
    Ok(Some(name.to_owned()))
}
