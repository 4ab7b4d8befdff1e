//! A kernel and a host that record what is asked of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::agent::port::{Host, Kernel};
use crate::image::ImagePlan;
use crate::kernel::{
    Attached, Device, Ended, Ending, Flip, FlowFigures, FlowPath, FlowPlace, FlowState, FlowView, KernelError,
    LocalClients, ReasonCount, Role, SetCounters,
};
use crate::model::{Hook, Listener};
use crate::net::{Added, BackendRoute, HostAddress, Interface, NetError, Observed, OnLink, RouteKind, Standing, Way};

/// What the kernel was asked, and what it has.
#[derive(Debug, Default)]
pub(in crate::agent) struct State {
    pub(super) calls: Vec<String>,
    pub(super) image: ImagePlan,
    pub(in crate::agent) flows: Vec<FlowView>,
    pub(super) counters: BTreeMap<u32, SetCounters>,
    pub(in crate::agent) now_ns: u64,
    /// Flows that were being ended, in their order. They are over at once, and their records are.
    pub(in crate::agent) endings: Vec<FlowPlace>,
    /// Unless they do not answer.
    pub(in crate::agent) silent: bool,
    /// How often the whole table was looked through.
    pub(super) table_looks: usize,
    pub(super) fail_flip: bool,
    pub(super) fail_flows: bool,
    pub(super) fail_detach: bool,
    /// Interfaces that cannot be attached to.
    pub(super) fail_attach: Option<String>,
    pub(super) fail_attach_xdp: bool,
    attached: BTreeMap<(String, Role), (u32, Hook)>,
    /// Epoch in the state file at each flip.
    pub(super) file_epochs: Vec<u64>,
    file: PathBuf,
}

#[derive(Clone, Debug, Default)]
pub(in crate::agent) struct Fake(Arc<Mutex<State>>);

impl Fake {
    pub(in crate::agent) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn watch_file(&self, file: PathBuf) {
        self.state().file = file;
    }

    pub(super) fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state().calls)
    }

    /// Adds flow records of a set.
    pub(in crate::agent) fn add_flows(&self, set_id: u32, state: FlowState, count: usize) {
        let flow = Self::flow(set_id, state);
        self.state().flows.extend(std::iter::repeat_n(flow, count));
    }

    /// Adds a UDP conversation that a switch moves.
    pub(super) fn add_conversation(&self, set_id: u32, idle: Duration) {
        let flow = FlowView {
            moves: true,
            idle,
            ..Self::flow(set_id, FlowState::Established)
        };
        self.state().flows.push(flow);
    }

    fn flow(set_id: u32, state: FlowState) -> FlowView {
        let any: SocketAddr = "192.0.2.1:1".parse().unwrap();
        FlowView {
            place: FlowPlace { slot: 0, generation: 1 },
            client: any,
            listener: any,
            backend: any,
            alias_id: 1,
            set_id,
            backend_id: 1,
            protocol: 6,
            epoch: 1,
            path: FlowPath::Bypass,
            moves: false,
            state,
            age: Duration::ZERO,
            idle: Duration::ZERO,
            traffic: FlowFigures::default(),
            failure: None,
            expired: false,
        }
    }
}

fn failed(what: &str) -> KernelError {
    let source = Box::new(std::io::Error::other("as the test asked"));
    KernelError::Step {
        doing: what.to_owned(),
        source,
        remedy: "do not ask for it",
    }
}

