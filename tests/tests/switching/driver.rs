//! XDP that sends on past the stack, from driver to driver: cables in the place of veths.

use switcher_tests::lab::{Container, LISTENER_V4, LISTENER_V6, Lab, Nginx, Wires};

use crate::ground::{Ground, Kept, stack};
use crate::rules::add_rules;
use crate::xdp::{counted, stalls_in_no_second, transfers_arrive_whole};

/// Packets that the host's stack has forwarded, of both families.
fn forwarded(ground: &Ground) -> u64 {
    let script = "awk '/^Ip: [0-9]/ {print $7} /^Ip6OutForwDatagrams/ {print $2}' /proc/net/snmp /proc/net/snmp6";
    let said = ground.lab.host().run(&["sh", "-c", script]).unwrap().stdout;
    let numbers: Vec<u64> = said.lines().map(|line| line.trim().parse().unwrap()).collect();
    assert_eq!(numbers.len(), 2, "{said}");
    numbers.iter().sum()
}

fn paths(ground: &Ground) -> Vec<String> {
    let status = ground.json("status web --json");
    let sets = status["aliases"][0]["sets"].as_array().unwrap();
    let backends = sets.iter().flat_map(|set| set["backends"].as_array().unwrap());
    backends.map(|one| one["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn packets_go_past_the_stack_both_ways() {
    let ground = Ground::by_driver("auto");
    assert_eq!(paths(&ground), ["bypass"; 4]);
    let text = ground.expect("status web", 0).stdout;
    assert!(text.contains("behind v1, to which XDP sends on"), "{text}");
    // The first packet to each neighbour goes by the stack, which asks for its address.
    assert_eq!(ground.answers(), ["v1", "v1"]);
    let before = (forwarded(&ground), counted(&ground, "reply_bypass"));
    for _ in 0..20 {
        assert_eq!(ground.answers(), ["v1", "v1"]);
    }
    assert_eq!(forwarded(&ground), before.0, "the stack has forwarded packets");
    assert!(counted(&ground, "reply_bypass") >= before.1 + 40 * 3);
    assert!(counted(&ground, "opened_bypass") >= 40);
    for reason in ["opened_stack", "forward_stack", "reply_stack", "rewrite_failed"] {
        assert_eq!(counted(&ground, reason), 0, "{reason}");
    }
}

#[test]
fn bulk_arrives_whole_and_stalls_in_no_second() {
    let ground = Ground::by_driver("bypass");
    transfers_arrive_whole(&ground);
    stalls_in_no_second(&ground);
    assert_eq!(counted(&ground, "rewrite_failed"), 0);
}

/// Clients and backends behind one and the same interface, by a router there: frames go back out where they came in.
#[test]
fn a_host_on_one_cable_sends_back_out() {
    let lab = Lab::wired(Wires::Cables).expect("a lab (root is needed)");
    let router = lab.client().clone();
    let asker = lab.behind(&router, "asker", ["10.8.0", "fd00:8"]).unwrap();
    let beyond = lab.behind(&router, "beyond", ["10.9.0", "fd00:9"]).unwrap();
    // What the backend answers comes back to the host, as a balancer on one arm needs it.
    let script = "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
        for all in all default eth0; do echo 0 > /proc/sys/net/ipv4/conf/$all/send_redirects; done
        ip rule add iif beyond lookup 100; ip route add default via 10.0.0.1 table 100
        ip -6 rule add iif beyond lookup 100; ip -6 route add default via fd00:c::1 table 100";
    router.run(&["sh", "-ec", script]).unwrap().expect_code(&[0]).unwrap();
    let script = "ip route add 10.8.0.0/15 via 10.0.0.2; ip -6 route add fd00:8::/31 via fd00:c::2";
    lab.host()
        .run(&["sh", "-ec", script])
        .unwrap()
        .expect_code(&[0])
        .unwrap();
    let served = Nginx::start(&lab, &beyond, "beyond").unwrap();
    let ground = Ground::bare_in(lab, &["--hook", "xdp"]);
    let text = stack("auto")
        .replace("10.1.0.2", "10.9.0.2")
        .replace("[fd00::2]", "[fd00:9::2]");
    ground.apply(&text).expect_code(&[0]).unwrap();
    for listener in [LISTENER_V4, LISTENER_V6].iter().cycle().take(10) {
        let url = format!("http://{listener}/");
        let answer = asker.run(&["curl", "-sSg", "--max-time", "5", &url]).unwrap();
        assert_eq!(answer.expect_code(&[0]).unwrap().stdout.trim(), "beyond", "{url}");
    }
    assert_eq!(forwarded(&ground), counted(&ground, "bypass_no_route"), "but for those");
    assert!(counted(&ground, "forward_bypass") >= 10 && counted(&ground, "reply_bypass") >= 10);
    drop(served);
}

/// Another machine under the same address, and nobody says so: the kernel has to ask again, though no packet of its own stack goes there.
#[test]
fn a_neighbour_that_moves_in_silence_is_found_again() {
    let ground = Ground::by_driver("auto");
    assert_eq!(ground.answers(), ["v1", "v1"]);
    let script = "ip link set eth0 down; ip link set eth0 address 02:00:00:00:11:77; ip link set eth0 up
        ip route replace default via 10.1.0.1; ip -6 address replace fd00::2/64 dev eth0 nodad
        ip -6 route replace default via fd00::1";
    // As a machine that takes over and has no word for its neighbours: what it sends is not let out at first.
    let quiet = "for all in all default eth0; do echo 0 > /proc/sys/net/ipv4/conf/$all/arp_notify
        echo 0 > /proc/sys/net/ipv6/conf/$all/ndisc_notify; done";
    let v1 = ground.lab.v1();
    v1.run(&["sh", "-ec", quiet]).unwrap().expect_code(&[0]).unwrap();
    v1.run(&["sh", "-ec", script]).unwrap().expect_code(&[0]).unwrap();
    for listener in [LISTENER_V4, LISTENER_V6] {
        let url = format!("http://{listener}/");
        let words = [
            "curl",
            "-sSg",
            "--retry",
            "30",
            "--retry-all-errors",
            "--retry-delay",
            "1",
            "--max-time",
            "45",
        ];
        let words: Vec<&str> = words.into_iter().chain(["--connect-timeout", "1", &url]).collect();
        let answer = ground.lab.client().run(&words).unwrap();
        assert_eq!(answer.expect_code(&[0]).unwrap().stdout.trim(), "v1", "{url}");
    }
}

/// A driver walks past the host's rules as the bypass of TC does.
#[test]
fn auto_takes_the_stack_where_the_host_has_rules() {
    let ground = Ground::by_driver("auto");
    let mut kept = Kept::open(ground.lab.client(), LISTENER_V4);
    assert_eq!(kept.ask(), "v1");
    add_rules(&ground.lab, crate::rules::RULES);
    ground.apply(&stack("auto")).expect_code(&[0]).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while paths(&ground) != ["stack"; 4] {
        assert!(std::time::Instant::now() < deadline, "{:?}", paths(&ground));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let before = counted(&ground, "opened_stack");
    assert_eq!(ground.answers(), ["v1", "v1"]);
    assert_eq!(counted(&ground, "opened_stack"), before + 2);
    // What was opened past the rules keeps its path.
    assert_eq!(kept.ask(), "v1");
}

/// A veth's frames have checksums that nobody would finish: from there the stack has to carry them.
#[test]
fn clients_behind_a_veth_go_by_the_stack() {
    let lab = Lab::wired(Wires::Cables).expect("a lab (root is needed)");
    let apart = lab.container(Container::Apart).unwrap();
    let mut arguments = crate::ground::BY_DRIVER.to_vec();
    arguments.extend(["--interface", "apart"]);
    let ground = Ground::bare_in(lab, &arguments);
    ground.apply(&stack("auto")).expect_code(&[0]).unwrap();
    for listener in [LISTENER_V4, LISTENER_V6].iter().cycle().take(6) {
        let url = format!("http://{listener}/");
        let answer = apart.run(&["curl", "-sSg", "--max-time", "5", &url]).unwrap();
        assert_eq!(answer.expect_code(&[0]).unwrap().stdout.trim(), "v1", "{url}");
    }
    assert_eq!(
        (counted(&ground, "opened_stack"), counted(&ground, "forward_bypass")),
        (6, 0)
    );
    assert_eq!(ground.answers(), ["v1", "v1"]);
    assert!(counted(&ground, "forward_bypass") > 0);
}

/// Invariants I2 and I4: the drivers need no agent, and flows outlive their hook.
#[test]
fn flows_live_on_without_an_agent_and_under_the_other_hook() {
    let mut ground = Ground::by_driver("auto");
    let mut kept = [LISTENER_V4, LISTENER_V6].map(|listener| Kept::open(ground.lab.client(), listener));
    assert_eq!(kept.each_mut().map(Kept::ask), ["v1", "v1"]);
    ground.agent.kill().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(7));
    assert_eq!(kept.each_mut().map(Kept::ask), ["v1", "v1"]);
    assert_eq!(ground.answers(), ["v1", "v1"]);
    for hook in ["xdp", "tc", "xdp"] {
        let arguments = ["--hook", hook, "--interface", "v1", "--interface", "v2"];
        ground.agent.launch_with(&arguments).unwrap();
        assert_eq!(ground.json("status --json")["attached"][0]["hook"], hook);
        assert_eq!(kept.each_mut().map(Kept::ask), ["v1", "v1"]);
        assert_eq!(ground.answers(), ["v1", "v1"]);
        ground.agent.kill().unwrap();
    }
    ground.agent.launch_with(&crate::ground::BY_DRIVER).unwrap();
    ground.expect("upgrade web --to v2 --drain-timeout 0s", 4);
    assert_eq!(ground.answers(), ["v2", "v2"]);
    assert_eq!(kept.each_mut().map(Kept::ask), ["v1", "v1"]);
}
