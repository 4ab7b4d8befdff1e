//! Listeners that would take the clients of a service of this host.

use std::collections::BTreeSet;

use super::{Desired, Refusal};
use crate::model::{AliasName, Listener, Protocol};
use crate::net::{LocalSocket, Standing};

const SSH_PORT: u16 = 22;
const ETCD_PORTS: [u16; 2] = [2379, 2380];
/// Names of processes (`/proc/PID/comm`) that let people in.
const SSH_NAMES: [&str; 2] = ["sshd", "dropbear"];

/// A listener, and where it stands in its alias's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedListener {
    /// The alias.
    pub alias: AliasName,
    /// Where it stands.
    pub index: usize,
    /// The listener.
    pub listener: Listener,
}

impl Desired {
    /// Every listener with its place.
    pub fn placed_listeners(&self) -> impl Iterator<Item = PlacedListener> + '_ {
        self.aliases.iter().flat_map(|(name, alias)| {
            let placed = |(index, listener): (usize, &Listener)| PlacedListener {
                alias: name.clone(),
                index,
                listener: *listener,
            };
            alias.listen.iter().enumerate().map(placed)
        })
    }

    /// Listeners of `next` that no alias has now: what is there was looked at when it came.
    #[must_use]
    pub fn new_listeners(&self, next: &Self) -> Vec<PlacedListener> {
        let had: BTreeSet<Listener> = self.placed_listeners().map(|one| one.listener).collect();
        next.placed_listeners()
            .filter(|one| !had.contains(&one.listener))
            .collect()
    }
}

/// Looks what the listeners would take: what the host is managed by is refused unless `force`, anything else is a
/// sentence. Only at the host's own addresses can a listener take what a socket had.
///
/// # Errors
/// [`Refusal::ListenerShadows`] for the first that would take SSH, etcd, or a socket of the agent itself (`agent_pid`).
pub fn shadowed(
    listeners: &[PlacedListener],
    standing: &Standing,
    agent_pid: u32,
    force: bool,
) -> Result<Vec<String>, Refusal> {
    let mut warnings = Vec::new();
    for one in listeners {
        if !standing.own.contains(&one.listener.address) {
            continue;
        }
        let Some((service, who)) = taken_from(&one.listener, standing, agent_pid) else {
            continue;
        };
        if let (Some(service), false) = (service, force) {
            return Err(Refusal::ListenerShadows {
                alias: one.alias.clone(),
                index: one.index,
                listener: one.listener,
                service,
                who,
            });
        }
        warnings.push(format!(
            "listener {} of alias '{}' takes new clients from {who}",
            one.listener, one.alias
        ));
    }
    Ok(warnings)
}

/// Whom the listener takes clients from, the worst first: the service that the host is managed by, and the words for it.
fn taken_from(listener: &Listener, standing: &Standing, agent_pid: u32) -> Option<(Option<&'static str>, String)> {
    let mut waits = None;
    for socket in standing.sockets.iter().filter(|socket| covers(listener, socket)) {
        match managed_by(socket, &standing.ssh_ports, agent_pid) {
            Some(service) => return Some((Some(service), who(socket))),
            // One that only talks is a client's own end, or a connection that goes on anyway.
            None if socket.waits && waits.is_none() => waits = Some(who(socket)),
            None => {}
        }
    }
    if is_ssh_port(listener) {
        let nobody = || format!("port {SSH_PORT}, where nobody waits at this moment");
        return Some((Some("SSH"), waits.unwrap_or_else(nobody)));
    }
    waits.map(|who| (None, who))
}

fn is_ssh_port(listener: &Listener) -> bool {
    listener.protocol == Protocol::Tcp && listener.port == SSH_PORT
}

fn covers(listener: &Listener, socket: &LocalSocket) -> bool {
    let at = socket.address.ip();
    // A socket at :: mostly takes IPv4 too; whether it does cannot be seen from here.
    let anywhere = at.is_unspecified() && (at.is_ipv6() || listener.address.is_ipv4());
    socket.protocol == listener.protocol
        && socket.address.port() == listener.port
        && (anywhere || at.to_canonical() == listener.address)
}

/// The service without which this host is not managed any more. One who is logged in by a port that systemd waits at
/// shows that it is SSH's; and so does its configuration where the process cannot be seen.
fn managed_by(socket: &LocalSocket, ssh_ports: &BTreeSet<u16>, agent_pid: u32) -> Option<&'static str> {
    let (pid, name) = socket
        .owner
        .as_ref()
        .map_or((None, ""), |(pid, name)| (Some(*pid), name));
    if SSH_NAMES.iter().any(|ssh| name.starts_with(ssh)) {
        return Some("SSH");
    }
    if !socket.waits {
        return None;
    }
    if pid.is_none() && ssh_ports.contains(&socket.address.port()) && socket.protocol == Protocol::Tcp {
        return Some("SSH");
    }
    let is_etcd = name == "etcd" || ETCD_PORTS.contains(&socket.address.port());
    match socket.protocol {
        _ if pid == Some(agent_pid) => Some("this agent"),
        Protocol::Tcp if is_etcd => Some("etcd"),
        _ => None,
    }
}

