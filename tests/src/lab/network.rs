//! The lab's addresses, devices, routes and sysctls.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::process::{guarded, run};
use super::{Cable, End, Namespace, Wires};

/// Where clients find the application over IPv4; no device has this address.
pub const LISTENER_V4: &str = "198.51.100.10:80";
/// Where clients find the application over IPv6; no device has this address.
pub const LISTENER_V6: &str = "[2001:db8::10]:80";
/// `v1`'s own IPv4 address.
pub const V1_V4: &str = "10.1.0.2:8080";
/// `v1`'s own IPv6 address.
pub const V1_V6: &str = "[fd00::2]:8080";
/// `v2`'s own IPv4 address.
pub const V2_V4: &str = "10.1.1.2:8080";
/// `v2`'s own IPv6 address.
pub const V2_V6: &str = "[fd00:1::2]:8080";
/// 65,536 addresses that are all the client's, so that it can be many clients.
pub const CLIENT_POOL_V4: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 0);
/// The same for IPv6, a /64.
pub const CLIENT_POOL_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x200, 0, 0, 0, 0, 0, 0);

const IP_LIMIT: Duration = Duration::from_secs(20);

/// No duplicate address detection and no router discovery: addresses work at once.
const QUIET_V6: &str = "net/ipv6/conf/default/accept_dad=0 net/ipv6/conf/default/dad_transmits=0 \
    net/ipv6/conf/default/accept_ra=0 net/ipv6/conf/default/router_solicitations=0";
/// The client is many clients: any of its local addresses may be bound, and ports are plenty.
const CLIENT_SYSCTLS: &str = "net/ipv6/ip_nonlocal_bind=1 net/ipv4/ip_local_port_range=2048:65535";
const HOST_SYSCTLS: &str = "net/ipv4/ip_forward=1 net/ipv6/conf/all/forwarding=1";

const CLIENT: &str = "\
link set lo up
link set eth0 up
addr add 10.0.0.2/24 dev eth0
addr add fd00:c::2/64 dev eth0 nodad
route add default via 10.0.0.1
route add default via fd00:c::1
route add local 10.200.0.0/16 dev lo
route add local fd00:200::/64 dev lo
";

const VETHS: &str = "\
link add client type veth peer name eth0 netns {client}
link add v1 type veth peer name eth0 netns {v1}
link add v2 type veth peer name eth0 netns {v2}
";

const HOST: &str = "\
link set lo up
link set client up
link set v1 up
link set v2 up
addr add 10.0.0.1/24 dev client
addr add fd00:c::1/64 dev client nodad
addr add 10.1.0.1/24 dev v1
addr add fd00::1/64 dev v1 nodad
addr add 10.1.1.1/24 dev v2
addr add fd00:1::1/64 dev v2 nodad
route add 10.200.0.0/16 via 10.0.0.2
route add fd00:200::/64 via fd00:c::2
";

const BACKEND: &str = "\
link set lo up
link set eth0 up
addr add {v4}.2/24 dev eth0
addr add {v6}::2/64 dev eth0 nodad
route add default via {v4}.1
route add default via {v6}::1
";

/// A container's wire: its own veth to the host.
const CONTAINER: &str = "\
link add {role} type veth peer name eth0 netns {space}
link set {role} up
addr add {v4}.1/24 dev {role}
addr add {v6}::1/64 dev {role} nodad
";

/// The four namespaces of a lab.
pub(super) struct Four<'a> {
    pub client: &'a Namespace,
    pub host: &'a Namespace,
    pub v1: &'a Namespace,
    pub v2: &'a Namespace,
}

/// Makes the namespaces and wires them. `dir` takes the files that `ip -batch` reads.
pub(super) fn build(dir: &Path, four: &Four<'_>, wires: Wires) -> Result<Vec<Cable>> {
    let Four { client, host, v1, v2 } = four;
    let names: String = [client, host, v1, v2]
        .iter()
        .map(|space| format!("netns add {}\n", space.name()))
        .collect();
    batch(dir, None, &names)?;
    sysctls(client, &[QUIET_V6, CLIENT_SYSCTLS])?;
    sysctls(host, &[QUIET_V6, HOST_SYSCTLS])?;
    sysctls(v1, &[QUIET_V6])?;
    sysctls(v2, &[QUIET_V6])?;
    let cables = wire(dir, four, wires)?;
    batch(dir, Some(host), HOST)?;
    batch(dir, Some(client), CLIENT)?;
    batch(
        dir,
        Some(v1),
        &BACKEND.replace("{v4}", "10.1.0").replace("{v6}", "fd00"),
    )?;
    batch(
        dir,
        Some(v2),
        &BACKEND.replace("{v4}", "10.1.1").replace("{v6}", "fd00:1"),
    )?;
    Ok(cables)
}

/// The devices of the host, and `eth0` in each other namespace.
fn wire(dir: &Path, four: &Four<'_>, wires: Wires) -> Result<Vec<Cable>> {
    let Four { client, host, v1, v2 } = four;
    if wires == Wires::Veths {
        let lines = VETHS.replace("{client}", client.name());
        let lines = lines.replace("{v1}", v1.name()).replace("{v2}", v2.name());
        batch(dir, Some(host), &lines)?;
        return Ok(Vec::new());
    }
    let plug = |(device, space)| {
        let far = End { space, device: "eth0" };
        Cable::plug(dir, End { space: host, device }, far)
    };
    [("client", *client), ("v1", *v1), ("v2", *v2)]
        .into_iter()
        .map(plug)
        .collect()
}

/// Makes one more namespace behind the host, as a container is: at `V4.2` and `V6::2`, by the host's device `role`.
pub(super) fn add_container(
    dir: &Path,
    host: &Namespace,
    space: &Namespace,
    role: &str,
    ends: [&str; 2],
) -> Result<()> {
    let fill = |text: &str| {
        let text = text.replace("{v4}", ends[0]).replace("{v6}", ends[1]);
        text.replace("{role}", role).replace("{space}", space.name())
    };
    batch(dir, None, &format!("netns add {}\n", space.name()))?;
    sysctls(space, &[QUIET_V6])?;
    batch(dir, Some(host), &fill(CONTAINER))?;
    batch(dir, Some(space), &fill(BACKEND))
}

/// Runs the lines as one `ip -batch`, inside a namespace or in our own.
fn batch(dir: &Path, inside: Option<&Namespace>, lines: &str) -> Result<()> {
    let file = dir.join("ip.batch");
    fs::write(&file, lines)?;
    let mut ip = guarded("ip", Signal::SIGKILL);
    if let Some(space) = inside {
        ip.arg("-n").arg(space.name());
    }
    ip.arg("-batch").arg(&file);
    run(&mut ip, IP_LIMIT)?.expect_code(&[0])?;
    fs::remove_file(&file)?;
    Ok(())
}

/// Writes `path=value` pairs below /proc/sys inside the namespace; a colon in a value stands for a space.
fn sysctls(space: &Namespace, groups: &[&str]) -> Result<()> {
    let script: String = groups
        .iter()
        .flat_map(|group| group.split_whitespace())
        .filter_map(|pair| pair.split_once('='))
        .map(|(path, value)| format!("echo {} > /proc/sys/{path}\n", value.replace(':', " ")))
        .collect();
    space.run(&["sh", "-ec", &script])?.expect_code(&[0])?;
    Ok(())
}
