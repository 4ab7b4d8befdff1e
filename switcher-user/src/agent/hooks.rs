//! The interfaces where clients come in, and the hook that each has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::AgentError;
use super::owner::Owner;
use super::port::{Host, Kernel};
use crate::kernel::{Device, KernelError, Role};
use crate::model::{Hook, HookPolicy};
use crate::net::{Interface, NetError, Observed, XdpEdge};
use crate::plan::{HookChoice, choose_hook};

/// Where clients come in, as asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Edges {
    /// Names of interfaces.
    pub(super) names: Vec<String>,
    /// The hook they are to have.
    pub(super) hook: HookPolicy,
    /// Those that do not have it, and why.
    pub(super) failed: BTreeMap<String, String>,
}

/// One interface of clients, as it was when it was attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    seen: Interface,
    pub(super) choice: HookChoice,
}

impl Edge {
    /// False when the choice has to be made again. Up, down and addresses are nothing to a hook.
    fn holds_for(&self, interface: &Interface) -> bool {
        let facts = |of: &Interface| {
            (
                of.ifindex,
                of.link_address,
                of.kind.clone(),
                of.vlan.clone(),
                of.sends_on(),
            )
        };
        facts(&self.seen) == facts(interface)
    }

    fn as_xdp(&self) -> XdpEdge {
        XdpEdge {
            name: self.seen.name.clone(),
            ifindex: self.seen.ifindex,
            sends_on: self.seen.sends_on(),
        }
    }
}

impl<K: Kernel, H: Host> Owner<K, H> {
    /// Attaches where it is not attached. An interface that cannot be is noted: all the others go on, and so does all that
    /// follows the host.
    pub(super) async fn attach_edges(&mut self, observed: &Observed) -> Result<(), KernelError> {
        self.forget_gone(observed).await?;
        for name in self.edges.names.clone() {
            let why = match observed.interfaces.iter().find(|interface| interface.name == name) {
                Some(interface) => self.attach_edge(interface).await.err().map(|error| error.to_string()),
                None => Some("there is no such interface".to_owned()),
            };
            let Some(why) = why else {
                self.edges.failed.remove(&name);
                continue;
            };
            if self.edges.failed.get(&name) != Some(&why) {
                tracing::warn!("{name}: not attached to as asked, its clients may not be switched: {why}");
            }
            self.edges.failed.insert(name, why);
        }
        Ok(())
    }

    /// What was attached to an interface that is gone went with it. One that comes back under its name has nothing.
    async fn forget_gone(&mut self, observed: &Observed) -> Result<(), KernelError> {
        let present: BTreeMap<u32, String> = observed
            .interfaces
            .iter()
            .map(|interface| (interface.ifindex, interface.name.clone()))
            .collect();
        let is_there = |ifindex: u32, name: &String| present.get(&ifindex) == Some(name);
        self.hooks.retain(|name, edge| is_there(edge.seen.ifindex, name));
        let before = self.attached.len();
        self.attached.retain(|(ifindex, name, _)| is_there(*ifindex, name));
        if self.attached.len() == before {
            return Ok(());
        }
        let forget = move |kernel: &mut K| {
            kernel.forget_gone(&present);
            Ok(())
        };
        self.kernel.run(forget).await
    }

    pub(super) async fn attach_edge(&mut self, interface: &Interface) -> Result<(), AgentError> {
        let name = &interface.name;
        if self.hooks.get(name).is_some_and(|edge| edge.holds_for(interface)) {
            return Ok(());
        }
        let mut choice = choose_hook(self.edges.hook, interface)?;
        if choice.hook == Hook::Xdp {
            match self.attach_xdp(interface).await {
                Ok(()) => {}
                Err(error) if choice.may_fall_back => choice = HookChoice::fallen_back(&error),
                Err(error) => return Err(error.into()),
            }
        }
        let key = (interface.ifindex, name.clone(), Role::Edge);
        if choice.hook == Hook::Tc {
            self.attached.remove(&key);
            self.attach(name, interface.ifindex, Role::Edge).await?;
        }
        self.attached.insert(key);
        tracing::info!("{name}: hook {}: {}", choice.hook.text(), choice.why);
        let seen = interface.clone();
        self.hooks.insert(name.clone(), Edge { seen, choice });
        Ok(())
    }

    async fn attach_xdp(&self, interface: &Interface) -> Result<(), KernelError> {
        let device = Device {
            interface: interface.name.clone(),
            ifindex: interface.ifindex,
            link_address: interface.link_address,
            partial_sums: interface.partial_sums,
            sends_on: interface.sends_on(),
        };
        self.kernel.run(move |kernel| kernel.attach_xdp(&device)).await
    }

    /// Frames that XDP sends on do not make the kernel look whether their next hop is still who it was.
    pub(super) async fn ask_neighbours_again(&self) -> Result<(), NetError> {
        let sends_on = self.hooks.values().filter(|edge| edge.choice.hook == Hook::Xdp);
        let sends_on = sends_on.map(Edge::as_xdp).filter(|edge| edge.sends_on);
        let ifindexes: Vec<u32> = sends_on.map(|edge| edge.ifindex).collect();
        if ifindexes.is_empty() {
            return Ok(());
        }
        self.host.ask_neighbours_again(&ifindexes).await
    }

    /// What was seen, and which interfaces have a hook that has a bypass of its own kind, or none.
    pub(super) fn with_hooks(&self, observed: &Arc<Observed>) -> Arc<Observed> {
        let by_xdp = self.hooks.iter().filter(|(_, edge)| edge.choice.hook == Hook::Xdp);
        let xdp_edges: Vec<XdpEdge> = by_xdp.map(|(_, edge)| edge.as_xdp()).collect();
        let by_tc = self.hooks.iter().filter(|(_, edge)| edge.choice.hook == Hook::Tc);
        let tc_edges: Vec<String> = by_tc.map(|(name, _)| name.clone()).collect();
        if xdp_edges == observed.xdp_edges && tc_edges == observed.tc_edges {
            return Arc::clone(observed);
        }
        Arc::new(Observed {
            xdp_edges,
            tc_edges,
            ..(**observed).clone()
        })
    }
}
