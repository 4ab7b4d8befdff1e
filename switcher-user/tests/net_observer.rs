//! `net::Observer` against the kernel: each test makes its own network namespaces and asks inside them.
//!
//! Needs root, `ip` (iproute2) and `nft` (nftables); without them the tests fail, they never skip.

#![expect(
    clippy::unwrap_used,
    reason = "in a test a failed step is a failed test, helpers included"
)]

use std::fs::File;
use std::net::IpAddr;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};
use switcher_user::net::{BackendRoute, Interface, Observed, Observer, RouteKind, XdpFeatures};

/// A network namespace that goes away with its value, in a panic too.
struct Namespace {
    name: String,
}

impl Namespace {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // `ip netns add` prepares its folder when it is first used; two at once would race.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make network namespaces: run them as root"
        );
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let name = format!("swtnet-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run("ip", &["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// `ip` with these arguments, inside.
    fn ip(&self, arguments: &str) {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments.split_whitespace());
        run("ip", &all);
    }

    /// `nft` with this text, inside.
    fn nft(&self, text: &str) {
        run("nsenter", &[&format!("--net=/run/netns/{}", self.name), "nft", text]);
    }

    /// A veth pair: `name` here, `eth0` in `other`, both up.
    fn veth_to(&self, name: &str, other: &Self) {
        self.ip(&format!(
            "link add {name} type veth peer name eth0 netns {}",
            other.name
        ));
        self.ip(&format!("link set {name} up"));
        other.ip("link set eth0 up");
    }

    /// Runs `ask` on a thread of its own in this namespace.
    fn inside<T: Send>(&self, ask: impl AsyncFnOnce(Observer) -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let namespace = File::open(format!("/run/netns/{}", self.name)).unwrap();
                setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async { ask(Observer::new().unwrap()).await })
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn observe(&self, backends: &[&str]) -> Observed {
        let backends: Vec<IpAddr> = backends.iter().map(|text| text.parse().unwrap()).collect();
        self.inside(async |observer| observer.observe(&backends).await.unwrap())
    }

    fn route_to(&self, backend: &str) -> BackendRoute {
        self.observe(&[backend]).backends[&backend.parse::<IpAddr>().unwrap()].clone()
    }

    /// Asserts the way to a backend: the interface and what it means.
    fn assert_route(&self, backend: &str, interface: &str, kind: RouteKind) {
        let route = self.route_to(backend);
        assert_eq!(
            (route.interface.as_str(), route.kind),
            (interface, kind),
            "the way to {backend}"
        );
        assert_eq!(
            route.ifindex == 0,
            kind == RouteKind::Unreachable,
            "the way to {backend}: {route:?}"
        );
    }

    fn firewall(&self) -> Vec<String> {
        self.observe(&[]).firewall
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The veths go with it. A failure here must not hide the test's own.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said}", arguments.join(" "));
}

/// A host with the veth `v1` to a backend's namespace: 10.1.0.1/24 and fd00::1/64 here, .2 and ::2 there.
fn host_with_backend() -> (Namespace, Namespace) {
    let (host, backend) = (Namespace::new(), Namespace::new());
    host.veth_to("v1", &backend);
    host.ip("address add 10.1.0.1/24 dev v1");
    host.ip("address add fd00::1/64 dev v1 nodad");
    (host, backend)
}

#[test]
fn an_address_of_this_host_is_local() {
    let (host, _backend) = host_with_backend();
    for address in ["127.0.0.1", "127.9.9.9", "::1", "10.1.0.1", "fd00::1"] {
        host.assert_route(address, "lo", RouteKind::Local);
    }
}

#[test]
fn a_backend_behind_a_veth_to_another_namespace_is_veth() {
    let (host, _backend) = host_with_backend();
    host.assert_route("10.1.0.2", "v1", RouteKind::Veth);
    host.assert_route("fd00::2", "v1", RouteKind::Veth);
    // A host route without a subnet, as container networks set.
    host.ip("route add 192.0.2.7/32 dev v1");
    host.assert_route("192.0.2.7", "v1", RouteKind::Veth);
    let found = host.observe(&["10.1.0.2", "fd00::2", "10.1.0.2", "127.0.0.1"]);
    assert_eq!(found.backends.len(), 3);
    let v1 = found
        .interfaces
        .iter()
        .find(|interface| interface.name == "v1")
        .unwrap();
    assert_eq!(
        found.backends[&"10.1.0.2".parse::<IpAddr>().unwrap()].ifindex,
        v1.ifindex
    );
}

