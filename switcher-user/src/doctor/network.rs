//! The network namespace: interfaces, forwarding, filters on the way.

use std::fs;
use std::path::PathBuf;

use super::{Finding, Level, Places};
use crate::kernel::probe;
use crate::model::{AddedAddress, Hook, HookPolicy};
use crate::net::{Interface, NetError, Observer};
use crate::plan::choose_hook;
use crate::store;

const AREA: &str = "network";
/// Most interfaces that get a line of their own: a host of containers has a veth for each.
const INTERFACES_MAX: usize = 32;

/// One interface as it matters here.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) interface: Interface,
    /// The name of its driver; empty: it does not say.
    pub(super) driver: String,
    /// `rp_filter` in force: 0 off, 1 strict, 2 loose.
    pub(super) rp_filter: u8,
    pub(super) accept_local: bool,
    /// Above 0: it answers only for its own addresses, not for those on `lo`.
    pub(super) arp_ignore: u8,
}

/// What this namespace is like.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) devices: Result<Vec<Device>, String>,
    /// Names of the interfaces of the default routes.
    pub(super) defaults: Vec<String>,
    pub(super) firewall: Result<Vec<String>, String>,
    /// Addresses that agents added, as the state directory says.
    pub(super) added: Result<Vec<AddedAddress>, String>,
    /// Whether it forwards; none: the family is not there.
    pub(super) forwards_v4: Option<bool>,
    pub(super) forwards_v6: Option<bool>,
}

impl Facts {
    pub(super) async fn gather(places: &Places) -> Self {
        let forwards = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim() != "0");
        let mut facts = Self {
            devices: Err(String::new()),
            defaults: Vec::new(),
            firewall: Ok(Vec::new()),
            added: store::addresses_of(&places.state_dir).map_err(|error| error.to_string()),
            forwards_v4: forwards("/proc/sys/net/ipv4/ip_forward"),
            forwards_v6: forwards("/proc/sys/net/ipv6/conf/all/forwarding"),
        };
        if let Err(error) = facts.ask().await {
            facts.devices = Err(error.to_string());
        }
        facts
    }

    async fn ask(&mut self) -> Result<(), NetError> {
        let observer = Observer::new()?;
        let defaults = observer.default_interfaces().await?;
        self.defaults = defaults.into_iter().map(|one| one.name).collect();
        self.devices = Ok(observer.interfaces().await?.into_iter().map(device).collect());
        self.firewall = observer.firewall().await.map_err(|error| error.to_string());
        Ok(())
    }
}

fn device(interface: Interface) -> Device {
    // The kernel takes the larger of the two for rp_filter, and either for accept_local.
    let settings = |name: &str| -> Vec<u8> {
        ["all", interface.name.as_str()]
            .iter()
            .filter_map(|folder| {
                let folder = PathBuf::from("/proc/sys/net/ipv4/conf").join(folder);
                fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()
            })
            .collect()
    };
    Device {
        driver: probe::driver(&interface.name).unwrap_or_default(),
        rp_filter: settings("rp_filter").into_iter().max().unwrap_or(0),
        accept_local: settings("accept_local").contains(&1),
        arp_ignore: settings("arp_ignore").into_iter().max().unwrap_or(0),
        interface,
    }
}

pub(super) fn judge(facts: &Facts, named: &[String]) -> Vec<Finding> {
    let mut findings = forwarding(facts);
    match &facts.devices {
        Ok(devices) => {
            findings.push(edges(facts, devices, named));
            findings.extend(interfaces(facts, devices, named));
            findings.push(rp_filter(devices));
            findings.push(accept_local(devices));
            findings.extend(arp_ignore(devices));
            findings.extend(addresses(facts));
        }
        Err(cause) => findings.push(Finding::new(AREA, "interfaces", Level::Missing, cause.clone())),
    }
    findings.extend(firewall(&facts.firewall));
    findings
}

