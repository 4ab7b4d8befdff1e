//! What deploy jobs depend on: exit codes and what is final when a command returns.

use std::time::Duration;

use aya::programs::SchedClassifier;
use aya::programs::tc::TcAttachType;
use switcher_tests::lab::{Capture, LISTENER_V4, SYN_FILTER};

use crate::ground::{Ground, Kept};

#[test]
fn an_upgrade_with_nothing_to_drain_exits_0_and_again_there_is_nothing_to_do() {
    let ground = Ground::new("auto");
    let receipt = ground.json("upgrade web --to v2 --json");
    assert_eq!(receipt["schema"], 1);
    let epoch = ground.epoch();
    ground.expect("upgrade web --to v2", 0);
    assert_eq!(ground.epoch(), epoch, "nothing to do is nothing done");
    let list = ground.json("receipt ls --json");
    assert_eq!(list["schema"], 1);
}

#[test]
fn when_the_command_returns_no_syn_reaches_the_old_set() {
    let ground = Ground::new("bypass");
    for _ in 0..50 {
        assert_eq!(ground.answers()[0], "v1");
    }
    ground.expect("upgrade web --to v2 --drain-timeout 5s", 0);
    let capture = Capture::start(ground.lab.v1(), "eth0", SYN_FILTER).unwrap();
    for _ in 0..100 {
        assert_eq!(ground.answers(), ["v2", "v2"]);
    }
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(capture.stop().unwrap().packets.len(), 0);
}

#[test]
fn a_drain_waits_for_the_last_flow() {
    let ground = Ground::new("bypass");
    let mut kept = Kept::open(ground.lab.client(), LISTENER_V4);
    kept.ask();
    let begun = std::time::Instant::now();
    let ends = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        drop(kept);
    });
    ground.expect("upgrade web --to v2 --drain-timeout 20s", 0);
    assert!((2..10).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    ends.join().unwrap();
}

#[test]
fn refusals_have_their_codes_and_change_nothing() {
    let ground = Ground::new("auto");
    let epoch = ground.epoch();
    for (line, code) in [
        ("upgrade nosuch --to v2", 1),
        ("upgrade web --to nosuch", 1),
        ("split nosuch v1=1", 1),
        ("rollback nosuch", 1),
        ("alias rm nosuch", 1),
        ("set rm web nosuch", 1),
        ("set rm web v1", 1),
        ("receipt show 999", 1),
        ("split web v1=-1", 2),
        ("split web v1=1001", 2),
        ("split web v1=0 v2=0", 2),
        ("set put web v3 --backend nohost", 2),
        ("set put web v3 --backend 127.0.0.1:80", 1),
        ("alias put other --listen 198.51.100.10:80/tcp", 2),
        ("alias put other --listen 198.51.100.10:81", 2),
        ("alias put other --listen 198.51.100.10:81/sctp", 2),
        ("upgrade web --to v2 --steps 5,50", 2),
        ("upgrade web --to v2 --fail-on http_500>1%", 2),
        ("upgrade web --to v2 --fail-on failed>10ms", 2),
        ("hold nosuch", 1),
        ("apply -f /nonexistent.yaml", 2),
    ] {
        let outcome = ground.cli(line);
        assert_eq!(outcome.code, code, "{line}: {}{}", outcome.stdout, outcome.stderr);
        assert!(!outcome.stderr.trim().is_empty(), "{line} says why");
    }
    assert_eq!(ground.epoch(), epoch);
    assert_eq!(ground.answers(), ["v1", "v1"]);
}

#[test]
fn an_upgrade_from_several_sets_names_them() {
    let ground = Ground::new("auto");
    ground.expect("split web v1=50 v2=50", 0);
    ground.expect("set put web v3 --backend 10.1.1.2:8080 --backend [fd00:1::2]:8080", 0);
    let outcome = ground.expect("upgrade web --to v3", 2);
    assert!(
        outcome.stderr.contains("v1") && outcome.stderr.contains("v2"),
        "{}",
        outcome.stderr
    );
    ground.expect("upgrade web --to v3 --from v1", 0);
}

#[test]
fn an_upgrade_goes_on_from_a_canary_without_being_told_from_where() {
    let ground = Ground::new("auto");
    ground.expect("split web v1=50 v2=50", 0);
    ground.expect("upgrade web --to v2", 0);
    assert_eq!(ground.answers(), ["v2", "v2"]);
}

#[test]
fn the_same_command_again_says_4_while_flows_are_left_and_0_when_none_is() {
    let ground = Ground::new("auto");
    let mut kept = Kept::open(ground.lab.client(), LISTENER_V4);
    kept.ask();
    for _ in 0..3 {
        ground.expect("upgrade web --to v2 --drain-timeout 0s", 4);
    }
    assert_eq!(kept.ask(), "v1");
    drop(kept);
    ground.expect("upgrade web --to v2 --drain-timeout 10s", 0);
}

#[test]
fn a_host_that_does_not_forward_is_told_of_by_status() {
    let ground = Ground::new("stack");
    let off = ["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"];
    ground.lab.host().run(&off).unwrap().expect_code(&[0]).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let text = ground.expect("status", 0).stdout;
    assert!(text.contains("net.ipv4.ip_forward"), "{text}");
}

