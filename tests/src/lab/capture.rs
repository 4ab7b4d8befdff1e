//! Packets as a device saw them, by tcpdump, which says itself whether it missed any.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::Namespace;
use super::process::Process;
use crate::interrupt;

/// SYNs that open a connection (not SYN-ACKs), either family.
pub const SYN_FILTER: &str = "(ip and tcp[13] & 0x12 == 0x02) or (ip6 and ip6[6] == 6 and ip6[53] & 0x12 == 0x02)";
/// Beginnings and ends of connections, either family: SYNs, FINs and resets.
pub const ENDS_FILTER: &str = "(ip and tcp[13] & 0x07 != 0) or (ip6 and ip6[6] == 6 and ip6[53] & 0x07 != 0)";

/// A bound on what one capture keeps.
const PACKETS_MAX: usize = 2_000_000;
const START_LIMIT: Duration = Duration::from_secs(10);
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// One captured packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When the device had it, microseconds since 1970.
    pub at_us: u64,
    /// Its source.
    pub source: SocketAddr,
    /// Its destination.
    pub destination: SocketAddr,
    /// Of TCP: its flags in tcpdump's letters, `S`, `F`, `R`, `P` and `.` for an acknowledgement; else empty.
    pub flags: String,
    /// Of TCP: the sequence number after its bytes, a FIN not counted; 0 where tcpdump prints none.
    pub end: u32,
}

/// What a whole capture holds.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    /// The packets in order.
    pub packets: Vec<Packet>,
    /// Packets that the filter took and the capture lost; a count is only true while this is 0.
    pub missed: u64,
}

impl Captured {
    /// How many packets came within `from_us..to_us`.
    #[must_use]
    pub fn count_between(&self, from_us: u64, to_us: u64) -> usize {
        self.packets
            .iter()
            .filter(|packet| (from_us..to_us).contains(&packet.at_us))
            .count()
    }
}

/// A running capture. Dropping it stops it.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    packets: Arc<Mutex<Vec<Packet>>>,
    readers: Vec<JoinHandle<String>>,
}

impl Capture {
    /// Captures what `filter` takes on `device` of `space`; returns once it listens.
    ///
    /// # Errors
    /// If tcpdump cannot be started.
    pub fn start(space: &Namespace, device: &str, filter: &str) -> Result<Self> {
        let mut command = space.command("tcpdump");
        command.args([
            "-i",
            device,
            "-n",
            "-S",
            "-tt",
            "-l",
            "-B",
            "8192",
            "-s",
            "128",
            "--immediate-mode",
            filter,
        ]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Process::spawn("tcpdump", &mut command, Signal::SIGINT)?;
        let stdout = process.child().stdout.take().context("tcpdump has no stdout")?;
        let stderr = process.child().stderr.take().context("tcpdump has no stderr")?;
        let packets = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::new(Mutex::new(String::new()));
        let readers = vec![
            thread::spawn({
                let packets = Arc::clone(&packets);
                move || read_packets(stdout, &packets)
            }),
            thread::spawn({
                let notes = Arc::clone(&notes);
                move || read_notes(stderr, &notes)
            }),
        ];
        interrupt::wait_for("tcpdump listens", START_LIMIT, || {
            if process.ended()?.is_some() {
                bail!(
                    "tcpdump ended: {}",
                    notes.lock().unwrap_or_else(PoisonError::into_inner)
                );
            }
            Ok(notes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains("listening on"))
        })?;
        Ok(Self {
            process,
            packets,
            readers,
        })
    }

    /// How many packets it has seen so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Ends it and hands over what it saw.
    ///
    /// # Errors
    /// If tcpdump does not end or its last words do not say how many packets it missed.
    pub fn stop(mut self) -> Result<Captured> {
        self.process.stop_with(Signal::SIGINT, STOP_LIMIT)?;
        let said: String = self.readers.drain(..).filter_map(|reader| reader.join().ok()).collect();
        let missed = said
            .lines()
            .find_map(|line| line.split_once(" packets dropped by kernel"))
            .and_then(|(count, _)| count.trim().parse().ok())
            .with_context(|| format!("tcpdump's last words have no count of missed packets: {}", said.trim()))?;
        let packets = std::mem::take(&mut *self.packets.lock().unwrap_or_else(PoisonError::into_inner));
        if packets.len() >= PACKETS_MAX {
            bail!("a capture saw {PACKETS_MAX} packets or more; its bound is too low for this run");
        }
        Ok(Captured { packets, missed })
    }
}

/// Reads packets until tcpdump ends; returns lines it could not read, so that none is lost in silence.
fn read_packets(stdout: impl Read, packets: &Mutex<Vec<Packet>>) -> String {
    let mut strange = String::new();
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        match parse(&line) {
            Some(packet) => {
                let mut packets = packets.lock().unwrap_or_else(PoisonError::into_inner);
                if packets.len() < PACKETS_MAX {
                    packets.push(packet);
                }
            }
            None => strange = format!("unread line: {line}\n"),
        }
    }
    strange
}