/// Without any forwarding no packet gets from a client to a backend; with one family, that one is served.
fn forwarding(facts: &Facts) -> Vec<Finding> {
    let nothing = facts.forwards_v4 != Some(true) && facts.forwards_v6 != Some(true);
    let families = [
        ("IPv4", "forwarding-ipv4", facts.forwards_v4, "net.ipv4.ip_forward"),
        (
            "IPv6",
            "forwarding-ipv6",
            facts.forwards_v6,
            "net.ipv6.conf.all.forwarding",
        ),
    ];
    let judged = families.map(|(family, check, forwards, sysctl)| match forwards {
        Some(true) => Finding::new(AREA, check, Level::Ok, format!("{family} is forwarded")),
        Some(false) => Finding::new(
            AREA,
            check,
            if nothing { Level::Missing } else { Level::Warning },
            format!("{family} is not forwarded: backends elsewhere than on this host are not reached over {family}"),
        )
        .remedy(format!("sysctl -w {sysctl}=1, and keep it in /etc/sysctl.d")),
        None => Finding::new(
            AREA,
            check,
            if nothing { Level::Missing } else { Level::Ok },
            format!("this kernel has no {family}"),
        ),
    });
    judged.into()
}

fn edges(facts: &Facts, devices: &[Device], named: &[String]) -> Finding {
    let check = "edge";
    let absent = named
        .iter()
        .find(|name| devices.iter().all(|device| device.interface.name != **name));
    if let Some(name) = absent {
        let what = format!("there is no interface '{name}', which --interface names");
        return Finding::new(AREA, check, Level::Missing, what).remedy("name one that is there");
    }
    let (edges, why) = if named.is_empty() {
        (&facts.defaults, "of the default routes")
    } else {
        (&named.to_vec(), "named by --interface")
    };
    if edges.is_empty() {
        let what = "there is no default route, so where clients come in is not known";
        return Finding::new(AREA, check, Level::Warning, what)
            .remedy("start the agent with --interface IF for each interface where clients come in");
    }
    let list = edges.join(", ");
    Finding::new(AREA, check, Level::Ok, format!("clients come in by {list} ({why})")).agent(format!(
        "attaches programs to {list}, and to the veths of bypass backends"
    ))
}

fn interfaces(facts: &Facts, devices: &[Device], named: &[String]) -> Vec<Finding> {
    let wanted = |device: &&Device| !device.interface.loopback;
    let is_edge = |name: &String| named.contains(name) || (named.is_empty() && facts.defaults.contains(name));
    let all: Vec<&Device> = devices.iter().filter(wanted).collect();
    let mut findings: Vec<Finding> = all
        .iter()
        .take(INTERFACES_MAX)
        .map(|device| interface(device, is_edge(&device.interface.name)))
        .collect();
    if all.len() > INTERFACES_MAX {
        let what = format!("{} more interfaces", all.len() - INTERFACES_MAX);
        findings.push(Finding::new(AREA, "interface", Level::Ok, what));
    }
    findings
}

fn interface(device: &Device, is_edge: bool) -> Finding {
    let Interface { name, up, ethernet, .. } = &device.interface;
    let driver = if device.driver.is_empty() {
        "driver unknown"
    } else {
        &device.driver
    };
    let check = format!("interface-{name}");
    if !ethernet {
        let level = if is_edge { Level::Missing } else { Level::Ok };
        let what = format!("{name} ({driver}): no hook, its frames have no Ethernet header");
        return Finding::new(AREA, check, level, what).remedy("let clients come in by an Ethernet interface");
    }
    if is_edge && !up {
        let what = format!("{name} ({driver}): clients come in here, and it is down");
        return Finding::new(AREA, check, Level::Warning, what).remedy(format!("ip link set {name} up"));
    }
    let state = if *up { "up" } else { "down" };
    let hook = hook(&device.interface).text();
    let xdp = xdp_text(&device.interface);
    Finding::new(
        AREA,
        check,
        Level::Ok,
        format!("{name} ({driver}): {state}, hook {hook}; {xdp}"),
    )
}

/// The hook that `--hook auto` takes.
fn hook(interface: &Interface) -> Hook {
    match choose_hook(HookPolicy::Auto, interface) {
        Ok(choice) if interface.xdp.is_none_or(|xdp| xdp.runs) => choice.hook,
        _ => Hook::Tc,
    }
}

/// What `--hook xdp` would have here, by the driver's own word.
fn xdp_text(interface: &Interface) -> &'static str {
    match interface.xdp {
        None => "whether its driver runs XDP is not known (kernels before 6.3 do not say)",
        Some(xdp) if !xdp.runs => "its driver runs no XDP",
        Some(xdp) if !xdp.sends_on => "its driver runs XDP, and does not send on: packets go by the stack",
        Some(_) if interface.partial_sums => {
            "its driver runs XDP; checksums come unfinished from a stack of this machine, so packets go by the stack"
        }
        Some(_) => "its driver runs XDP and sends on, past the stack",
    }
}

