//! Which way each backend's packets take, and the image that says so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Alias, Backend, Desired, Refusal, Set};
use crate::image::{AliasPlan, BackendPlan, ImagePlan, Path, Segment, SetPlan};
use crate::model::{AliasName, Listener, PathPolicy, Protocol, SetName, StepBy, UdpPolicy};
use crate::net::{BackendRoute, Observed, RouteKind};

/// What a change is about: there, what cannot be done is an error; elsewhere it is a note, and new flows take the stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Sets that are new, have other backends, or have another share.
    pub sets: BTreeSet<(AliasName, SetName)>,
    /// Aliases with another path or other listeners.
    pub aliases: BTreeSet<AliasName>,
}

impl Touched {
    /// What differs between two states of what is wanted.
    #[must_use]
    pub fn between(old: &Desired, new: &Desired) -> Self {
        let mut touched = Self::default();
        for (name, alias) in &new.aliases {
            let before = old.aliases.get(name);
            if before.is_none_or(|before| {
                before.path != alias.path
                    || before.listen != alias.listen
                    || before.add_addresses != alias.add_addresses
            }) {
                touched.aliases.insert(name.clone());
            }
            let had = before.map(|before| before.split.sizes()).unwrap_or_default();
            let has = alias.split.sizes();
            for (set_name, set) in &alias.sets {
                let same = before.and_then(|before| before.sets.get(set_name)) == Some(set);
                if !same || has.get(set_name) > had.get(set_name) {
                    touched.sets.insert((name.clone(), set_name.clone()));
                }
            }
        }
        touched
    }

    fn has(&self, alias: &AliasName, set: &SetName) -> bool {
        self.aliases.contains(alias) || self.sets.contains(&(alias.clone(), set.clone()))
    }
}

/// The way of one backend's new flows, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendChoice {
    /// The way.
    pub path: Path,
    /// The interface that leads there; empty: none.
    pub interface: String,
    /// Why, as a part of a sentence.
    pub why: String,
}

/// The ways of one alias: by set, in the order of its backends.
pub type AliasPaths = BTreeMap<SetName, Vec<BackendChoice>>;

/// Everything resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The image; its epoch is that of the desired state.
    pub image: ImagePlan,
    /// The ways, for people.
    pub paths: BTreeMap<AliasName, AliasPaths>,
    /// Host-side veths that need the backends' program: index and name.
    pub veths: BTreeMap<u32, String>,
    /// Bridges that need the edges' programs, as clients are on them: index and name.
    pub bridges: BTreeMap<u32, String>,
    /// What cannot be done, outside of what was touched.
    pub notes: Vec<String>,
}

impl Desired {
    /// Chooses every backend's way and lays out the image.
    ///
    /// # Errors
    /// When something that was touched cannot be done on this host.
    pub fn resolve(&self, observed: &Observed, touched: &Touched) -> Result<Resolved, Refusal> {
        let mut resolved = Resolved::default();
        resolved.image.epoch = self.epoch;
        for (name, alias) in &self.aliases {
            let mut resolver = Resolver {
                name,
                alias,
                observed,
                touched,
                resolved: &mut resolved,
            };
            let plan = resolver.alias()?;
            resolved.image.aliases.push(plan);
        }
        resolved.note_forwarding(observed);
        Ok(resolved)
    }
}

