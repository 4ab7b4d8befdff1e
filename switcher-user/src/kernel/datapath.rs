//! The programs, maps and links of one agent.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, ArrayOfMaps, MapData, MapError, PerCpuArray, PerCpuValues, ProgramArray};
use aya::programs::SchedClassifier;
use switcher_ebpf::abi::{
    FLOW_SLOTS, FlowIdentity, FlowRecord, FlowSide, FlowTraffic, HeaderRow, IMAGE_MAGIC, LIVENESS_FRESH_UNTIL,
    LIVENESS_HOME, LIVENESS_WORDS, PATH_BYPASS, PATH_DRIVER, PATH_LOCAL, PATH_SOCKET, PENDING_SLOTS, Row, SETS_MAX,
    SetLatencies, State, StateWord, Word64, ticks,
};
use switcher_ebpf::connect;
use switcher_ebpf::flow::{idle_ticks, is_expired, is_unpinned};
use switcher_ebpf::reason::Reason;

use super::abi::Abi;
use super::accept::{AcceptQueue, AcceptQueues};
use super::adopt::{self, Found};
use super::cgroup::{self, CgroupChoice, LocalClients};
use super::counters::{self, SetWords};
use super::ending::{self, Ended, Ending, FlowPlace};
use super::error::{KernelError, NEEDS_RIGHTS, SEE_REASON, step};
use super::figures::{Flip, FlowFigures, FlowPath, FlowState, FlowView, ReasonCount, SetCounters};
use super::hooks::{self, Attached, Direction, HookMode, Hooks, Place, Role};
use super::mapped::{Access, Mapped};
use super::xdp::{self, Device};
use super::{bpffs, clock, image_map, netns, taken};
use crate::image::{self, ImagePlan};
use crate::model::{Failure, Hook};

const MAPS: [&str; 15] = [
    "PROGRAMS",
    "IMAGE",
    "FLOW_INDEX",
    "FLOW_RECORDS",
    "FLOW_TRAFFIC",
    "CURSORS",
    "LIVENESS",
    "SET_COUNTERS",
    "SET_LATENCIES",
    "VERDICTS",
    "XDP_DEVICES",
    "XDP_PROGRAMS",
    "XDP_WAY",
    "XDP_SCRATCH",
    "XDP_PENDING",
];

/// The programs that every agent has ready.
const PROGRAMS: [&str; 3] = [
    "switcher_socket",
    Direction::Ingress.program(),
    Direction::Egress.program(),
];

/// Where the data path is, and how it is attached.
#[derive(Clone, Debug)]
pub struct DatapathConfig {
    /// A directory on bpffs (mounted there if it is not yet); everything is pinned below it.
    pub bpffs: PathBuf,
    /// How programs are attached.
    pub hooks: HookMode,
}

/// The programs, maps and links of one agent.
pub struct Datapath {
    ebpf: Ebpf,
    root: PathBuf,
    mode: HookMode,
    hooks: Hooks,
    local: LocalClients,
    /// Local clients' packets are asked about.
    waits: bool,
    /// Where local clients' sockets are ended.
    sockets: ending::Sockets,
    /// Where backends' accept queues are looked at.
    queues: AcceptQueues,
    records: Mapped<FlowRecord>,
    traffic: Mapped<FlowTraffic>,
    liveness: Mapped<Word64>,
    latencies: Mapped<SetLatencies>,
    found: Found,
}

impl fmt::Debug for Datapath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datapath")
            .field("root", &self.root)
            .field("hooks", &self.hooks)
            .finish_non_exhaustive()
    }
}