fn who(socket: &LocalSocket) -> String {
    let (at, does) = (socket.address, if socket.waits { "waits" } else { "has a connection" });
    match &socket.owner {
        Some((pid, name)) => format!("{name} (pid {pid}), which {does} at {at}"),
        None => format!("a process of this host that {does} at {at}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: u32 = 4711;

    fn socket(protocol: Protocol, address: &str, name: &str) -> LocalSocket {
        LocalSocket {
            protocol,
            address: address.parse().unwrap(),
            waits: true,
            owner: (!name.is_empty()).then(|| (77, name.to_owned())),
        }
    }

    fn look(listener: &str, sockets: &[LocalSocket], force: bool) -> Result<Vec<String>, Refusal> {
        let new = PlacedListener {
            alias: "web".parse().unwrap(),
            index: 1,
            listener: listener.parse().unwrap(),
        };
        let standing = Standing {
            own: ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()].into(),
            sockets: sockets.to_vec(),
            ssh_ports: [2200].into(),
        };
        shadowed(&[new], &standing, AGENT, force)
    }

    #[test]
    fn what_the_host_is_managed_by_is_refused_unless_forced() {
        for (listener, at, name) in [
            ("10.0.0.1:22/tcp", "0.0.0.0:22", ""),
            ("10.0.0.1:2222/tcp", "0.0.0.0:2222", "sshd"),
            ("10.0.0.1:22/tcp", "[::]:22", "sshd"),
            ("[fd00::1]:22/tcp", "[fd00::1]:22", "systemd"),
            ("10.0.0.1:2379/tcp", "10.0.0.1:2379", ""),
            ("10.0.0.1:2380/tcp", "[::]:2380", "docker-proxy"),
            ("10.0.0.1:4001/tcp", "10.0.0.1:4001", "etcd"),
        ] {
            let sockets = [socket(Protocol::Tcp, at, name)];
            let refusal = look(listener, &sockets, false).unwrap_err();
            assert_eq!(refusal.field().as_deref(), Some("aliases.web.listen[1]"));
            let said = refusal.to_string();
            assert!(said.contains(at) && said.contains("--force"), "{said}");
            assert_eq!(look(listener, &sockets, true).unwrap().len(), 1, "{listener}");
        }
        for (protocol, word) in [(Protocol::Tcp, "tcp"), (Protocol::Udp, "udp")] {
            let mut own = socket(protocol, "10.0.0.1:9090", "switcher");
            own.owner = Some((AGENT, "switcher".to_owned()));
            assert!(look(&format!("10.0.0.1:9090/{word}"), &[own], false).is_err());
        }
    }

    #[test]
    fn port_22_is_ssh_also_while_nobody_waits_there() {
        let refusal = look("10.0.0.1:22/tcp", &[], false).unwrap_err().to_string();
        assert!(refusal.contains("nobody waits at this moment"), "{refusal}");
        assert_eq!(look("10.0.0.1:22/tcp", &[], true).unwrap().len(), 1);
        assert_eq!(look("10.0.0.1:22/udp", &[], false).unwrap(), [""; 0]);
    }

    #[test]
    fn a_login_shows_that_a_port_is_ssh() {
        let waits = socket(Protocol::Tcp, "[::]:2222", "systemd");
        let talks = LocalSocket {
            waits: false,
            ..socket(Protocol::Tcp, "10.0.0.1:2222", "sshd-session")
        };
        assert_eq!(
            look("10.0.0.1:2222/tcp", std::slice::from_ref(&waits), false)
                .unwrap()
                .len(),
            1
        );
        let refusal = look("10.0.0.1:2222/tcp", &[waits, talks], false)
            .unwrap_err()
            .to_string();
        assert!(
            refusal.contains("sshd-session (pid 77), which has a connection at 10.0.0.1:2222"),
            "{refusal}"
        );
        let someones = LocalSocket {
            waits: false,
            ..socket(Protocol::Tcp, "10.0.0.1:2222", "curl")
        };
        assert_eq!(look("10.0.0.1:2222/tcp", &[someones], false).unwrap(), [""; 0]);
    }

    #[test]
    fn a_port_of_sshds_configuration_counts_where_the_process_cannot_be_seen() {
        let unseen = socket(Protocol::Tcp, "[::]:2200", "");
        let refusal = look("10.0.0.1:2200/tcp", &[unseen], false).unwrap_err().to_string();
        assert!(refusal.contains("SSH") && refusal.contains("[::]:2200"), "{refusal}");
        let nginx = socket(Protocol::Tcp, "[::]:2200", "nginx");
        assert_eq!(look("10.0.0.1:2200/tcp", &[nginx], false).unwrap().len(), 1);
    }

    #[test]
    fn other_services_are_named_and_other_places_are_none() {
        let nginx = socket(Protocol::Tcp, "0.0.0.0:80", "nginx");
        let warnings = look("10.0.0.1:80/tcp", &[nginx], false).unwrap();
        assert!(warnings[0].contains("nginx (pid 77)"), "{warnings:?}");
        for (listener, at) in [
            // Not an address of this host: nobody reached the socket there.
            ("198.51.100.10:22/tcp", "0.0.0.0:22"),
            ("10.0.0.1:2222/tcp", "127.0.0.1:2222"),
            ("10.0.0.1:23/tcp", "0.0.0.0:22"),
            ("10.0.0.1:2222/udp", "0.0.0.0:2222"),
            ("[fd00::1]:2222/tcp", "0.0.0.0:2222"),
        ] {
            let sockets = [socket(Protocol::Tcp, at, "sshd")];
            assert_eq!(look(listener, &sockets, false).unwrap(), [""; 0], "{listener} {at}");
        }
    }
}
