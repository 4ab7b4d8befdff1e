//! Ends flows that live: asks both ends for the numbers that they expect next, and sends each the RST that it takes.
//!
//! The data path has seen every packet of the flow, so its record nearly says the numbers; nearly is not enough (RFC 5961:
//! a RST beside the very number is answered, not obeyed). An old segment makes an end say the exact one. What is sent
//! goes through the programs like any packet: they see the answers, and the end.

mod course;
mod frame;
mod inject;
mod sockets;

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use aya::Ebpf;
use switcher_ebpf::abi::{FlowIdentity, FlowRecord, FlowSide, FlowTraffic, PATH_LOCAL, StateWord};
use switcher_ebpf::parse::PROTOCOL_TCP;

use self::course::{Course, Numbers, Step};
use self::frame::{Flags, Segment};
use self::inject::{Injector, Sent, Way};
use self::sockets::Destroyed;
pub(super) use self::sockets::Sockets;
use super::KernelError;
use super::xdp;

pub use self::course::Ended;

/// A flow's place in the table. It is that flow's only for as long as the flow lives there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowPlace {
    /// The record.
    pub slot: u32,
    /// How often the record was used.
    pub generation: u32,
}

/// A flow that is being ended.
#[derive(Debug)]
pub struct Ending {
    place: FlowPlace,
    course: Course,
}

impl Ending {
    /// Nothing is sent yet.
    #[must_use]
    pub fn new(place: FlowPlace) -> Self {
        Self {
            place,
            course: Course::default(),
        }
    }

    /// Where the table has it.
    #[must_use]
    pub const fn place(&self) -> FlowPlace {
        self.place
    }
}

/// What an ending reads and sends by.
pub(super) struct Tools<'a> {
    pub(super) ebpf: &'a mut Ebpf,
    pub(super) root: &'a Path,
    pub(super) sockets: &'a mut Sockets,
    pub(super) records: &'a [FlowRecord],
    pub(super) traffic: &'a [FlowTraffic],
}

/// Takes each flow a step on. `Some`: it is over, and how.
pub(super) fn go_on(tools: Tools<'_>, endings: &mut [Ending]) -> Result<Vec<Option<Ended>>, KernelError> {
    let mut injector = Injector::new(tools.ebpf)?;
    let now = Instant::now();
    let mut all = Vec::with_capacity(endings.len());
    for ending in endings {
        let slot = ending.place.slot as usize;
        let (Some(record), Some(traffic)) = (tools.records.get(slot), tools.traffic.get(slot)) else {
            all.push(Some(Ended::Gone));
            continue;
        };
        let Some(id) = identity(record, ending.place) else {
            all.push(Some(ending.course.lost_sight()));
            continue;
        };
        if id.path == PATH_LOCAL {
            all.push(Some(end_socket(tools.sockets, record, ending.place, &id)));
            continue;
        }
        let flow = Flow::read(record, id, tools.root);
        let numbers = numbers(record, traffic);
        all.push(flow.step(&mut injector, &mut ending.course, &numbers, now)?);
    }
    Ok(all)
}

/// Who talks to whom; `None`: the record has another flow by now, or one that ends otherwise.
fn identity(record: &FlowRecord, place: FlowPlace) -> Option<FlowIdentity> {
    let word = StateWord(record.word.load(Relaxed));
    let id = record.identity.load();
    let is_same = word.is_readable() && word.generation() == place.generation;
    (is_same && id.protocol == PROTOCOL_TCP).then_some(id)
}

/// A local client's flow has one end here, and its TCP tells the other.
fn end_socket(sockets: &mut Sockets, record: &FlowRecord, place: FlowPlace, id: &FlowIdentity) -> Ended {
    let side = &record.client;
    side.flags.store(side.flags.load(Relaxed) | FlowSide::CUT, Relaxed);
    let cookie = u64::from(side.acked.load(Relaxed)) << 32 | u64::from(side.next.load(Relaxed));
    match sockets.destroy(id, cookie) {
        Destroyed::Yes => Ended::Cut { answered: true },
        Destroyed::NotFound if identity(record, place).is_none() => Ended::Gone,
        Destroyed::NotFound => {
            tracing::warn!("a local client's socket was not found, and not reset");
            Ended::Unsure
        }
        Destroyed::Refused(error) => {
            tracing::warn!("a local client's socket could not be reset: {error}");
            Ended::Unsure
        }
    }
}

