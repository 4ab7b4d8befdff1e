//! The XDP hook: the same switch, in the driver of the interface where clients come in.

use std::time::Duration;

use switcher_tests::lab::{
    Agent, CLIENT_POOL_V4, CLIENT_POOL_V6, Capture, ENDS_FILTER, LISTENER_V4, LISTENER_V6, Lab, Resets, V1_V4,
};
use switcher_tests::traffic::{Generator, LoadPlan, Plan, Sources, Work};

use crate::ground::{Ground, Kept, stack};

const BYTES: u64 = 20_000_000;

/// What a hook leaves among the pins: the interface's XDP link, and its TC ingress link.
fn ingress_links(ground: &Ground) -> Vec<String> {
    let mut links = links(ground, "client");
    links.retain(|name| name != "egress");
    links
}

/// What is pinned for an interface.
fn links(ground: &Ground, interface: &str) -> Vec<String> {
    let root = ground.lab.dir().join("bpffs/switcher");
    let version = std::fs::read_dir(root).unwrap().next().unwrap().unwrap();
    let links = std::fs::read_dir(version.path().join("links")).unwrap();
    let names = links.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let edge = ifindex(ground, interface).to_string();
    let mut names: Vec<String> = names
        .filter_map(|name| Some(name.strip_prefix(&edge)?.strip_prefix('-')?.to_owned()))
        .collect();
    names.sort();
    names
}

fn link(ground: &Ground, interface: &str) -> String {
    let words = ["ip", "-o", "link", "show", interface];
    ground.lab.host().run(&words).unwrap().expect_code(&[0]).unwrap().stdout
}

fn ifindex(ground: &Ground, interface: &str) -> u32 {
    link(ground, interface).split(':').next().unwrap().parse().unwrap()
}

/// The kernel's own word for whether an XDP program is on the interface.
fn has_xdp(ground: &Ground) -> bool {
    link(ground, "client").contains("xdp")
}

fn edge_status(ground: &Ground) -> (String, String) {
    let status = ground.json("status --json");
    let edge = status["attached"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["interface"] == "client" && one["role"] == "edge")
        .unwrap()
        .clone();
    let text = |key: &str| edge[key].as_str().unwrap().to_owned();
    (text("hook"), text("why"))
}

#[test]
fn there_is_one_ingress_hook() {
    let ground = Ground::with_hook("xdp");
    assert_eq!(edge_status(&ground).0, "xdp");
    assert!(has_xdp(&ground));
    assert_eq!(ingress_links(&ground), ["xdp"]);
}

#[test]
fn auto_takes_tc_on_a_veth_and_says_why() {
    let ground = Ground::with_hook("auto");
    let (hook, why) = edge_status(&ground);
    assert!(hook == "tc" && why.contains("veth"), "{hook}: {why}");
    assert!(!has_xdp(&ground));
    let text = ground.expect("status", 0).stdout;
    assert!(text.contains("client (edge): tc, a veth"), "{text}");
}

#[test]
fn bypass_is_refused_and_auto_takes_the_stack() {
    let ground = Ground::with_hook("xdp");
    let status = ground.json("status web --json");
    let backend = &status["aliases"][0]["sets"][0]["backends"][0];
    assert_eq!(backend["path"], "stack", "{backend}");
    assert!(backend["why"].as_str().unwrap().contains("hook is xdp"), "{backend}");
    let refused = ground.apply(&stack("bypass")).expect_code(&[1]).unwrap();
    let text = refused.stderr;
    assert!(text.contains("only tc") && text.contains("--path stack"), "{text}");
    assert_eq!(ground.answers(), ["v1", "v1"]);
}

/// The other end's checksum offload is on: what comes in has sums that hardware was to finish.
#[test]
fn bulk_goes_both_ways_and_arrives_whole() {
    let ground = Ground::with_hook("xdp");
    let features = ground.lab.client().run(&["ethtool", "-k", "eth0"]).unwrap().stdout;
    assert!(features.contains("tx-checksumming: on"), "{features}");
    transfers_arrive_whole(&ground);
}