#[test]
fn several_aliases_change_in_one_epoch() {
    let ground = Ground::new("auto");
    ground.expect("alias put admin --listen 198.51.100.11:80/tcp", 0);
    ground.expect("set put admin v1 --backend 10.1.0.2:8080", 0);
    ground.expect("set put admin v2 --backend 10.1.1.2:8080", 0);
    ground.expect("split admin v1=100", 0);
    let epoch = ground.epoch();
    ground.expect("upgrade web admin --to v2", 0);
    assert_eq!(ground.epoch(), epoch + 1);
    assert_eq!(ground.answers(), ["v2", "v2"]);
    assert_eq!(ground.get("http://198.51.100.11/"), "v2");
}

#[test]
fn without_an_agent_the_code_is_5() {
    let mut ground = Ground::new("auto");
    ground.agent.stop().unwrap();
    ground.expect("upgrade web --to v2", 5);
    ground.expect("status", 5);
    // The data path needs none (I4).
    assert_eq!(ground.answers(), ["v1", "v1"]);
}

/// Programs at the interface where clients come in, by the kernel's own word: neither tc nor this bpftool knows of TCX.
fn programs_at_the_edge(ground: &Ground) -> usize {
    let name = ground.lab.host().name().to_owned();
    let by_tcx = std::thread::spawn(move || {
        let netns = std::fs::File::open(format!("/run/netns/{name}")).unwrap();
        nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        [TcAttachType::Ingress, TcAttachType::Egress]
            .map(|kind| SchedClassifier::query_tcx("client", kind).map_or(0, |(_, programs)| programs.len()))
    });
    let filters = ["ingress", "egress"].map(|way| {
        let words = ["tc", "filter", "show", "dev", "client", way];
        ground
            .lab
            .host()
            .run(&words)
            .unwrap()
            .stdout
            .matches("switcher")
            .count()
    });
    by_tcx.join().unwrap().iter().chain(&filters).sum()
}

fn pins(ground: &Ground) -> usize {
    let root = ground.lab.dir().join("bpffs/switcher");
    let list = |path: &std::path::Path| -> Vec<_> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let versions = list(&root);
    versions
        .iter()
        .flat_map(|version| list(version))
        .map(|folder| list(&folder).len())
        .sum()
}

#[test]
fn a_detach_at_another_socket_leaves_a_live_agent_alone() {
    let ground = Ground::new("bypass");
    let bpffs = ground.lab.dir().join("bpffs");
    let line = format!("--host unix:///nonexistent/s detach --bpffs {}", bpffs.display());
    let outcome = ground.expect(&line, 1);
    assert!(outcome.stderr.contains("--host"), "{}", outcome.stderr);
    assert!(programs_at_the_edge(&ground) >= 2);
    assert_eq!(ground.answers(), ["v1", "v1"]);
}

/// What is named is what is removed, whoever answers at the socket.
#[test]
fn a_detach_of_other_pins_leaves_the_agent_that_answers_alone() {
    let ground = Ground::new("bypass");
    let other = ground.lab.dir().join("other-bpffs");
    std::fs::create_dir(&other).unwrap();
    let said = ground.expect(&format!("detach --bpffs {}", other.display()), 0).stdout;
    assert!(said.contains("nothing was attached"), "{said}");
    assert!(programs_at_the_edge(&ground) >= 2);
    assert_eq!(ground.answers(), ["v1", "v1"]);
    let own = ground.lab.dir().join("bpffs");
    let said = ground.expect(&format!("detach --bpffs {}", own.display()), 0).stdout;
    assert!(said.contains("the agent, which then stopped"), "{said}");
    assert_eq!(programs_at_the_edge(&ground), 0);
}

#[test]
fn a_rollback_after_an_upgrade_that_ran_out_of_time_changes_nothing() {
    let ground = Ground::new("auto");
    let mut kept = Kept::open(ground.lab.client(), LISTENER_V4);
    kept.ask();
    ground.expect("upgrade web --to v2 --timeout 1s", 3);
    ground.expect("rollback web", 1);
    assert_eq!(ground.answers(), ["v1", "v1"]);
    assert_eq!(kept.ask(), "v1");
}

#[test]
fn a_state_that_was_moved_away_is_asked_for_and_traffic_goes_on() {
    let mut ground = Ground::new("bypass");
    ground.agent.stop().unwrap();
    let state = ground.lab.dir().join("state/desired.json");
    let kept = state.with_extension("kept");
    std::fs::rename(&state, &kept).unwrap();
    // Its socket may answer for a moment.
    let _ = ground.agent.launch();
    let log = || std::fs::read_to_string(ground.agent.log()).unwrap();
    for _ in 0..100 {
        if log().contains("still serves epoch") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(log().contains("still serves epoch"), "{}", log());
    ground.agent.kill().unwrap();
    assert_eq!(ground.answers(), ["v1", "v1"]);
    std::fs::rename(&kept, &state).unwrap();
    ground.agent.launch().unwrap();
    assert_eq!(ground.answers(), ["v1", "v1"]);
}

#[test]
fn detach_leaves_the_host_as_it_was() {
    let ground = Ground::new("bypass");
    assert_eq!(ground.answers(), ["v1", "v1"]);
    assert!(programs_at_the_edge(&ground) >= 2);
    assert!(pins(&ground) > 0);
    ground.expect("detach", 0);
    assert_eq!(programs_at_the_edge(&ground), 0);
    assert_eq!(pins(&ground), 0, "pins are left");
    let refused = ground
        .lab
        .client()
        .run(&["curl", "-sS", "--max-time", "1", "http://198.51.100.10/"])
        .unwrap();
    assert_ne!(refused.code, 0);
}