impl Datapath {
    /// Takes over what an earlier agent pinned at the same path, after looking at each piece of it: maps always, programs
    /// where they are of this build. What is not there is made.
    ///
    /// # Errors
    /// When the rights, the kernel or bpffs do not suffice, or a pin is not what an agent of this version makes.
    pub fn open(config: &DatapathConfig) -> Result<Self, KernelError> {
        let root = bpffs::prepare(&config.bpffs)?;
        bpffs::refuse_other_versions(&config.bpffs)?;
        let (mut ebpf, found) = adopt::open(&root, &MAPS, &PROGRAMS)?;
        install_socket_program(&mut ebpf)?;
        let map = |name: &str| map_data(&ebpf, name);
        let records = Mapped::new(map("FLOW_RECORDS")?.fd().as_fd(), FLOW_SLOTS as usize, Access::Write)
            .map_err(step("mapping the flow records", SEE_REASON))?;
        let traffic = Mapped::new(map("FLOW_TRAFFIC")?.fd().as_fd(), FLOW_SLOTS as usize, Access::Read)
            .map_err(step("mapping the flows' traffic", SEE_REASON))?;
        let liveness = Mapped::new(map("LIVENESS")?.fd().as_fd(), LIVENESS_WORDS as usize, Access::Write)
            .map_err(step("mapping the liveness words", SEE_REASON))?;
        let latencies = map("SET_LATENCIES")?.fd().as_fd();
        let latencies = Mapped::new(latencies, SETS_MAX as usize, Access::Write)
            .map_err(step("mapping the latencies", SEE_REASON))?;
        Ok(Self {
            ebpf,
            root,
            mode: config.hooks,
            hooks: Hooks::default(),
            local: LocalClients::NotServed("not asked for".to_owned()),
            waits: false,
            sockets: ending::Sockets::default(),
            queues: AcceptQueues::default(),
            records,
            traffic,
            liveness,
            latencies,
            found,
        })
    }

    /// What was there when it was opened.
    #[must_use]
    pub const fn found(&self) -> Found {
        self.found
    }

    /// Makes the folders on bpffs, and nothing else: there a second agent can be refused before it replaces anything.
    ///
    /// # Errors
    /// When the rights do not suffice.
    pub fn prepare(bpffs: &Path) -> Result<(), KernelError> {
        bpffs::prepare(bpffs).map(drop)
    }

    /// Epoch of the image the kernel reads now; 0: none yet.
    ///
    /// # Errors
    /// When the map cannot be read, or holds no image of this ABI.
    pub fn epoch(&self) -> Result<u64, KernelError> {
        let doing = "reading the epoch of the installed image";
        let outer: ArrayOfMaps<&MapData, Array<MapData, Abi<Row>>> =
            self.map("IMAGE").try_into().map_err(step(doing, SEE_REASON))?;
        let image = match outer.get(&0, 0) {
            Ok(image) => image,
            Err(MapError::KeyNotFound) => return Ok(0),
            Err(error) => return Err(step(doing, SEE_REASON)(error)),
        };
        let row = image.get(&0, 0).map_err(step(doing, SEE_REASON))?.0;
        let header = HeaderRow::of(&row);
        Ok(if header.magic == IMAGE_MAGIC { header.epoch } else { 0 })
    }

    /// Attaches to an interface of this network namespace. Attached already: its program is replaced without a gap.
    ///
    /// # Errors
    /// When the interface is gone or the kernel refuses.
    pub fn attach(&mut self, interface: &str, ifindex: u32, role: Role) -> Result<(), KernelError> {
        if self.hooks.has(interface, ifindex, role, Hook::Tc) {
            return Ok(());
        }
        let directions: &[Direction] = match role {
            Role::Edge => &Direction::BOTH,
            Role::Backend => &[Direction::Ingress],
        };
        taken::refuse(interface, ifindex, directions, &self.root)?;
        for direction in directions {
            // An edge has the ingress program already: once is enough, twice would count twice.
            if *direction == Direction::Ingress && self.has_ingress(interface, ifindex, role) {
                continue;
            }
            let program = classifier(&mut self.ebpf, direction.program())?;
            let place = Place {
                interface,
                ifindex,
                direction: *direction,
            };
            hooks::attach(program, &place, &self.root, self.mode)?;
        }
        if role == Role::Edge {
            // Only now: at no moment is there no program.
            xdp::detach(&mut self.ebpf, ifindex, &self.root)?;
        } else if !self.is_edge(interface, ifindex) {
            // It may have been an earlier agent's: with both hooks each packet would count twice.
            xdp::detach(&mut self.ebpf, ifindex, &self.root)?;
            let direction = Direction::Egress;
            let place = Place {
                interface,
                ifindex,
                direction,
            };
            hooks::detach(&place, &self.root)?;
        }
        self.hooks.note(interface, ifindex, role, Hook::Tc);
        Ok(())
    }