impl Kernel for Fake {
    fn epoch(&self) -> Result<u64, KernelError> {
        Ok(self.state().image.epoch)
    }
    fn attach(&mut self, interface: &str, ifindex: u32, role: Role) -> Result<(), KernelError> {
        let mut state = self.state();
        if state.fail_attach.as_deref() == Some(interface) {
            return Err(failed("attaching"));
        }
        state.attached.insert((interface.to_owned(), role), (ifindex, Hook::Tc));
        state.calls.push(format!("attach {interface} {ifindex} {role:?}"));
        Ok(())
    }
    fn attach_xdp(&mut self, device: &Device) -> Result<(), KernelError> {
        let mut state = self.state();
        if state.fail_attach_xdp {
            return Err(failed("attaching XDP"));
        }
        let key = (device.interface.clone(), Role::Edge);
        state.attached.insert(key, (device.ifindex, Hook::Xdp));
        state
            .calls
            .push(format!("attach_xdp {} {}", device.interface, device.ifindex));
        Ok(())
    }
    fn forget_gone(&mut self, present: &BTreeMap<u32, String>) {
        let mut state = self.state();
        state
            .attached
            .retain(|(interface, _), (ifindex, _)| present.get(ifindex) == Some(interface));
    }
    fn attached(&self) -> Vec<Attached> {
        let state = self.state();
        let attached = state.attached.iter().map(|((interface, role), (_, hook))| Attached {
            interface: interface.clone(),
            role: *role,
            hook: *hook,
        });
        attached.collect()
    }
    fn local(&self) -> LocalClients {
        LocalClients::Served(PathBuf::from("/sys/fs/cgroup"))
    }
    fn flip(&mut self, plan: &ImagePlan) -> Result<Flip, KernelError> {
        let mut state = self.state();
        let file = std::fs::read(&state.file).unwrap_or_default();
        let file: serde_json::Value = serde_json::from_slice(&file).unwrap_or_default();
        state.file_epochs.push(file["epoch"].as_u64().unwrap_or(0));
        if state.fail_flip {
            return Err(failed("flipping"));
        }
        assert!(plan.epoch > state.image.epoch, "an epoch only rises");
        state.calls.push(format!("flip {}", plan.epoch));
        state.image = plan.clone();
        Ok(Flip {
            epoch: plan.epoch,
            before_ns: 1_000 + plan.epoch,
            after_ns: 2_000 + plan.epoch,
        })
    }
    fn refresh(&self, _: Duration) -> Result<(), KernelError> {
        self.state().calls.push("refresh".to_owned());
        Ok(())
    }
    fn set_counters(&self, set_ids: &[u32]) -> Result<Vec<SetCounters>, KernelError> {
        let state = self.state();
        let of = |id| state.counters.get(id).copied().unwrap_or_default();
        Ok(set_ids.iter().map(of).collect())
    }
    fn clear_set_counters(&self, set_id: u32) -> Result<(), KernelError> {
        let mut state = self.state();
        state.calls.push(format!("clear {set_id}"));
        state.counters.remove(&set_id);
        Ok(())
    }
    fn reasons(&self) -> Result<Vec<ReasonCount>, KernelError> {
        Ok(Vec::new())
    }
    fn for_each_flow(&self, visit: &mut dyn FnMut(FlowView)) -> Result<(), KernelError> {
        let mut state = self.state();
        state.table_looks += 1;
        if state.fail_flows {
            return Err(failed("counting"));
        }
        state.flows.iter().copied().for_each(visit);
        Ok(())
    }
    fn go_on_ending(&mut self, endings: &mut [Ending]) -> Result<Vec<Option<Ended>>, KernelError> {
        let mut state = self.state();
        if state.silent {
            return Ok(vec![None; endings.len()]);
        }
        for ending in endings.iter() {
            let place = ending.place();
            state.endings.push(place);
            state.flows.retain(|flow| flow.place != place);
        }
        Ok(vec![Some(Ended::Cut { answered: true }); endings.len()])
    }
    fn now_ns(&self) -> u64 {
        self.state().now_ns
    }
    fn flow_capacity(&self) -> u64 {
        100
    }
    fn detach(self) -> Result<Vec<String>, KernelError> {
        let mut state = self.state();
        if state.fail_detach {
            return Err(failed("removing a pin"));
        }
        state.calls.push("detach".to_owned());
        Ok(vec!["everything".to_owned()])
    }
}

/// A host: backends in 10.1.0.0/16 are behind veths, 127.0.0.0/8 is the host, all else is routed.
#[derive(Clone, Debug)]
pub(super) struct FakeHost(Arc<Mutex<HostState>>);

#[derive(Debug)]
pub(super) struct HostState {
    pub(super) firewall: Vec<String>,
    pub(super) veth_ifindex: u32,
    /// The index of eth9; 0: it is not there.
    pub(super) edge_ifindex: u32,
    pub(super) edges: Vec<&'static str>,
    pub(super) fail: bool,
    pub(super) looks: usize,
    pub(super) standing: Standing,
    pub(super) addresses: Vec<HostAddress>,
    /// Who answers for any address on the link of eth9.
    pub(super) holder: Option<Vec<u8>>,
    pub(super) fail_add: bool,
    /// The record of addresses on the disk, as it was when one was added.
    pub(super) records_at_add: Vec<String>,
    record: PathBuf,
}

impl Default for FakeHost {
    fn default() -> Self {
        let state = HostState {
            firewall: Vec::new(),
            veth_ifindex: 10,
            edge_ifindex: 2,
            edges: vec!["eth9"],
            fail: false,
            looks: 0,
            standing: Standing::default(),
            addresses: Vec::new(),
            holder: None,
            fail_add: false,
            records_at_add: Vec::new(),
            record: PathBuf::new(),
        };
        Self(Arc::new(Mutex::new(state)))
    }
}