/// Frames of 9,000 bytes are in several pieces under XDP.
#[test]
fn jumbo_frames_arrive_whole() {
    let ground = Ground::bare_with(&["--hook", "tc"]);
    let lab = &ground.lab;
    for (space, device) in [
        (lab.client(), "eth0"),
        (lab.host(), "client"),
        (lab.host(), "v1"),
        (lab.v1(), "eth0"),
    ] {
        let words = ["ip", "link", "set", device, "mtu", "9000"];
        space.run(&words).unwrap().expect_code(&[0]).unwrap();
    }
    let mut ground = ground;
    ground.agent.kill().unwrap();
    ground.agent.launch_with(&["--hook", "xdp"]).unwrap();
    ground.apply(&stack("auto")).expect_code(&[0]).unwrap();
    assert_eq!(edge_status(&ground).0, "xdp");
    for state in ["on", "off"] {
        let words = ["ethtool", "-K", "eth0", "tx", state];
        ground.lab.client().run(&words).unwrap().expect_code(&[0]).unwrap();
        transfers_arrive_whole(&ground);
    }
    assert_eq!(counted(&ground, "rewrite_failed"), 0);
}

/// Packets with this verdict.
pub fn counted(ground: &Ground, reason: &str) -> u64 {
    let status = ground.json("status --json");
    let rows = status["reasons"].as_array().unwrap();
    let found = rows.iter().find(|row| row["reason"] == reason);
    found.map_or(0, |row| row["packets"].as_u64().unwrap())
}

/// A download and an upload by each family.
pub fn transfers_arrive_whole(ground: &Ground) {
    ground.v1.publish("big", BYTES, 1).unwrap();
    let file = ground.lab.dir().join("upload");
    std::fs::write(&file, vec![7; BYTES as usize]).unwrap();
    let file = file.display().to_string();
    let curl = |words: &[&str]| {
        let mut all = vec!["curl", "-sSg", "--max-time", "20"];
        all.extend(words);
        ground.lab.client().run(&all).unwrap().expect_code(&[0]).unwrap().stdout
    };
    for (name, listener) in [("four", "198.51.100.10"), ("six", "[2001:db8::10]")] {
        let url = format!("http://{listener}/files/big");
        let size = curl(&["-o", "/dev/null", "-w", "%{size_download}", &url]);
        assert_eq!(size, BYTES.to_string(), "{url}");
        curl(&["-T", &file, &format!("http://{listener}/uploads/{name}")]);
        let there = std::fs::metadata(ground.v1.uploaded(name)).unwrap().len();
        assert_eq!(there, BYTES, "{listener}");
    }
}

/// Bulk that stalls shows here: small answers hide it.
#[test]
fn iperf3_stalls_in_no_second() {
    stalls_in_no_second(&Ground::with_hook("xdp"));
}

pub fn stalls_in_no_second(ground: &Ground) {
    let bulk = r#"version: 1
stack: bulk
aliases:
  bulk:
    listen: ["198.51.100.30:5201/tcp", "[2001:db8::30]:5201/tcp"]
    split: {v1: 100}
    sets:
      v1: {backends: ["10.1.0.2", "[fd00::2]"]}
"#;
    ground.apply(bulk).expect_code(&[0]).unwrap();
    let mut server = ground.lab.v1().command("iperf3");
    server.arg("-s").stdout(std::process::Stdio::null());
    let _server =
        switcher_tests::lab::Process::spawn("iperf3", &mut server, nix::sys::signal::Signal::SIGTERM).unwrap();
    let ready = [
        "sh",
        "-c",
        "for i in $(seq 100); do ss -Hltn | grep -q :5201 && exit 0; sleep 0.05; done; exit 1",
    ];
    ground.lab.v1().run(&ready).unwrap().expect_code(&[0]).unwrap();
    for address in ["198.51.100.30", "2001:db8::30"] {
        for direction in [&[][..], &["-R"]] {
            let mut words = vec!["iperf3", "-c", address, "-t", "3", "-J"];
            words.extend(direction);
            let outcome = ground.lab.client().run(&words).unwrap().expect_code(&[0]).unwrap();
            let document: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
            let intervals = document["intervals"].as_array().unwrap();
            assert!(intervals.len() >= 3, "{document}");
            for interval in intervals {
                let bytes = interval["sum"]["bytes"].as_u64().unwrap();
                assert!(
                    bytes > 1_000_000,
                    "{address} {direction:?}: a second with {bytes} bytes"
                );
            }
        }
    }
}