fn read_notes(stderr: impl Read, notes: &Mutex<String>) -> String {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push_str(&line);
        notes.push('\n');
    }
    notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// `1700000000.123456 IP 10.0.0.2.4000 > 10.1.0.2.8080: Flags [S], ...`
fn parse(line: &str) -> Option<Packet> {
    let mut words = line.split_whitespace();
    let (seconds, micros) = words.next()?.split_once('.')?;
    let at_us = seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?;
    words.next()?;
    let source = endpoint(words.next()?)?;
    words.next().filter(|&arrow| arrow == ">")?;
    let destination = endpoint(words.next()?.trim_end_matches(':'))?;
    let flags = between(line, "Flags [", "]").unwrap_or_default().to_owned();
    let numbers = between(line, " seq ", ",").unwrap_or_default();
    let end = numbers.rsplit(':').next().and_then(|end| end.parse().ok());
    Some(Packet {
        at_us,
        source,
        destination,
        flags,
        end: end.unwrap_or(0),
    })
}

fn between<'a>(line: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(line.split_once(before)?.1.split_once(after)?.0)
}

/// `10.0.0.2.4000` or `fd00::2.4000`: the port stands behind the last dot.
fn endpoint(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.rsplit_once('.')?;
    Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn flags_and_numbers() {
        let of = |rest: &str| {
            let line = format!("1700000000.000123 IP 10.0.0.2.4000 > 10.1.0.2.8080: {rest}");
            let packet = parse(&line).unwrap();
            (packet.flags, packet.end)
        };
        assert_eq!(of("Flags [S], seq 7, win 1, length 0"), ("S".to_owned(), 7));
        assert_eq!(of("Flags [FP.], seq 7:12, ack 1, length 5"), ("FP.".to_owned(), 12));
        assert_eq!(of("Flags [.], ack 1, length 0"), (".".to_owned(), 0));
        assert_eq!(of("UDP, length 5"), (String::new(), 0));
    }

    #[test]
    fn lines_of_both_families() {
        let v4 = parse("1700000000.000123 IP 10.0.0.2.4000 > 10.1.0.2.8080: Flags [S], seq 1, length 0").unwrap();
        assert_eq!(v4.at_us, 1_700_000_000_000_123);
        assert_eq!(
            (v4.source, v4.destination),
            ("10.0.0.2:4000".parse().unwrap(), "10.1.0.2:8080".parse().unwrap())
        );
        let v6 = parse("1700000000.000123 IP6 fd00:c::2.4000 > fd00::2.8080: Flags [R], seq 1, length 0").unwrap();
        assert_eq!(
            (v6.source, v6.destination),
            ("[fd00:c::2]:4000".parse().unwrap(), "[fd00::2]:8080".parse().unwrap())
        );
        assert!(parse("tcpdump: something else").is_none());
    }
}
