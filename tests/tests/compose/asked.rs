//! A name that is looked up again and again while a load runs: each time it has to be answered, and with the same address.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use switcher_tests::lab::Namespace;

const PAUSE: Duration = Duration::from_millis(50);
/// How long a resolver waits for one server.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// A load ends long before.
const LOOKUPS_MAX: u64 = 100_000;

/// Lookups under way.
pub struct Asked {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Result<u64>>,
}

impl Asked {
    /// Asks this resolver from within a container for `name`, which is at `address`.
    pub fn start(space: &Namespace, resolver: IpAddr, name: &str, address: IpAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (name, over) = (Name::from_ascii(name).unwrap(), Arc::clone(&stop));
        let asking = space.spawn(move || {
            for number in 0..LOOKUPS_MAX {
                if over.load(Ordering::Relaxed) {
                    return Ok(number);
                }
                let found = look_up(resolver, &name).with_context(|| format!("lookup {number} of {name}"))?;
                ensure!(
                    found == [address],
                    "lookup {number} of {name}: {found:?}, not {address}"
                );
                std::thread::sleep(PAUSE);
            }
            Ok(LOOKUPS_MAX)
        });
        let asking = asking.unwrap();
        Self { stop, asking }
    }

    /// Ends them; each was answered. Returns how many there were.
    pub fn all_answered(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let lookups = self.asking.join().unwrap().unwrap();
        eprintln!("inside: {lookups} lookups of the name, all answered with the alias's own address");
        assert!(lookups > 0);
        lookups
    }
}

fn look_up(resolver: IpAddr, name: &Name) -> Result<Vec<IpAddr>> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.clone(), RecordType::A));
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(ANSWER_LIMIT))?;
    socket.connect(SocketAddr::new(resolver, 53))?;
    socket.send(&message.to_vec()?)?;
    let mut packet = [0; 512];
    let length = socket.recv(&mut packet)?;
    let answer = Message::from_vec(&packet[..length])?;
    ensure!(
        answer.metadata.id == message.metadata.id,
        "an answer to another question"
    );
    let addresses = answer.answers.iter().filter_map(|record| match &record.data {
        RData::A(v4) => Some(IpAddr::V4(v4.0)),
        _ => None,
    });
    Ok(addresses.collect())
}