#[test]
fn a_veth_within_one_namespace_is_routed() {
    let host = Namespace::new();
    host.ip("link add left type veth peer name right");
    host.ip("link set left up");
    host.ip("link set right up");
    host.ip("address add 10.2.0.1/24 dev left");
    host.assert_route("10.2.0.2", "left", RouteKind::Routed);
}

#[test]
fn a_backend_behind_a_bridge_is_routed() {
    let (host, backend) = (Namespace::new(), Namespace::new());
    host.veth_to("v1", &backend);
    host.ip("link add br0 type bridge");
    host.ip("link set br0 up");
    host.ip("address add 10.3.0.1/24 dev br0");
    host.ip("address add fd03::1/64 dev br0 nodad");
    host.ip("route add 192.0.2.7/32 dev v1");
    host.assert_route("192.0.2.7", "v1", RouteKind::Veth);
    host.ip("link set v1 master br0");
    host.assert_route("10.3.0.2", "br0", RouteKind::Routed);
    host.assert_route("fd03::2", "br0", RouteKind::Routed);
    // The port of a bridge itself: its packets belong to the bridge.
    host.assert_route("192.0.2.7", "v1", RouteKind::Routed);
    host.ip("link set v1 nomaster");
    host.assert_route("192.0.2.7", "v1", RouteKind::Veth);
}

#[test]
fn a_backend_behind_a_gateway_is_routed() {
    let (host, _backend) = host_with_backend();
    host.ip("route add 10.50.0.0/16 via 10.1.0.2");
    host.ip("route add fd50::/64 via fd00::2");
    // An IPv4 network behind an IPv6 gateway.
    host.ip("route add 10.51.0.0/16 via inet6 fd00::2 dev v1");
    for backend in ["10.50.0.9", "fd50::9", "10.51.0.9"] {
        host.assert_route(backend, "v1", RouteKind::Routed);
    }
}

#[test]
fn what_no_route_leads_to_is_unreachable() {
    let (host, _backend) = host_with_backend();
    host.ip("route add unreachable 10.60.0.0/24");
    host.ip("route add prohibit 10.60.1.0/24");
    host.ip("route add blackhole 10.60.2.0/24");
    host.ip("route add unreachable fd60::/64");
    host.ip("route add prohibit fd60:1::/64");
    host.ip("route add blackhole fd60:2::/64");
    let none = ["203.0.113.1", "2001:db8::1"];
    let refused = [
        "10.60.0.1",
        "10.60.1.1",
        "10.60.2.1",
        "fd60::1",
        "fd60:1::1",
        "fd60:2::1",
    ];
    for backend in none.into_iter().chain(refused) {
        host.assert_route(backend, "", RouteKind::Unreachable);
    }
    host.assert_route("10.1.0.2", "v1", RouteKind::Veth);
    host.ip("link set v1 down");
    host.assert_route("10.1.0.2", "", RouteKind::Unreachable);
}

#[test]
fn a_changed_route_is_seen_by_the_same_observer() {
    let (host, _backend) = host_with_backend();
    let address: IpAddr = "10.70.0.1".parse().unwrap();
    host.inside(async |observer| {
        let kind = async |observer: &Observer| observer.observe(&[address]).await.unwrap().backends[&address].kind;
        assert_eq!(kind(&observer).await, RouteKind::Unreachable);
        host.ip("route add 10.70.0.1/32 dev v1");
        assert_eq!(kind(&observer).await, RouteKind::Veth);
        host.ip("route replace 10.70.0.1/32 via 10.1.0.2");
        assert_eq!(kind(&observer).await, RouteKind::Routed);
        host.ip("address add 10.70.0.1/32 dev lo");
        assert_eq!(kind(&observer).await, RouteKind::Local);
    });
}