fn numbers(record: &FlowRecord, traffic: &FlowTraffic) -> Numbers {
    let (client, backend) = (&record.client, &record.backend);
    let early = client.flags.load(Relaxed) & FlowSide::FIN_EARLY != 0;
    Numbers {
        client_next: client.next.load(Relaxed),
        client_acked: (!early).then(|| client.acked.load(Relaxed)),
        backend_next: backend.next.load(Relaxed),
        backend_acked: backend.acked.load(Relaxed),
        packets_in: traffic.client.packets.load(Relaxed),
        packets_out: traffic.backend.packets.load(Relaxed),
    }
}

/// Who talks to whom, and where packets of it are put in.
struct Flow<'a> {
    record: &'a FlowRecord,
    id: FlowIdentity,
    client_ifindex: u32,
    /// Clients come in by the XDP program, which the agent's packets do not meet.
    by_xdp: bool,
    backend_sent_data: bool,
}

impl<'a> Flow<'a> {
    fn read(record: &'a FlowRecord, id: FlowIdentity, root: &Path) -> Self {
        let client_ifindex = record.client.ifindex.load(Relaxed);
        Self {
            record,
            id,
            client_ifindex,
            by_xdp: xdp::is_on(root, client_ifindex),
            backend_sent_data: record.backend.flags.load(Relaxed) & FlowSide::DATA != 0,
        }
    }

    fn step(
        &self,
        injector: &mut Injector<'_>,
        course: &mut Course,
        seen: &Numbers,
        now: Instant,
    ) -> Result<Option<Ended>, KernelError> {
        match course.next(seen, now) {
            Step::Wait => {}
            Step::Ask { backend, client } => {
                let backend = backend && self.ask_backend(injector, seen)?;
                let client = client && self.ask_client(injector, seen)?;
                course.asked(u64::from(backend && !self.by_xdp), u64::from(client), backend, client);
            }
            Step::Cut(numbers) => {
                // Before the RSTs, which are counted as the agent's by it. A packet of the flow at this very moment may write
                // over it, and the flow counts as reset by an end of its own.
                let flags = &self.record.backend.flags;
                flags.store(flags.load(Relaxed) | FlowSide::CUT, Relaxed);
                // The backend first: the client may begin anew on the same ports at once.
                for sequence in &numbers.to_backend {
                    let _ = self.to_backend(injector, *sequence, seen.client_acked(), Flags::Reset)?;
                }
                let mut reached = true;
                for sequence in &numbers.to_client {
                    reached &= self.to_client(injector, *sequence, seen.client_next(), Flags::Reset)?;
                }
                course.cut(numbers, reached);
            }
            Step::Over(ended) => return Ok(Some(ended)),
        }
        Ok(None)
    }

    /// A byte that the backend has had long since: TCP answers it at once, and with no limit on how often.
    fn ask_backend(&self, injector: &mut Injector<'_>, seen: &Numbers) -> Result<bool, KernelError> {
        let sequence = seen.backend_acked.wrapping_sub(2);
        self.to_backend(injector, sequence, seen.client_acked(), Flags::OldByte)
    }

    /// The same, where the tracker does not take it for the backend's first reply.
    fn ask_client(&self, injector: &mut Injector<'_>, seen: &Numbers) -> Result<bool, KernelError> {
        let flags = if self.backend_sent_data {
            Flags::OldByte
        } else {
            Flags::Old
        };
        let sequence = seen.client_acked().wrapping_sub(2);
        self.to_client(injector, sequence, seen.client_next(), flags)
    }

    fn to_backend(
        &self,
        injector: &mut Injector<'_>,
        sequence: u32,
        acknowledged: u32,
        flags: Flags,
    ) -> Result<bool, KernelError> {
        let id = &self.id;
        let (destination, destination_port, source_port) = if self.by_xdp {
            (id.backend, id.backend_port, id.source_port)
        } else {
            (id.listener, id.listener_port, id.client_port)
        };
        let segment = Segment {
            source: id.client,
            destination,
            source_port,
            destination_port,
            sequence,
            acknowledged,
            flags,
        };
        let sent = injector.send(&segment, self.client_ifindex, Way::Received)?;
        Ok(sent == Sent::Yes)
    }

    fn to_client(
        &self,
        injector: &mut Injector<'_>,
        sequence: u32,
        acknowledged: u32,
        flags: Flags,
    ) -> Result<bool, KernelError> {
        let id = &self.id;
        let segment = Segment {
            source: id.backend,
            destination: id.client,
            source_port: id.backend_port,
            destination_port: id.source_port,
            sequence,
            acknowledged,
            flags,
        };
        let sent = injector.send(&segment, self.client_ifindex, Way::Sent)?;
        Ok(sent == Sent::Yes)
    }
}