    /// Attaches to an interface where clients come in, by XDP instead of TC ingress. What leaves is TC's still.
    ///
    /// # Errors
    /// When the driver has no native XDP, another XDP program is there, or the kernel refuses.
    pub fn attach_xdp(&mut self, device: &Device) -> Result<(), KernelError> {
        taken::refuse(&device.interface, device.ifindex, &Direction::BOTH, &self.root)?;
        let mut place = Place {
            interface: &device.interface,
            ifindex: device.ifindex,
            direction: Direction::Egress,
        };
        let egress = classifier(&mut self.ebpf, place.direction.program())?;
        hooks::attach(egress, &place, &self.root, self.mode)?;
        xdp::attach(&mut self.ebpf, device, &self.root)?;
        // Only now: at no moment is there no program. Two of them do no harm for that long: what the first has rewritten is
        // nothing to the second.
        place.direction = Direction::Ingress;
        hooks::detach(&place, &self.root)?;
        self.hooks
            .note(&device.interface, device.ifindex, Role::Edge, Hook::Xdp);
        Ok(())
    }

    /// Clients of this agent come in here.
    fn is_edge(&self, interface: &str, ifindex: u32) -> bool {
        let has = |hook| self.hooks.has(interface, ifindex, Role::Edge, hook);
        has(Hook::Tc) || has(Hook::Xdp)
    }

    /// An edge by XDP serves a backend as well as one by TC does; it is no ingress program for an edge by TC.
    fn has_ingress(&self, interface: &str, ifindex: u32, role: Role) -> bool {
        let has = |of, hook| self.hooks.has(interface, ifindex, of, hook);
        has(Role::Edge, Hook::Tc)
            || has(Role::Backend, Hook::Tc)
            || (role == Role::Backend && has(Role::Edge, Hook::Xdp))
    }

    /// Forgets what was attached to interfaces that are not among these, by index: it went with them.
    pub fn forget_gone(&mut self, present: &BTreeMap<u32, String>) {
        self.hooks.keep(present);
    }

    /// What is attached.
    #[must_use]
    pub fn attached(&self) -> Vec<Attached> {
        self.hooks.list()
    }

    /// Attaches to the cgroup whose processes are local clients. Where that cannot be, all else works.
    pub fn serve_local(&mut self, choice: &CgroupChoice) -> &LocalClients {
        self.liveness.elements()[LIVENESS_HOME as usize].store(netns::own_cookie(), Relaxed);
        self.local = cgroup::serve(&mut self.ebpf, choice, &self.root);
        &self.local
    }

    /// Whether local clients are served.
    #[must_use]
    pub fn local(&self) -> LocalClients {
        self.local.clone()
    }

    /// Compiles the plan, installs it and waits until no program runs on the old image. Blocks for 4 to 30 ms and more.
    ///
    /// # Errors
    /// When the plan does not fit or the kernel refuses; the old image stays.
    pub fn flip(&mut self, plan: &ImagePlan) -> Result<Flip, KernelError> {
        let doing = || format!("installing the image of epoch {}", plan.epoch);
        let new = image_map::create(&image::compile(plan)?)?;
        let waits = plan
            .aliases
            .iter()
            .any(|alias| alias.hold_until_ns != 0 || alias.shield);
        if waits && !self.waits {
            // Before the image says so: no SYN of a local client slips through.
            cgroup::begin_waiting(&mut self.ebpf, &self.local, &self.root)?;
            self.waits = true;
        }
        let outer = self.ebpf.map_mut("IMAGE").ok_or_else(|| missing("IMAGE"))?;
        let mut outer: ArrayOfMaps<&mut MapData, MapData> = outer.try_into().map_err(step(doing(), SEE_REASON))?;
        let before_ns = clock::monotonic_ns();
        // Invariant I3: for a map of maps the kernel returns from this only after a grace period.
        outer.set(0, &new, 0).map_err(step(doing(), SEE_REASON))?;
        let after_ns = clock::monotonic_ns();
        if !waits {
            // What an earlier agent attached, too.
            cgroup::end_waiting(&self.root);
            self.waits = false;
        }
        Ok(Flip {
            epoch: plan.epoch,
            before_ns,
            after_ns,
        })
    }

