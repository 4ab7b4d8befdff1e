//! What the agent needs of the kernel and of the host's network: one trait each, so that its own logic can be tested
//! against a recording one.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::image::ImagePlan;
use crate::kernel::{
    AcceptQueue, Attached, Datapath, Device, Ended, Ending, Flip, FlowView, KernelError, LocalClients, ReasonCount,
    Role, SetCounters,
};
use crate::model::Listener;
use crate::net::{Added, BridgePort, HostAddress, Interface, NetError, Observed, Observer, Standing, Way};

/// The data path; see [`Datapath`] for what each means.
#[allow(missing_docs)]
pub trait Kernel: Send + Sized + 'static {
    fn epoch(&self) -> Result<u64, KernelError>;
    fn attach(&mut self, interface: &str, ifindex: u32, role: Role) -> Result<(), KernelError>;
    fn attach_xdp(&mut self, device: &Device) -> Result<(), KernelError>;
    fn forget_gone(&mut self, present: &BTreeMap<u32, String>);
    fn attached(&self) -> Vec<Attached>;
    fn local(&self) -> LocalClients;
    fn flip(&mut self, plan: &ImagePlan) -> Result<Flip, KernelError>;
    fn refresh(&self, valid_for: Duration) -> Result<(), KernelError>;
    fn set_counters(&self, set_ids: &[u32]) -> Result<Vec<SetCounters>, KernelError>;
    fn clear_set_counters(&self, set_id: u32) -> Result<(), KernelError>;
    fn reasons(&self) -> Result<Vec<ReasonCount>, KernelError>;
    fn for_each_flow(&self, visit: &mut dyn FnMut(FlowView)) -> Result<(), KernelError>;
    fn go_on_ending(&mut self, endings: &mut [Ending]) -> Result<Vec<Option<Ended>>, KernelError>;
    fn accept_queues(&mut self, _backends: &[SocketAddr]) -> BTreeMap<SocketAddr, Option<AcceptQueue>> {
        BTreeMap::new()
    }
    fn now_ns(&self) -> u64;
    fn flow_capacity(&self) -> u64;
    fn detach(self) -> Result<Vec<String>, KernelError>;
}

/// The real one, and where it is pinned.
#[derive(Debug)]
pub struct PinnedDatapath {
    /// The data path.
    pub datapath: Datapath,
    /// The directory on bpffs.
    pub bpffs: PathBuf,
}

impl Kernel for PinnedDatapath {
    fn epoch(&self) -> Result<u64, KernelError> {
        self.datapath.epoch()
    }
    fn attach(&mut self, interface: &str, ifindex: u32, role: Role) -> Result<(), KernelError> {
        self.datapath.attach(interface, ifindex, role)
    }
    fn attach_xdp(&mut self, device: &Device) -> Result<(), KernelError> {
        self.datapath.attach_xdp(device)
    }
    fn forget_gone(&mut self, present: &BTreeMap<u32, String>) {
        self.datapath.forget_gone(present);
    }
    fn attached(&self) -> Vec<Attached> {
        self.datapath.attached()
    }
    fn local(&self) -> LocalClients {
        self.datapath.local()
    }
    fn flip(&mut self, plan: &ImagePlan) -> Result<Flip, KernelError> {
        self.datapath.flip(plan)
    }
    fn refresh(&self, valid_for: Duration) -> Result<(), KernelError> {
        self.datapath.refresh(valid_for)
    }
    fn set_counters(&self, set_ids: &[u32]) -> Result<Vec<SetCounters>, KernelError> {
        self.datapath.set_counters(set_ids)
    }
    fn clear_set_counters(&self, set_id: u32) -> Result<(), KernelError> {
        self.datapath.clear_set_counters(set_id)
    }
    fn reasons(&self) -> Result<Vec<ReasonCount>, KernelError> {
        self.datapath.reasons()
    }
    fn for_each_flow(&self, visit: &mut dyn FnMut(FlowView)) -> Result<(), KernelError> {
        self.datapath.for_each_flow(visit)
    }
    fn go_on_ending(&mut self, endings: &mut [Ending]) -> Result<Vec<Option<Ended>>, KernelError> {
        self.datapath.go_on_ending(endings)
    }
    fn accept_queues(&mut self, backends: &[SocketAddr]) -> BTreeMap<SocketAddr, Option<AcceptQueue>> {
        self.datapath.accept_queues(backends)
    }
    fn now_ns(&self) -> u64 {
        Datapath::now_ns()
    }
    fn flow_capacity(&self) -> u64 {
        self.datapath.flow_capacity()
    }
    fn detach(self) -> Result<Vec<String>, KernelError> {
        let Self { datapath, bpffs } = self;
        // Its open files would keep the links alive.
        drop(datapath);
        Datapath::detach(&bpffs)
    }
}

