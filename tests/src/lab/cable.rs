//! A cable between two namespaces that behaves as one between two machines: what comes out of it is a frame as on a wire, with
//! its checksum complete and no larger than the MTU, and its devices' drivers can send on by XDP. A veth is no such thing.
//!
//! Each end is a tap device, and socat carries frames from the one to the other.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use super::Namespace;
use super::process::{Process, tail};
use crate::interrupt;

const START_LIMIT: Duration = Duration::from_secs(10);

/// So many frames wait for a socat that does not get its turn; a frame that XDP sends on is lost where the queue is full.
const QUEUE_FRAMES: &str = "20000";

/// One end: a device to be made in a namespace.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Where.
    pub space: &'a Namespace,
    /// The device's name.
    pub device: &'a str,
}

/// A cable that is plugged in. Dropping it takes both devices away.
#[derive(Debug)]
pub struct Cable {
    _ends: [Process; 2],
}

impl Cable {
    /// Makes both devices and connects them. `dir` takes the socket between them, and what socat says.
    ///
    /// # Errors
    /// If a device cannot be made.
    pub fn plug(dir: &Path, near: End<'_>, far: End<'_>) -> Result<Self> {
        let name = format!("cable-{}", near.device);
        let socket = dir.join(&name);
        // A sequence of packets: one write is one frame.
        let listen = format!("UNIX-LISTEN:{},type=5", socket.display());
        let connect = format!("UNIX-CONNECT:{},type=5,retry=100,interval=0.05", socket.display());
        let cable = Self {
            _ends: [
                carrier(near, &connect, &dir.join(format!("{name}-near.log")))?,
                carrier(far, &listen, &dir.join(format!("{name}-far.log")))?,
            ],
        };
        interrupt::wait_for("both ends of a cable are there", START_LIMIT, || {
            for end in [near, far] {
                let shown = end.space.run(&["ip", "-o", "link", "show", "up", "dev", end.device])?;
                if shown.code != 0 || !shown.stdout.contains("LOWER_UP") {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .or_else(|error| bail!("{error:#}: {}", tail(&dir.join(format!("{name}-far.log")))))?;
        for end in [near, far] {
            let line = ["ip", "link", "set", end.device, "txqueuelen", QUEUE_FRAMES];
            end.space.run(&line)?.expect_code(&[0])?;
        }
        Ok(cable)
    }
}

fn carrier(end: End<'_>, other: &str, log: &Path) -> Result<Process> {
    let log = fs::File::create(log)?;
    let tap = format!("TUN,tun-name={},tun-type=tap,iff-no-pi,iff-up", end.device);
    let mut command = end.space.server("socat");
    // Frames of the largest MTU, and no copy of each into a log.
    command.args(["-b", "65536", &tap, other]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Process::spawn("socat", &mut command, Signal::SIGTERM)
}