impl Resolved {
    /// Takes backends out, by their numbers: they get no new flows. A set that would be left with none of a family keeps all of
    /// it, for a backend that may fail is better than none; a note says so.
    pub fn leave_out(&mut self, desired: &Desired, unusable: &BTreeSet<u32>) {
        for (name, alias) in &desired.aliases {
            for (set_name, set) in &alias.sets {
                let plans = self.image.aliases.iter_mut().flat_map(|alias| &mut alias.sets);
                let Some(plan) = plans.into_iter().find(|plan| plan.id == set.id) else {
                    continue;
                };
                for v4 in [true, false] {
                    let of_family = |backend: &BackendPlan| backend.address.is_ipv4() == v4;
                    let mut family = plan.backends.iter().filter(|backend| of_family(backend)).peekable();
                    if family.peek().is_none() {
                        continue;
                    }
                    if family.all(|backend| unusable.contains(&backend.id)) {
                        let family = if v4 { "IPv4" } else { "IPv6" };
                        self.notes.push(format!(
                            "set {name}/{set_name}: no {family} backend is healthy, so all of them get new flows (panic)"
                        ));
                    } else {
                        plan.backends
                            .retain(|backend| !of_family(backend) || !unusable.contains(&backend.id));
                    }
                }
            }
        }
    }

    /// Takes backends out that are somebody else's by now, by their numbers, whatever is left: better no answer than one of the
    /// wrong application.
    pub fn take_away(&mut self, foreign: &BTreeSet<u32>) {
        for plan in self.image.aliases.iter_mut().flat_map(|alias| &mut alias.sets) {
            plan.backends.retain(|backend| !foreign.contains(&backend.id));
        }
    }

    /// The stack carries nothing to a backend on a host that does not forward: requests would time out in silence.
    fn note_forwarding(&mut self, observed: &Observed) {
        let backends = || {
            self.image
                .aliases
                .iter()
                .flat_map(|alias| &alias.sets)
                .flat_map(|set| &set.backends)
        };
        let is_elsewhere = |address: &IpAddr| {
            let route = observed.backends.get(address);
            route.is_some_and(|route| route.kind != RouteKind::Local)
        };
        let by_stack = |v4: bool| {
            let mut elsewhere = backends().filter(|backend| is_elsewhere(&backend.address));
            elsewhere.any(|backend| {
                // A driver asks for the routes of a host that forwards.
                matches!(backend.path, Path::Stack | Path::Driver { .. } | Path::Bridge { .. })
                    && backend.address.is_ipv4() == v4
            })
        };
        let mut notes = Vec::new();
        for (off, v4, switch) in [
            (observed.forwards_no_v4, true, "net.ipv4.ip_forward"),
            (observed.forwards_no_v6, false, "net.ipv6.conf.all.forwarding"),
        ] {
            if off && by_stack(v4) {
                notes.push(format!(
                    "{switch} is 0: backends that are reached through the stack, or from driver to driver, get no packets; set it to 1 (sysctl -w {switch}=1)"
                ));
            }
        }
        self.notes.extend(notes);
    }
}

struct Resolver<'a> {
    name: &'a AliasName,
    alias: &'a Alias,
    observed: &'a Observed,
    touched: &'a Touched,
    resolved: &'a mut Resolved,
}