#[test]
fn interfaces_are_described() {
    let (host, _backend) = host_with_backend();
    host.ip("address add 10.1.0.9/24 dev v1");
    host.ip("address add 198.51.100.10/32 dev lo");
    host.ip("link add br0 type bridge");
    let interfaces = host.observe(&[]).interfaces;
    let of = |name: &str| {
        interfaces
            .iter()
            .find(|interface| interface.name == name)
            .unwrap()
            .clone()
    };
    let addresses = |interface: &Interface| interface.addresses.iter().map(ToString::to_string).collect::<Vec<_>>();

    let lo = of("lo");
    assert_eq!((lo.ifindex, lo.up, lo.loopback, lo.ethernet), (1, true, true, false));
    assert_eq!(addresses(&lo), ["127.0.0.1", "198.51.100.10", "::1"]);
    let v1 = of("v1");
    assert_eq!((v1.up, v1.loopback, v1.ethernet), (true, false, true));
    let global: Vec<String> = addresses(&v1)
        .into_iter()
        .filter(|address| !address.starts_with("fe80"))
        .collect();
    assert_eq!(global, ["10.1.0.1", "10.1.0.9", "fd00::1"]);
    let bridge = of("br0");
    assert_eq!((bridge.up, bridge.loopback, bridge.ethernet), (false, false, true));
    assert!(
        interfaces.is_sorted_by_key(|interface| interface.ifindex),
        "{interfaces:?}"
    );
}

#[test]
fn the_own_address_of_a_point_to_point_link_is_not_its_peers() {
    let (host, _backend) = host_with_backend();
    host.ip("address add 10.80.0.1 peer 10.80.0.2 dev v1");
    let interfaces = host.observe(&[]).interfaces;
    let v1 = interfaces.iter().find(|interface| interface.name == "v1").unwrap();
    assert!(v1.addresses.contains(&"10.80.0.1".parse().unwrap()), "{v1:?}");
    assert!(!v1.addresses.contains(&"10.80.0.2".parse().unwrap()), "{v1:?}");
}

/// By the kernel's own word: XDP on a veth goes on to the stack at most, on a tap it may send on.
#[test]
fn drivers_say_what_they_do_with_xdp() {
    let (host, _backend) = host_with_backend();
    host.ip("link add br0 type bridge");
    host.ip("tuntap add tap0 mode tap");
    host.ip("tuntap add tap1 mode tap vnet_hdr");
    let interfaces = host.observe(&[]).interfaces;
    let of = |name: &str| interfaces.iter().find(|interface| interface.name == name).unwrap();
    let tap = XdpFeatures {
        runs: true,
        sends_on: true,
    };
    assert_eq!(of("tap0").xdp, Some(tap));
    assert_eq!(of("br0").xdp, Some(XdpFeatures::default()));
    assert!(of("v1").xdp.unwrap().runs);
    let partial = |name: &str| of(name).partial_sums;
    assert_eq!([partial("tap0"), partial("tap1"), partial("v1")], [false, true, true]);
}

#[test]
fn default_interfaces_are_those_of_the_default_routes() {
    let (host, four, six) = (Namespace::new(), Namespace::new(), Namespace::new());
    host.veth_to("four", &four);
    host.veth_to("six", &six);
    host.ip("address add 10.1.0.1/24 dev four");
    host.ip("address add 10.2.0.1/24 dev six");
    host.ip("address add fd02::1/64 dev six nodad");
    let names = || {
        let interfaces = host.inside(async |observer| observer.default_interfaces().await.unwrap());
        interfaces
            .into_iter()
            .map(|interface| interface.name)
            .collect::<Vec<_>>()
    };
    assert!(names().is_empty());
    // Another table's default, as a VPN has, and a default that refuses, lead nowhere.
    host.ip("route add default via 10.2.0.2 table 77");
    host.ip("route add unreachable default metric 9000");
    assert!(names().is_empty());
    host.ip("route add default via 10.1.0.2 metric 50");
    assert_eq!(names(), ["four"]);
    host.ip("-6 route add default via fd02::2");
    assert_eq!(names(), ["four", "six"]);
    // A better one first, each once.
    host.ip("route add default via 10.2.0.2 metric 10");
    assert_eq!(names(), ["six", "four"]);
    host.ip("route del default via 10.2.0.2 metric 10");
    host.ip("route del default via 10.1.0.2 metric 50");
    host.ip("-6 route del default");
    host.ip("route add default nexthop via 10.1.0.2 nexthop via 10.2.0.2");
    assert_eq!(names(), ["four", "six"]);
}