fn rp_filter(devices: &[Device]) -> Finding {
    let strict: Vec<&str> = devices
        .iter()
        .filter(|device| device.rp_filter == 1 && !device.interface.loopback)
        .map(|device| device.interface.name.as_str())
        .collect();
    if strict.is_empty() {
        return Finding::new(AREA, "rp_filter", Level::Ok, "rp_filter is strict nowhere");
    }
    let what = format!(
        "rp_filter is strict on {}: on the stack path packets are dropped whose way back would be another interface",
        strict.join(", ")
    );
    Finding::new(AREA, "rp_filter", Level::Warning, what).remedy(
        "nothing where clients and backends are reached by the interface that they come from; else sysctl -w net.ipv4.conf.IF.rp_filter=2",
    )
}

fn accept_local(devices: &[Device]) -> Finding {
    let on = devices.iter().filter(|device| device.accept_local).count();
    let what = format!(
        "accept_local is on for {on} of {} interfaces; Switcher does not need it, replies get their address as they leave",
        devices.len()
    );
    Finding::new(AREA, "accept_local", Level::Ok, what)
}

fn arp_ignore(devices: &[Device]) -> Option<Finding> {
    let ignoring = devices
        .iter()
        .filter(|device| device.arp_ignore > 0 && !device.interface.loopback);
    let ignoring: Vec<&str> = ignoring.map(|device| device.interface.name.as_str()).collect();
    if ignoring.is_empty() {
        return None;
    }
    let what = format!(
        "arp_ignore is on for {}: an IPv4 address on its link that the agent would add (add_addresses) is refused, as nobody would answer for it",
        ignoring.join(", ")
    );
    let finding = Finding::new(AREA, "arp_ignore", Level::Warning, what);
    Some(
        finding.remedy(
            "nothing without add_addresses; else sysctl -w net.ipv4.conf.IF.arp_ignore=0, and the same for all",
        ),
    )
}

/// What agents added, and whether it is there: an interface that went down loses its IPv6 ones.
fn addresses(facts: &Facts) -> Vec<Finding> {
    let added = match &facts.added {
        Ok(added) => added,
        Err(cause) => return vec![Finding::new(AREA, "addresses", Level::Warning, cause.clone())],
    };
    let is_there = |one: &AddedAddress| {
        let mut devices = facts.devices.iter().flatten();
        devices
            .any(|device| device.interface.name == one.interface && device.interface.addresses.contains(&one.address))
    };
    let judged = added.iter().map(|one| {
        let AddedAddress { address, interface, .. } = one;
        let check = format!("address-{address}");
        if is_there(one) {
            let what = format!("{address} on {interface} was added by the agent");
            return Finding::new(AREA, check, Level::Ok, what).agent("takes it away with its alias, or at detach");
        }
        let what = format!("{address}, which the agent added to {interface}, is not there");
        Finding::new(AREA, check, Level::Warning, what)
            .agent("adds it again, unless another host answers for it")
            .remedy("start the agent if it does not run; switcher status says why it is not there")
    });
    judged.collect()
}

fn firewall(rules: &Result<Vec<String>, String>) -> Vec<Finding> {
    match rules {
        Ok(rules) if rules.is_empty() => {
            let what = "no firewall or NAT rules: `path: auto` takes the bypass where it can";
            vec![Finding::new(AREA, "firewall", Level::Ok, what)]
        }
        Ok(rules) => rules.iter().map(|rule| rule_in_the_way(rule)).collect(),
        Err(cause) => vec![
            Finding::new(
                AREA,
                "firewall",
                Level::Warning,
                format!("the rules cannot be read: {cause}"),
            )
            .remedy("run `switcher doctor` as root"),
        ],
    }
}

fn rule_in_the_way(rule: &str) -> Finding {
    let what = format!("{rule}: `path: auto` takes the stack, so that they hold for switched packets too");
    Finding::new(AREA, "firewall", Level::Warning, what).remedy(
        "nothing where they let clients reach the backends' addresses; `path: bypass` where packets may go past them",
    )
}