/// The sender finishes its sums itself, and the receiver checks them: whole ones stay right too.
#[test]
fn whole_checksums_stay_right_and_partial_ones_beside_them() {
    let ground = Ground::with_hook("xdp");
    let offload = |space: &switcher_tests::lab::Namespace, state: &str| {
        let words = ["ethtool", "-K", "eth0", "tx", state];
        space.run(&words).unwrap().expect_code(&[0]).unwrap();
    };
    for state in ["off", "on", "off"] {
        offload(ground.lab.client(), state);
        for _ in 0..20 {
            assert_eq!(ground.answers(), ["v1", "v1"], "tx checksums {state}");
        }
    }
}

#[test]
fn a_connection_from_before_the_attach_lives_on() {
    let ground = Ground::bare_with(&["--hook", "tc"]);
    let mut agent = ground.agent;
    agent.stop().unwrap();
    agent
        .cli(&[
            "detach",
            "--bpffs",
            &ground.lab.dir().join("bpffs").display().to_string(),
        ])
        .unwrap();
    let mut before = Kept::open(ground.lab.client(), V1_V4);
    assert_eq!(before.ask(), "v1");
    let agent = Agent::start_with(&ground.lab, &["--hook", "xdp"]).unwrap();
    agent.cli(&["status"]).unwrap().expect_code(&[0]).unwrap();
    for _ in 0..3 {
        assert_eq!(before.ask(), "v1");
    }
}

/// From one hook to the other over the same pins: flows go on, and there is one ingress program each time.
#[test]
fn the_hook_changes_under_open_connections() {
    let mut ground = Ground::with_hook("tc");
    let mut kept = [LISTENER_V4, LISTENER_V6].map(|listener| Kept::open(ground.lab.client(), listener));
    for (hook, links) in [("xdp", "xdp"), ("xdp", "xdp"), ("tc", "ingress"), ("xdp", "xdp")] {
        ground.agent.kill().unwrap();
        ground.agent.launch_with(&["--hook", hook]).unwrap();
        // Its answer comes when it has attached; its socket was there before.
        assert_eq!(edge_status(&ground).0, hook);
        assert_eq!(ingress_links(&ground), [links]);
        assert_eq!(has_xdp(&ground), hook == "xdp");
        assert_eq!(kept.each_mut().map(Kept::ask), ["v1", "v1"]);
        assert_eq!(ground.answers(), ["v1", "v1"]);
    }
    ground.agent.kill().unwrap();
    // Without an agent the link stays.
    assert!(has_xdp(&ground));
    assert_eq!(kept.each_mut().map(Kept::ask), ["v1", "v1"]);
    assert_eq!(ground.answers(), ["v1", "v1"]);
    ground.agent.launch_with(&["--hook", "xdp"]).unwrap();
    ground.expect("detach", 0);
    assert!(!has_xdp(&ground));
}

/// An interface of clients of the last agent is a backend's veth for this one: its links are not this one's.
#[test]
fn an_edge_that_becomes_a_backend_has_one_hook() {
    let mut ground = Ground::bare_with(&["--hook", "xdp", "--interface", "v1"]);
    assert_eq!(edge_status(&ground).0, "xdp");
    assert_eq!(links(&ground, "v1"), ["egress", "xdp"]);
    ground.agent.kill().unwrap();
    ground.agent.launch_with(&["--hook", "tc"]).unwrap();
    ground.apply(&stack("bypass")).expect_code(&[0]).unwrap();
    assert_eq!(links(&ground, "v1"), ["ingress"]);
    assert!(!link(&ground, "v1").contains("xdp"));
    assert_eq!(ground.answers(), ["v1", "v1"]);
    ground.agent.kill().unwrap();
    ground
        .agent
        .launch_with(&["--hook", "xdp", "--interface", "v1"])
        .unwrap();
    assert_eq!(edge_status(&ground).0, "xdp");
    assert_eq!(links(&ground, "v1"), ["egress", "xdp"]);
}

/// What another agent says that was to attach XDP to an interface, and could not.
fn start_and_fail(ground: &Ground, interface: &str) -> String {
    let dir = ground.lab.dir();
    let path = |name: &str| dir.join(name).display().to_string();
    let switcher = switcher_tests::binaries::switcher().unwrap().display().to_string();
    std::fs::create_dir_all(dir.join("bpffs2")).unwrap();
    let (state, bpffs, socket) = (path("state2"), path("bpffs2"), path("socket2"));
    let outcome = ground
        .lab
        .host()
        .run(&[
            &switcher,
            "agent",
            "--state-dir",
            &state,
            "--bpffs",
            &bpffs,
            "--socket",
            &socket,
            "--interface",
            interface,
            "--hook",
            "xdp",
        ])
        .unwrap();
    let detached = std::process::Command::new(&switcher)
        .args(["--host", &format!("unix://{socket}"), "detach", "--bpffs", &bpffs])
        .status();
    let _ = std::process::Command::new("umount").arg("--lazy").arg(&bpffs).status();
    assert!(outcome.code == 1 && detached.unwrap().success());
    outcome.stderr
}