/// The host's network; see [`Observer`].
#[allow(missing_docs)]
pub trait Host: Send + Sync + 'static {
    fn observe(&self, backends: &[IpAddr]) -> impl Future<Output = Result<Observed, NetError>> + Send;
    fn default_interfaces(&self) -> impl Future<Output = Result<Vec<Interface>, NetError>> + Send;
    fn interfaces(&self) -> impl Future<Output = Result<Vec<Interface>, NetError>> + Send;
    fn way(&self, address: IpAddr) -> impl Future<Output = Result<Way, NetError>> + Send;
    fn addresses(&self) -> impl Future<Output = Result<Vec<HostAddress>, NetError>> + Send;
    fn add_address(&self, address: IpAddr, ifindex: u32) -> impl Future<Output = Result<Added, NetError>> + Send;
    fn remove_address(&self, address: IpAddr, ifindex: u32) -> impl Future<Output = Result<(), NetError>> + Send;
    fn holder(&self, address: IpAddr, ifindex: u32) -> impl Future<Output = Result<Option<Vec<u8>>, NetError>> + Send;
    fn standing(&self, listeners: &[Listener]) -> impl Future<Output = Result<Standing, NetError>> + Send;
    fn ask_neighbours_again(&self, _ifindexes: &[u32]) -> impl Future<Output = Result<(), NetError>> + Send {
        std::future::ready(Ok(()))
    }
    fn bridge_ports(
        &self,
        _processes: &[(IpAddr, u32)],
    ) -> impl Future<Output = Result<BTreeMap<IpAddr, BridgePort>, NetError>> + Send {
        std::future::ready(Ok(BTreeMap::new()))
    }
}

impl Host for Observer {
    async fn observe(&self, backends: &[IpAddr]) -> Result<Observed, NetError> {
        Self::observe(self, backends).await
    }
    async fn default_interfaces(&self) -> Result<Vec<Interface>, NetError> {
        Self::default_interfaces(self).await
    }
    async fn interfaces(&self) -> Result<Vec<Interface>, NetError> {
        Self::interfaces(self).await
    }
    async fn way(&self, address: IpAddr) -> Result<Way, NetError> {
        Self::way(self, address).await
    }
    async fn addresses(&self) -> Result<Vec<HostAddress>, NetError> {
        Self::addresses(self).await
    }
    async fn add_address(&self, address: IpAddr, ifindex: u32) -> Result<Added, NetError> {
        Self::add_address(self, address, ifindex).await
    }
    async fn remove_address(&self, address: IpAddr, ifindex: u32) -> Result<(), NetError> {
        Self::remove_address(self, address, ifindex).await
    }
    async fn holder(&self, address: IpAddr, ifindex: u32) -> Result<Option<Vec<u8>>, NetError> {
        Self::holder(self, address, ifindex).await
    }
    async fn standing(&self, listeners: &[Listener]) -> Result<Standing, NetError> {
        Self::standing(self, listeners).await
    }
    async fn ask_neighbours_again(&self, ifindexes: &[u32]) -> Result<(), NetError> {
        Self::ask_neighbours_again(self, ifindexes).await
    }
    async fn bridge_ports(&self, processes: &[(IpAddr, u32)]) -> Result<BTreeMap<IpAddr, BridgePort>, NetError> {
        Self::bridge_ports(self, processes).await
    }
}

/// The data path behind a lock. Its calls block, so each runs on a thread for blocking work.
#[derive(Debug)]
pub(super) struct Shared<K>(Arc<Mutex<Option<K>>>);

impl<K> Clone for Shared<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Kernel> Shared<K> {
    pub(super) fn new(kernel: K) -> Self {
        Self(Arc::new(Mutex::new(Some(kernel))))
    }

    /// Runs the work; after [`Shared::take`] it fails.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut K) -> Result<R, KernelError> + Send + 'static,
    ) -> Result<R, KernelError> {
        let shared = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let mut kernel = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
            match kernel.as_mut() {
                Some(kernel) => work(kernel),
                None => Err(no_call("the data path was detached", "start the agent again")),
            }
        });
        task.await.unwrap_or_else(|error| {
            Err(no_call(
                &error.to_string(),
                "restart the agent; the data path keeps running",
            ))
        })
    }

    /// True after [`Shared::take`].
    pub(super) fn is_taken(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Takes the data path away, for good.
    pub(super) fn take(&self) -> Option<K> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn no_call(why: &str, remedy: &'static str) -> KernelError {
    let source = Box::new(std::io::Error::other(why.to_owned()));
    KernelError::Step {
        doing: "calling the kernel".to_owned(),
        source,
        remedy,
    }
}