    /// Keeps bypass decisions alive: the interface indexes of the image are right until now and `valid_for`.
    ///
    /// # Errors
    /// None yet; the signature leaves room.
    pub fn refresh(&self, valid_for: Duration) -> Result<(), KernelError> {
        let until = clock::monotonic_ns().saturating_add(valid_for.as_nanos() as u64);
        self.liveness.elements()[LIVENESS_FRESH_UNTIL as usize].store(until, Relaxed);
        Ok(())
    }

    /// Counters of some sets, of all CPUs, in their order. The ring of handshakes is walked once: some two milliseconds.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn set_counters(&self, set_ids: &[u32]) -> Result<Vec<SetCounters>, KernelError> {
        let ring = &self.records.elements()[..PENDING_SLOTS as usize];
        let handshakes = counters::handshakes(ring, ticks(clock::monotonic_ns()));
        let read = |id: &u32| {
            let doing = || format!("reading the counters of set number {id}");
            let map: PerCpuArray<&MapData, Abi<SetWords>> =
                self.map("SET_COUNTERS").try_into().map_err(step(doing(), SEE_REASON))?;
            let per_cpu = map.get(id, 0).map_err(step(doing(), SEE_REASON))?;
            let mut sum = per_cpu
                .iter()
                .fold(SetCounters::default(), |sum, words| counters::add(sum, &words.0));
            let in_ring = handshakes.get(id).copied().unwrap_or_default();
            sum.flows_pending = in_ring.pending;
            sum.flows_timed_out += in_ring.timed_out;
            // One entry of each map for each number: the counters have it, so the histograms do.
            if let Some(latencies) = self.latencies.elements().get(*id as usize) {
                sum.latency = counters::latencies(latencies);
            }
            Ok(sum)
        };
        set_ids.iter().map(read).collect()
    }

    /// Zeroes the counters of a set whose number is given to a new set.
    ///
    /// # Errors
    /// When the number is out of range.
    pub fn clear_set_counters(&self, set_id: u32) -> Result<(), KernelError> {
        let doing = || format!("clearing the counters of set number {set_id}");
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| step(doing(), SEE_REASON)(error))?;
        // `map` is borrowed; a map handle of its own may write.
        let map = MapData::from_pin(self.root.join("maps").join("SET_COUNTERS")).map_err(step(doing(), SEE_REASON))?;
        let map = aya::maps::Map::from_map_data(map).map_err(step(doing(), SEE_REASON))?;
        let mut map: PerCpuArray<MapData, Abi<SetWords>> = map.try_into().map_err(step(doing(), SEE_REASON))?;
        let zeroes = SetWords::default();
        let zeroes = PerCpuValues::try_from(vec![Abi(zeroes); cpus]).map_err(step(doing(), SEE_REASON))?;
        map.set(set_id, zeroes, 0).map_err(step(doing(), SEE_REASON))?;
        self.latencies.elements().get(set_id as usize).map(counters::clear);
        Ok(())
    }

    /// All verdict reasons with their counts.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn reasons(&self) -> Result<Vec<ReasonCount>, KernelError> {
        let doing = "reading the verdict counters";
        let map: PerCpuArray<&MapData, u64> = self.map("VERDICTS").try_into().map_err(step(doing, SEE_REASON))?;
        let count = |reason: &Reason| {
            let per_cpu = map.get(&(*reason as u32), 0).map_err(step(doing, SEE_REASON))?;
            Ok(ReasonCount {
                reason: reason.name(),
                packets: per_cpu.iter().sum(),
            })
        };
        Reason::ALL.iter().map(count).collect()
    }

    /// Calls `visit` for each flow record in use, expired ones too. A quarter of a million records take some ten milliseconds.
    ///
    /// # Errors
    /// None yet; the signature leaves room.
    pub fn for_each_flow(&self, visit: &mut dyn FnMut(FlowView)) -> Result<(), KernelError> {
        let now_ns = clock::monotonic_ns();
        let records = self.records.elements().iter().zip(self.traffic.elements());
        (0..)
            .zip(records)
            .filter_map(|(slot, (record, traffic))| view(slot, record, traffic, now_ns))
            .for_each(visit);
        Ok(())
    }

    /// Takes each of these flows a step nearer to its end, in no more than some tens of microseconds each; call it again
    /// every 20 ms or so. `Some`: it is over.
    ///
    /// # Errors
    /// When the program that sends packets cannot be loaded or run.
    pub fn go_on_ending(&mut self, endings: &mut [Ending]) -> Result<Vec<Option<Ended>>, KernelError> {
        let tools = ending::Tools {
            ebpf: &mut self.ebpf,
            root: &self.root,
            sockets: &mut self.sockets,
            records: self.records.elements(),
            traffic: self.traffic.elements(),
        };
        ending::go_on(tools, endings)
    }

    /// The accept queues of the backends whose addresses are on this host; `None`: nothing listens there.
    pub fn accept_queues(&mut self, backends: &[SocketAddr]) -> BTreeMap<SocketAddr, Option<AcceptQueue>> {
        self.queues.look(backends)
    }

    /// Most flows the table can hold.
    #[must_use]
    pub fn flow_capacity(&self) -> u64 {
        u64::from(FLOW_SLOTS)
    }

    /// Removes links, programs and maps, of every version: packets pass as if Switcher had never been. Returns what was
    /// removed, in words.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn detach(bpffs: &Path) -> Result<Vec<String>, KernelError> {
        let mut removed = Vec::new();
        for root in bpffs::roots(bpffs) {
            removed.extend(detach_below(&root)?);
        }
        removed.extend(hooks::detach_filters());
        Ok(removed)
    }

    /// Nanoseconds of CLOCK_MONOTONIC, the clock of the kernel's figures.
    #[must_use]
    pub fn now_ns() -> u64 {
        clock::monotonic_ns()
    }

    /// The loaded programs and maps, for tests that run them directly.
    pub fn ebpf_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    fn map(&self, name: &str) -> &aya::maps::Map {
        // `open` has seen each of them; a program without one of its maps does not load.
        self.ebpf
            .map(name)
            .unwrap_or_else(|| unreachable!("map {name} was loaded"))
    }
}