impl Resolver<'_> {
    fn alias(&mut self) -> Result<AliasPlan, Refusal> {
        let alias = self.alias;
        let mut plan = AliasPlan {
            id: alias.id,
            listeners: alias.listen.clone(),
            udp_moves: alias.udp == UdpPolicy::Move,
            by_flow: alias.step_by == StepBy::Flow,
            hold_until_ns: alias.hold_until_ns,
            shield: alias.shield,
            segments: Vec::new(),
            sets: Vec::new(),
        };
        let mut index_of = BTreeMap::new();
        let mut paths = AliasPaths::new();
        for (set_name, set) in &alias.sets {
            let choices = self.set(set_name, set)?;
            if alias.split.has(set_name) {
                index_of.insert(set_name, plan.sets.len());
                plan.sets.push(self.set_plan(set, &choices));
            }
            paths.insert(set_name.clone(), choices);
        }
        self.resolved.paths.insert(self.name.clone(), paths);
        plan.segments = alias
            .split
            .segments
            .iter()
            .filter_map(|segment| {
                Some(Segment {
                    end: segment.end,
                    set: *index_of.get(&segment.set)?,
                })
            })
            .collect();
        Ok(plan)
    }

    fn set_plan(&mut self, set: &Set, choices: &[BackendChoice]) -> SetPlan {
        let mut backends = Vec::with_capacity(set.backends.len());
        for (backend, choice) in set.backends.iter().zip(choices) {
            if let Path::Bypass { ifindex } = choice.path {
                self.resolved.veths.insert(ifindex, choice.interface.clone());
            }
            if let (Path::Bridge { bridge, ifindex }, Some(port)) =
                (choice.path, self.observed.ports.get(&backend.address.address))
            {
                self.resolved.veths.insert(ifindex, port.name.clone());
                self.resolved.bridges.insert(bridge, port.bridge_name.clone());
            }
            backends.push(BackendPlan {
                id: backend.id,
                address: backend.address.address,
                port: backend.address.port.map_or(0, std::num::NonZero::get),
                path: choice.path,
            });
        }
        SetPlan { id: set.id, backends }
    }

    fn set(&mut self, set_name: &SetName, set: &Set) -> Result<Vec<BackendChoice>, Refusal> {
        let strict = self.touched.has(self.name, set_name);
        let mut choices = Vec::with_capacity(set.backends.len());
        for (index, backend) in set.backends.iter().enumerate() {
            let address = backend.address.address;
            let route = self
                .observed
                .backends
                .get(&address)
                .ok_or(Refusal::NotObserved { address })?;
            let choice = self.beside(address, self.choose(address, route));
            if choice.path == Path::Socket
                && let Some(why) = self.no_socket(address)
            {
                self.refuse(strict, self.refused_socket(set_name, index, backend, why))?;
            }
            if self.alias.path == PathPolicy::Bypass
                && !matches!(choice.path, Path::Bypass { .. } | Path::Driver { .. })
                && self.alias.split.has(set_name)
            {
                let why = choice.why.clone();
                self.refuse(strict, self.no_bypass(set_name, index, backend, why))?;
            }
            choices.push(choice);
        }
        Ok(choices)
    }

    fn refuse(&mut self, strict: bool, refusal: Refusal) -> Result<(), Refusal> {
        const NOTES_MAX: usize = 100;
        if strict {
            return Err(refusal);
        }
        if self.resolved.notes.len() < NOTES_MAX {
            self.resolved.notes.push(refusal.to_string());
        }
        Ok(())
    }

    fn choose(&self, address: IpAddr, route: &BackendRoute) -> BackendChoice {
        let interface = &route.interface;
        if address.is_loopback() {
            return BackendChoice {
                path: Path::Socket,
                interface: interface.clone(),
                why: "it is a loopback address: connections are handed to the listening socket".to_owned(),
            };
        }
        let by_driver = self.by_driver(route);
        let between = match route.kind {
            _ if by_driver => None,
            RouteKind::Veth => self.no_way_past(),
            RouteKind::Local => Some("it is an address of this host itself".to_owned()),
            RouteKind::Routed => Some(format!(
                "it is reached through {interface}, not through a veth of its own"
            )),
            RouteKind::Unreachable => Some("there is no route to it".to_owned()),
        };
        let ifindex = route.ifindex;
        let (bypass, behind) = if by_driver {
            (
                Path::Driver { ifindex },
                format!("behind {interface}, to which XDP sends on{}", self.but_not_from()),
            )
        } else {
            (Path::Bypass { ifindex }, format!("behind {interface}"))
        };
        let (path, why) = match (self.alias.path, between, self.observed.firewall.first()) {
            (PathPolicy::Stack, _, _) => (Path::Stack, "path is stack".to_owned()),
            (_, Some(between), _) => (Path::Stack, between),
            (PathPolicy::Bypass, None, _) => (bypass, format!("path is bypass, {behind}")),
            (PathPolicy::Auto, None, None) => (bypass, format!("{behind}, and the host has no firewall or NAT rules")),
            (PathPolicy::Auto, None, Some(_)) => (
                Path::Stack,
                "the host has firewall or NAT rules that a bypass would walk past".to_owned(),
            ),
        };
        BackendChoice {
            path,
            interface: interface.clone(),
            why,
        }
    }

    /// Clients on the backend's own bridge are answered past the host, so they are redirected, whatever the others are.
    fn beside(&self, address: IpAddr, mut choice: BackendChoice) -> BackendChoice {
        if let (Path::Stack, Some(port)) = (choice.path, self.observed.ports.get(&address)) {
            choice.path = Path::Bridge {
                bridge: port.bridge,
                ifindex: port.ifindex,
            };
            choice.why = format!(
                "{}; clients on {} are redirected to {}",
                choice.why, port.bridge_name, port.name
            );
        }
        choice
    }

    /// Why connections cannot be handed to a socket on this loopback address, and what to do.
    fn no_socket(&self, backend: IpAddr) -> Option<String> {
        if !is_usual(backend) {
            return Some("connections are handed over at 127.0.0.1 and ::1 only; use that".to_owned());
        }
        if let Some(why) = self.no_way_past() {
            return Some(format!("{why}; start the agent with --hook tc"));
        }
        let same = |listener: &&Listener| listener.address.is_ipv4() == backend.is_ipv4();
        let mut listeners = self.alias.listen.iter().filter(same);
        listeners.find_map(|listener| {
            let address = listener.address;
            if listener.protocol == Protocol::Udp {
                return Some(format!(
                    "listener {listener} carries datagrams, which cannot be handed over; give that listener an alias of its own"
                ));
            }
            let mut interfaces = self.observed.interfaces.iter();
            let is_there = interfaces.any(|interface| interface.addresses.contains(&address));
            if !is_there && !self.alias.add_addresses {
                return Some(format!(
                    "this host does not have the listener's address {address}, so its stack delivers nothing there; let the agent add it (--add-addresses, or add_addresses: true in the file), or add it yourself (ip address add {address} dev lo)"
                ));
            }
            None
        })
    }

    /// Where clients come in by XDP, and the backend is behind such an interface too.
    fn by_driver(&self, route: &BackendRoute) -> bool {
        let mut edges = self.observed.xdp_edges.iter().filter(|edge| edge.sends_on);
        route.kind == RouteKind::Routed && edges.any(|edge| edge.ifindex == route.ifindex)
    }

    /// Clients that come in elsewhere are served by the stack, whatever the path is called.
    fn but_not_from(&self) -> String {
        let by_xdp = self.observed.xdp_edges.iter().filter(|edge| !edge.sends_on);
        let others = by_xdp.map(|edge| &edge.name).chain(&self.observed.tc_edges);
        let others: Vec<&str> = others.map(String::as_str).collect();
        if others.is_empty() {
            return String::new();
        }
        format!(
            "; clients that come in by {} take the stack, as XDP does not send on from there",
            others.join(", ")
        )
    }

    /// An XDP program that hands a packet to a veth loses its checksum, or all of it.
    fn no_way_past(&self) -> Option<String> {
        let edges: Vec<&str> = self.observed.xdp_edges.iter().map(|edge| edge.name.as_str()).collect();
        (!edges.is_empty()).then(|| {
            format!(
                "clients come in by {}, whose hook is xdp, and only tc reaches a veth's other end or a socket",
                edges.join(", ")
            )
        })
    }

    fn refused_socket(&self, set: &SetName, index: usize, backend: &Backend, why: String) -> Refusal {
        Refusal::NoSocket {
            alias: self.name.clone(),
            set: set.clone(),
            index,
            backend: backend.address,
            why,
        }
    }

    fn no_bypass(&self, set: &SetName, index: usize, backend: &Backend, why: String) -> Refusal {
        Refusal::NoBypass {
            alias: self.name.clone(),
            set: set.clone(),
            index,
            backend: backend.address,
            why,
        }
    }
}

const fn is_usual(loopback: IpAddr) -> bool {
    match loopback {
        IpAddr::V4(address) => matches!(address.octets(), [127, 0, 0, 1]),
        IpAddr::V6(_) => true,
    }
}