#[test]
fn fewer_queues_than_the_other_end_has_are_an_error_that_says_what_to_do() {
    let ground = Ground::with_hook("xdp");
    let script = "ip link add narrow numrxqueues 1 type veth peer name wide numtxqueues 4 && \
                  ip link set wide up && ip link set narrow up && ethtool -L wide tx 4";
    ground
        .lab
        .host()
        .run(&["sh", "-c", script])
        .unwrap()
        .expect_code(&[0])
        .unwrap();
    let refused = start_and_fail(&ground, "narrow");
    assert!(
        refused.contains("fewer receive queues") && refused.contains("ethtool -L") && refused.contains("--hook tc"),
        "{refused}"
    );
    // `auto` would have taken TC there; the first agent is as it was.
    assert_eq!(ground.answers(), ["v1", "v1"]);
}

#[test]
fn somebody_elses_xdp_program_is_an_error_that_says_what_to_do() {
    let ground = Ground::with_hook("xdp");
    // A program by nobody's link, as `ip` attaches it.
    let script = format!(
        "ip link add taken type veth peer name far && ip link set far up && ip link set taken up && \
         ip link set dev taken xdpdrv pinned $(find {}/bpffs -name 'switcher_xdp-*' | head -n 1)",
        ground.lab.dir().display()
    );
    let host = ground.lab.host();
    host.run(&["sh", "-c", &script]).unwrap().expect_code(&[0]).unwrap();
    let refused = start_and_fail(&ground, "taken");
    assert!(
        refused.contains("another XDP program") && refused.contains("--hook tc"),
        "{refused}"
    );
    assert!(link(&ground, "taken").contains("xdp"), "it is there still");
    assert!(has_xdp(&ground));
    assert_eq!(ground.answers(), ["v1", "v1"]);
}

/// New connections and kept ones while the share goes there and back; what the client's own device saw of their ends.
fn resets_under_load(lab: &Lab, targets: [&str; 2], mut meanwhile: impl FnMut()) -> Resets {
    let capture = Capture::start(lab.client(), "eth0", ENDS_FILTER).unwrap();
    let plan = Plan {
        run: "ends".to_owned(),
        targets: targets.iter().map(|target| target.parse().unwrap()).collect(),
        sources: Sources {
            v4: Some(CLIENT_POOL_V4),
            v6: Some(CLIENT_POOL_V6),
        },
        work: Work::Load(LoadPlan {
            rate_per_s: 400,
            seconds_max: 60,
            kept_alive: 8,
            upload: None,
            download: None,
            pings: false,
        }),
    };
    let mut load = Generator::load(lab, &plan).unwrap();
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(600));
        meanwhile();
    }
    let report = load.stop().unwrap();
    // Late ones are no matter here: machines are busy at times.
    assert!(
        report.due > 500 && report.failed + report.resets == 0,
        "{:?}",
        report.failures
    );
    let seen = capture.stop().unwrap();
    assert_eq!(seen.missed, 0);
    let ends = seen.packets.iter().filter(|packet| packet.flags.contains('F')).count();
    assert!(ends as u64 >= report.due, "{ends} FINs of {} requests", report.due);
    Resets::of(&seen.packets)
}

/// No connection is reset, by a host that does not know it, by a backend or by a client that gets what it cannot place.
#[test]
fn clients_see_no_reset() {
    let ground = Ground::with_hook("xdp");
    let mut to = ["v2", "v1"].into_iter().cycle();
    let resets = resets_under_load(&ground.lab, [LISTENER_V4, LISTENER_V6], || {
        let to = to.next().unwrap();
        let line = format!("upgrade web --to {to} --drain-timeout 0s");
        // 4 while the kept ones are where they no longer belong.
        ground.cli(&line).expect_code(&[0, 4]).unwrap();
    });
    assert_eq!(resets.of_connections, [], "of {resets:?}");
}