fn detach_below(root: &Path) -> Result<Vec<String>, KernelError> {
    let mut removed = hooks::detach_links(root)?;
    for folder in ["programs", "maps"] {
        for entry in fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
            fs::remove_file(entry.path()).map_err(step("removing a pin", NEEDS_RIGHTS))?;
            removed.push(format!(
                "{} {}",
                folder.trim_end_matches('s'),
                entry.file_name().to_string_lossy()
            ));
        }
    }
    // Empty folders are no harm; one that is not empty says so next time.
    for folder in ["links", "programs", "maps", ""] {
        let _ = fs::remove_dir(root.join(folder));
    }
    Ok(removed)
}

pub(super) fn missing(name: &str) -> KernelError {
    step(
        format!("finding {name} in the BPF object"),
        "this build is broken; build it again",
    )(std::io::Error::other("not there"))
}

/// Where the ingress program finds the one of the socket path.
fn install_socket_program(ebpf: &mut Ebpf) -> Result<(), KernelError> {
    let doing = "installing the BPF program switcher_socket";
    let program = classifier(ebpf, "switcher_socket")?
        .fd()
        .map_err(step(doing, SEE_REASON))?;
    let program = program.try_clone().map_err(step(doing, SEE_REASON))?;
    let programs = ebpf.map_mut("PROGRAMS").ok_or_else(|| missing("PROGRAMS"))?;
    let mut programs: ProgramArray<&mut MapData> = programs.try_into().map_err(step(doing, SEE_REASON))?;
    programs.set(0, &program, 0).map_err(step(doing, SEE_REASON))
}

fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, KernelError> {
    let program = ebpf.program_mut(name).ok_or_else(|| missing(name))?;
    program
        .try_into()
        .map_err(step(format!("finding the BPF program {name}"), SEE_REASON))
}