impl FakeHost {
    pub(super) fn state(&self) -> MutexGuard<'_, HostState> {
        self.0.lock().unwrap()
    }
}

impl FakeHost {
    pub(super) fn watch_record(&self, file: PathBuf) {
        self.state().record = file;
    }

    /// Where addresses were added, as `10.0.0.50 of 1`.
    pub(super) fn has(&self) -> Vec<String> {
        let state = self.state();
        let texts = state
            .addresses
            .iter()
            .map(|one| format!("{} of {}", one.address, one.ifindex));
        texts.collect()
    }
}

impl HostState {
    fn interfaces(&self) -> Vec<Interface> {
        let mut all = vec![
            interface("lo", 1),
            interface("eth9", self.edge_ifindex),
            interface("veth9", self.veth_ifindex),
        ];
        all.retain(|one| one.ifindex != 0);
        for one in &mut all {
            let own = self.addresses.iter().filter(|address| address.ifindex == one.ifindex);
            one.addresses = own.map(|address| address.address).collect();
        }
        all
    }
}

fn interface(name: &str, ifindex: u32) -> Interface {
    Interface {
        name: name.to_owned(),
        ifindex,
        up: true,
        loopback: name == "lo",
        ethernet: true,
        kind: Some("veth".to_owned()),
        link_address: [2, 0, 0, 0, 0, 1],
        vlan: None,
        xdp: None,
        partial_sums: false,
        addresses: Vec::new(),
    }
}

fn route(address: IpAddr, veth: u32) -> BackendRoute {
    let (ifindex, interface, kind) = match address {
        IpAddr::V4(v4) if v4.octets()[..2] == [10, 1] => (veth, "veth9", RouteKind::Veth),
        IpAddr::V4(v4) if v4.is_loopback() => (1, "lo", RouteKind::Local),
        _ => (2, "eth9", RouteKind::Routed),
    };
    BackendRoute {
        ifindex,
        interface: interface.to_owned(),
        kind,
    }
}

impl Host for FakeHost {
    async fn observe(&self, backends: &[IpAddr]) -> Result<Observed, NetError> {
        let mut state = self.state();
        state.looks += 1;
        if state.fail {
            return Err(NetError::Ask {
                what: "routes".to_owned(),
                cause: "as the test asked".to_owned(),
            });
        }
        let veth = state.veth_ifindex;
        Ok(Observed {
            backends: backends
                .iter()
                .map(|address| (*address, route(*address, veth)))
                .collect(),
            firewall: state.firewall.clone(),
            interfaces: state.interfaces(),
            ..Observed::default()
        })
    }
    async fn interfaces(&self) -> Result<Vec<Interface>, NetError> {
        Ok(self.state().interfaces())
    }
    /// 10.0.0.0/24 is the link of eth9.
    async fn way(&self, address: IpAddr) -> Result<Way, NetError> {
        let local = self.state().addresses.iter().any(|one| one.address == address);
        let is_near = matches!(address, IpAddr::V4(v4) if v4.octets()[..3] == [10, 0, 0]);
        let on_link = (is_near && !local).then_some(OnLink {
            ifindex: 2,
            arp_ignore: 0,
        });
        Ok(Way { local, on_link })
    }
    async fn addresses(&self) -> Result<Vec<HostAddress>, NetError> {
        Ok(self.state().addresses.clone())
    }
    async fn add_address(&self, address: IpAddr, ifindex: u32) -> Result<Added, NetError> {
        let mut state = self.state();
        let record = std::fs::read_to_string(&state.record).unwrap_or_default();
        state.records_at_add.push(record);
        if state.fail_add {
            return Err(NetError::Ask {
                what: format!("adding {address}"),
                cause: "as the test asked".to_owned(),
            });
        }
        let marked = true;
        state.addresses.push(HostAddress {
            address,
            ifindex,
            marked,
        });
        Ok(Added::Now)
    }
    async fn remove_address(&self, address: IpAddr, ifindex: u32) -> Result<(), NetError> {
        let is_it = |one: &HostAddress| one.address == address && one.ifindex == ifindex;
        self.state().addresses.retain(|one| !is_it(one));
        Ok(())
    }
    async fn holder(&self, _: IpAddr, ifindex: u32) -> Result<Option<Vec<u8>>, NetError> {
        assert_eq!(ifindex, 2, "asked at the link");
        Ok(self.state().holder.clone())
    }
    async fn standing(&self, _: &[Listener]) -> Result<Standing, NetError> {
        Ok(self.state().standing.clone())
    }
    async fn default_interfaces(&self) -> Result<Vec<Interface>, NetError> {
        Ok(self.state().edges.iter().map(|name| interface(name, 2)).collect())
    }
}