#[test]
fn nftables_rules_are_named_and_vanish() {
    let (host, other) = (Namespace::new(), Namespace::new());
    assert_eq!(host.firewall(), [""; 0]);
    host.nft(
        "add table inet filter; add chain inet filter forward { type filter hook forward priority 0; policy accept; }",
    );
    assert_eq!(host.firewall(), [""; 0], "an empty chain that accepts");
    host.nft("add rule inet filter forward ct state invalid drop");
    assert_eq!(
        host.firewall(),
        ["nftables: table inet filter, chain forward has 1 rule"]
    );
    host.nft("add rule inet filter forward tcp dport 80 accept; add rule inet filter forward counter");
    assert_eq!(
        host.firewall(),
        ["nftables: table inet filter, chain forward has 3 rules"]
    );
    assert_eq!(other.firewall(), [""; 0], "another namespace's rules");
    host.nft("add table ip nat; add chain ip nat post { type nat hook postrouting priority 100; }");
    host.nft("add rule ip nat post masquerade");
    host.nft("add table ip6 guard; add chain ip6 guard in { type filter hook input priority 0; policy drop; }");
    assert_eq!(
        host.firewall(),
        [
            "nftables: table inet filter, chain forward has 3 rules",
            "nftables: table ip nat, chain post has 1 rule",
            "nftables: table ip6 guard, chain in has policy drop",
        ]
    );
    host.nft("add rule ip6 guard in accept");
    assert_eq!(
        host.firewall()[2],
        "nftables: table ip6 guard, chain in has 1 rule and policy drop"
    );
    host.nft("delete table ip6 guard");
    host.nft("flush chain ip nat post");
    assert_eq!(
        host.firewall(),
        ["nftables: table inet filter, chain forward has 3 rules"]
    );
    host.nft("flush ruleset");
    assert_eq!(host.firewall(), [""; 0]);
}

#[test]
fn nftables_rules_that_meet_no_packet_say_nothing() {
    let host = Namespace::new();
    host.nft("add table ip shelf; add chain ip shelf unused; add rule ip shelf unused drop");
    assert_eq!(host.firewall(), [""; 0], "a chain without a hook");
    host.nft("add table arp a; add chain arp a in { type filter hook input priority 0; }; add rule arp a in drop");
    assert_eq!(host.firewall(), [""; 0], "rules about ARP");
    host.nft("add table ip asleep { flags dormant; }");
    host.nft("add chain ip asleep in { type filter hook input priority 0; policy drop; }");
    assert_eq!(host.firewall(), [""; 0], "a dormant table");
    host.nft("add table ip asleep");
    assert_eq!(host.firewall(), ["nftables: table ip asleep, chain in has policy drop"]);
}

#[test]
fn long_lists_are_read_whole() {
    let host = Namespace::new();
    host.nft("add table ip t; add chain ip t in { type filter hook input priority 0; }");
    let rules = vec!["add rule ip t in tcp dport 80 counter accept"; 3_000].join("\n");
    let file = std::env::temp_dir().join(format!("{}.nft", host.name));
    std::fs::write(&file, rules).unwrap();
    let result = std::panic::catch_unwind(|| host.nft(&format!("include \"{}\"", file.display())));
    std::fs::remove_file(&file).unwrap();
    result.unwrap();
    assert_eq!(host.firewall(), ["nftables: table ip t, chain in has 3000 rules"]);
    for number in 0..40 {
        host.nft(&format!(
            "add chain ip t c{number:02} {{ type filter hook input priority {number}; policy drop; }}"
        ));
    }
    let sentences = host.firewall();
    assert_eq!(sentences.len(), 33);
    assert_eq!(sentences[0], "nftables: table ip t, chain c00 has policy drop");
    assert_eq!(sentences[32], "nftables: 9 more chains have rules");
}

#[test]
fn many_interfaces_are_read_whole() {
    let host = Namespace::new();
    let batch: String = (0..150)
        .map(|n| format!("link add d{n} type veth peer name e{n}\n"))
        .collect();
    let file = std::env::temp_dir().join(format!("{}.ip", host.name));
    std::fs::write(&file, batch).unwrap();
    let result = std::panic::catch_unwind(|| host.ip(&format!("-batch {}", file.display())));
    std::fs::remove_file(&file).unwrap();
    result.unwrap();
    let interfaces = host.observe(&[]).interfaces;
    assert_eq!(
        interfaces
            .iter()
            .filter(|interface| interface.name.starts_with(['d', 'e']))
            .count(),
        300
    );
}