fn map_data<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a MapData, KernelError> {
    match ebpf.map(name) {
        Some(aya::maps::Map::Array(data)) => Ok(data),
        _ => Err(missing(name)),
    }
}

/// How a flow failed: its end left it in the record, a time-out leaves nothing but the time.
fn failure(record: &FlowRecord, state: FlowState, expired: bool) -> Option<Failure> {
    let flags = record.backend.flags.load(Relaxed);
    let has = |flag| flags & flag != 0;
    match state {
        FlowState::Pending => expired.then_some(Failure::TimedOut),
        FlowState::Established => None,
        FlowState::Closing if has(FlowSide::REFUSED) => Some(Failure::Refused),
        FlowState::Closing if has(FlowSide::RESET_BY_CLIENT) => Some(if has(FlowSide::IN_HANDSHAKE) {
            Failure::ResetInHandshakeByClient
        } else {
            Failure::ResetByClient
        }),
        FlowState::Closing if has(FlowSide::RESET_BY_BACKEND) => Some(if has(FlowSide::IN_HANDSHAKE) {
            Failure::ResetInHandshakeByBackend
        } else {
            Failure::ResetByBackend
        }),
        FlowState::Closing => None,
    }
}

/// A record that carries a flow, or did until its time-out: not free, not moved elsewhere.
fn view(slot: u32, record: &FlowRecord, traffic: &FlowTraffic, now_ns: u64) -> Option<FlowView> {
    let now_ticks = ticks(now_ns);
    let word = StateWord(record.word.load(Relaxed));
    // Most slots are free: nothing else of them is read.
    if !word.is_readable() {
        return None;
    }
    let seen_ticks = record.seen_ticks.load(Relaxed);
    let idle_ticks = idle_ticks(seen_ticks, now_ticks);
    // Its handshake is complete; only its slot is one of the ring.
    let id = record.identity.load();
    let local = id.path == PATH_LOCAL;
    let (backend, backend_port) = record.backend_place(&id);
    let word = if word.is(State::Pending) && is_unpinned(record) {
        word.with(State::Established)
    } else {
        word
    };
    let state = if word.is(State::Pending) {
        FlowState::Pending
    } else if word.is(State::Established) || word.is(State::Conversing) {
        FlowState::Established
    } else if word.is(State::Closing) {
        FlowState::Closing
    } else {
        return None;
    };
    let expired = if local {
        connect::is_over(record, word, now_ticks)
    } else {
        is_expired(word, seen_ticks, now_ticks)
    };
    let socket = |address, port: u16| SocketAddr::new(IpAddr::from(address), u16::from_be(port));
    let age = Duration::from_nanos(now_ns.saturating_sub(traffic.opened_ns.load(Relaxed)));
    Some(FlowView {
        place: FlowPlace {
            slot,
            generation: word.generation(),
        },
        client: socket(id.client, id.client_port),
        listener: socket(id.listener, id.listener_port),
        backend: socket(backend, backend_port),
        alias_id: id.alias_id,
        set_id: id.set_id,
        backend_id: id.backend_id,
        protocol: id.protocol,
        epoch: id.epoch,
        path: match id.path {
            PATH_BYPASS | PATH_DRIVER => FlowPath::Bypass,
            PATH_SOCKET => FlowPath::Socket,
            PATH_LOCAL => FlowPath::Local,
            _ => FlowPath::Stack,
        },
        moves: id.flags & FlowIdentity::MOVES != 0,
        state,
        age,
        traffic: figures(traffic),
        // By a coarser clock, which may lie behind.
        idle: Duration::from_nanos(u64::from(idle_ticks) << 20).min(age),
        failure: failure(record, state, expired),
        expired,
    })
}

fn figures(traffic: &FlowTraffic) -> FlowFigures {
    FlowFigures {
        packets_in: traffic.client.packets.load(Relaxed),
        bytes_in: traffic.client.bytes.load(Relaxed),
        packets_out: traffic.backend.packets.load(Relaxed),
        bytes_out: traffic.backend.bytes.load(Relaxed),
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
