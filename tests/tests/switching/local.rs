//! Local clients: processes of the host, and of namespaces behind it, in the cgroup that the agent serves.

use std::time::{Duration, Instant};

use switcher_tests::lab::{LISTENER_V4, LISTENER_V6, Namespace, Talker, V1_V4, run};
use switcher_tests::traffic::{Echo, Generator, LoadPlan, Plan, Sources, Work};

use crate::ground::{Ground, Kept};
use crate::udp;

const CURL_LIMIT: Duration = Duration::from_secs(10);
/// As an IPv6 socket writes an IPv4 listener.
const LISTENER_MAPPED: &str = "[::ffff:198.51.100.10]:80";

fn curl(ground: &Ground, space: &Namespace, listener: &str) -> String {
    let mut command = ground.lab.cgroup().command(space, "curl");
    command.args(["-sSg", "--max-time", "5", &format!("http://{listener}/")]);
    let outcome = run(&mut command, CURL_LIMIT).unwrap();
    outcome.expect_code(&[0]).unwrap().stdout.trim().to_owned()
}

fn talker(ground: &Ground, space: &Namespace) -> Talker {
    Talker::start(ground.lab.cgroup(), space).unwrap()
}

/// A connection of the talker, and what it is answered.
fn connect(talker: &mut Talker, name: &str, listener: &str) -> String {
    let kind = if listener.starts_with('[') { "tcp6" } else { "tcp4" };
    talker.step(&format!("open {name} {kind}")).unwrap();
    talker.step(&format!("connect {name} {listener}")).unwrap();
    talker.step(&format!("ask {name}")).unwrap()
}

/// Figures of a set of `web`, as `status` has them.
fn set(ground: &Ground, name: &str) -> serde_json::Value {
    let status = ground.json("status web --json");
    let sets = status["aliases"][0]["sets"].as_array().unwrap();
    sets.iter().find(|set| set["name"] == name).unwrap().clone()
}

fn counter(ground: &Ground, name: &str, counter: &str) -> u64 {
    set(ground, name)["counters"][counter].as_u64().unwrap()
}

/// Local flows of a set that live.
fn living(ground: &Ground, name: &str) -> u64 {
    set(ground, name)["flows"]["local"].as_u64().unwrap()
}

fn follow_an_upgrade(path: &str) {
    let ground = Ground::new(path);
    let answers = |expected: &str| {
        // The client's own namespace stands for a container: it is behind the host, and reaches backends by it.
        for space in [ground.lab.host(), ground.lab.client()] {
            for listener in [LISTENER_V4, LISTENER_V6] {
                assert_eq!(curl(&ground, space, listener), expected, "{listener}");
            }
        }
        assert_eq!(ground.answers(), [expected, expected], "a client from outside");
    };
    answers("v1");
    assert_eq!(counter(&ground, "v1", "flows_opened"), 6);
    ground.expect("upgrade web --to v2 --drain-timeout 5s", 0);
    answers("v2");
    ground.expect("rollback web", 0);
    answers("v1");
    assert_eq!(counter(&ground, "v1", "flows_established"), 12);
    assert_eq!(counter(&ground, "v1", "flows_finished"), 12);
    assert_eq!((living(&ground, "v1"), living(&ground, "v2")), (0, 0));
}

#[test]
fn curl_follows_an_upgrade_on_bypass() {
    follow_an_upgrade("bypass");
}

#[test]
fn curl_follows_an_upgrade_on_stack() {
    follow_an_upgrade("stack");
}

#[test]
fn a_drain_waits_for_local_flows() {
    let ground = Ground::new("bypass");
    let mut local = talker(&ground, ground.lab.host());
    let mut contained = talker(&ground, ground.lab.client());
    assert_eq!(connect(&mut local, "a", LISTENER_V4), "v1");
    assert_eq!(connect(&mut contained, "a", LISTENER_V6), "v1");
    assert_eq!(living(&ground, "v1"), 2);
    ground.expect("upgrade web --to v2 --drain-timeout 0s", 4);
    // The kept ones stay, new ones do not.
    for talker in [&mut local, &mut contained] {
        assert_eq!(talker.step("ask a").unwrap(), "v1");
        assert_eq!(connect(talker, "b", LISTENER_V4), "v2");
        talker.step("close b").unwrap();
    }
    local.step("close a").unwrap();
    let begun = Instant::now();
    let ends = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        contained.step("close a").unwrap();
    });
    let receipt: serde_json::Value = serde_json::from_str(
        &ground
            .expect("upgrade web --to v2 --drain-timeout 20s --json", 0)
            .stdout,
    )
    .unwrap();
    assert!((1..10).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(receipt["outcome"], "done");
    ends.join().unwrap();
    assert_eq!(living(&ground, "v1"), 0);
}

#[test]
fn what_a_drain_leaves_of_local_flows_is_reset_at_its_socket() {
    let ground = Ground::new("bypass");
    let mut local = talker(&ground, ground.lab.host());
    let mut contained = talker(&ground, ground.lab.client());
    for talker in [&mut local, &mut contained] {
        for (name, listener) in [("four", LISTENER_V4), ("six", LISTENER_V6), ("mapped", LISTENER_MAPPED)] {
            assert_eq!(connect(talker, name, listener), "v1");
        }
        assert_eq!(connect(talker, "direct", V1_V4), "v1");
    }
    let line = "upgrade web --to v2 --drain-timeout 0s --drain-action reset --json";
    let receipt: serde_json::Value = serde_json::from_str(&ground.expect(line, 0).stdout).unwrap();
    assert_eq!(receipt["drain"]["reset"], 6, "{receipt}");
    assert_eq!(living(&ground, "v1"), 0);
    for talker in [&mut local, &mut contained] {
        for name in ["four", "six", "mapped"] {
            let why = talker.try_step(&format!("recv {name}")).unwrap().unwrap_err();
            assert!(why.contains("abort"), "{why}");
        }
        assert_eq!(talker.step("ask direct").unwrap(), "v1", "what is not ours stays");
        let began = Instant::now();
        assert_eq!(connect(talker, "again", LISTENER_V4), "v2");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
}

#[test]
fn a_process_sees_the_alias_and_not_the_backend() {
    let ground = Ground::new("bypass");
    let mut local = talker(&ground, ground.lab.host());
    for (name, listener) in [("four", LISTENER_V4), ("six", LISTENER_V6), ("mapped", LISTENER_MAPPED)] {
        assert_eq!(connect(&mut local, name, listener), "v1");
        assert_eq!(local.step(&format!("peer {name}")).unwrap(), listener);
    }
    // What is not ours is as it was.
    assert_eq!(connect(&mut local, "direct", V1_V4), "v1");
    assert_eq!(local.step("peer direct").unwrap(), V1_V4);
    assert_eq!(living(&ground, "v1"), 3);
    assert_eq!(counter(&ground, "v1", "flows_opened"), 3);
}

#[test]
fn processes_elsewhere_are_left_alone() {
    let ground = Ground::new("bypass");
    let outside = ["curl", "-sS", "--max-time", "2", "http://198.51.100.10/"];
    assert_ne!(ground.lab.host().run(&outside).unwrap().code, 0, "not in the cgroup");
    assert_eq!(counter(&ground, "v1", "flows_opened"), 0);
    assert_eq!(curl(&ground, ground.lab.host(), LISTENER_V4), "v1");
    ground.expect("detach", 0);
    let mut again = ground.lab.cgroup().command(ground.lab.host(), "curl");
    again.args(&outside[1..]);
    assert_ne!(run(&mut again, CURL_LIMIT).unwrap().code, 0, "detached");
}

#[test]
fn each_end_is_counted_once_and_leaves_nothing() {
    let ground = Ground::new("bypass");
    let mut local = talker(&ground, ground.lab.host());
    assert_eq!(connect(&mut local, "a", LISTENER_V4), "v1");
    // Another descriptor of the same socket: the first one's end is none.
    local.step("dup a b").unwrap();
    local.step("close a").unwrap();
    assert_eq!(living(&ground, "v1"), 1);
    assert_eq!(local.step("ask b").unwrap(), "v1");
    local.step("close b").unwrap();
    // Begun as event loops do, and asked as soon as it is there.
    local.step("open c tcp4").unwrap();
    local.step(&format!("begin c {LISTENER_V4}")).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(local.step("ask c").unwrap(), "v1");
    local.step("abort c").unwrap();
    // A port of its own, and killed.
    let mut killed = talker(&ground, ground.lab.client());
    killed.step("open d tcp4").unwrap();
    killed.step("bind d 10.200.0.9:7777").unwrap();
    killed.step(&format!("connect d {LISTENER_V4}")).unwrap();
    assert_eq!(killed.step("ask d").unwrap(), "v1");
    killed.kill().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let of = |name: &str| counter(&ground, "v1", name);
    assert_eq!((of("flows_opened"), of("flows_established")), (3, 3));
    assert_eq!((of("flows_finished"), of("flows_reset_by_client")), (2, 1));
    assert_eq!(
        (of("flows_reset_by_backend"), of("flows_refused"), living(&ground, "v1")),
        (0, 0, 0)
    );
}

#[test]
fn a_refused_socket_may_try_again() {
    let mut ground = Ground::new("bypass");
    ground.expect("set put web v2 --backend 10.1.1.2:9 --backend [fd00:1::2]:9", 0);
    ground.expect("split web v2=1", 0);
    let mut local = talker(&ground, ground.lab.host());
    local.step("open a tcp4").unwrap();
    for _ in 0..2 {
        let refused = local
            .try_step(&format!("connect a {LISTENER_V4}"))
            .unwrap()
            .unwrap_err();
        assert!(refused.contains("refused"), "{refused}");
    }
    assert_eq!((counter(&ground, "v2", "flows_refused"), living(&ground, "v2")), (2, 0));
    ground.expect("split web v1=1", 0);
    ground.agent.kill().unwrap();
    // The same socket, and no agent.
    local.step(&format!("connect a {LISTENER_V4}")).unwrap();
    assert_eq!(local.step("ask a").unwrap(), "v1");
    ground.agent.launch().unwrap();
    assert_eq!(living(&ground, "v1"), 1, "the next agent finds it");
    drop(local);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(living(&ground, "v1"), 0);
    let mut kept = Kept::open(ground.lab.client(), LISTENER_V4);
    assert_eq!(kept.ask(), "v1");
}

const NAMES_V4: &str = "198.51.100.20:53";
const NAMES_V6: &str = "[2001:db8::20]:53";

/// Sends a datagram that names its destination; who answered, as the process sees it.
fn exchange(talker: &mut Talker, name: &str, to: &str) -> (String, String) {
    talker.step(&format!("sendto {name} {to} hello")).unwrap();
    let answer = talker.step(&format!("recvfrom {name}")).unwrap();
    let mut words = answer.split(' ').map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

fn datagrams(policy: &str) {
    let ground = Ground::bare();
    let _v1 = Echo::start(ground.lab.v1(), "v1", 5353).unwrap();
    let _v2 = Echo::start(ground.lab.v2(), "v2", 5353).unwrap();
    ground.apply(&udp::stack("bypass", policy)).expect_code(&[0]).unwrap();
    let mut talkers = [talker(&ground, ground.lab.host()), talker(&ground, ground.lab.client())];
    let mapped = format!("[::ffff:{}", NAMES_V4.replace(':', "]:"));
    let listeners = [("four", NAMES_V4), ("six", NAMES_V6), ("dual", &mapped)];
    for talker in &mut talkers {
        for (name, listener) in listeners {
            let family = if listener.starts_with('[') { "udp6" } else { "udp4" };
            talker.step(&format!("open {name} {family}")).unwrap();
            assert_eq!(exchange(talker, name, listener), (listener.to_owned(), "v1".to_owned()));
        }
        talker.step("open kept udp4").unwrap();
        talker.step(&format!("connect kept {NAMES_V4}")).unwrap();
        assert_eq!(talker.step("peer kept").unwrap(), NAMES_V4);
    }
    // Connected sockets keep their backend until they are closed, and the drain says so.
    ground.expect("upgrade dns --to v2 --drain-timeout 0s", 4);
    let after = if policy == "move" { "v2" } else { "v1" };
    for talker in &mut talkers {
        for (name, listener) in listeners {
            assert_eq!(
                exchange(talker, name, listener),
                (listener.to_owned(), after.to_owned())
            );
        }
        talker.step("open new udp4").unwrap();
        assert_eq!(
            exchange(talker, "new", NAMES_V4),
            (NAMES_V4.to_owned(), "v2".to_owned())
        );
        talker.step("send kept hello").unwrap();
        assert!(talker.step("recv kept").unwrap().starts_with("v1 "));
        for name in ["four", "six", "dual", "kept"] {
            talker.step(&format!("close {name}")).unwrap();
        }
    }
    ground.expect("upgrade dns --to v2 --drain-timeout 5s", 0);
}

#[test]
fn datagrams_stay_and_come_from_the_alias() {
    datagrams("stay");
}

#[test]
fn datagrams_move_and_come_from_the_alias() {
    datagrams("move");
}

fn load(ground: &Ground, run: &str, space: &Namespace) -> Generator {
    let plan = Plan {
        run: run.to_owned(),
        targets: vec![LISTENER_V4.parse().unwrap(), LISTENER_V6.parse().unwrap()],
        sources: Sources { v4: None, v6: None },
        work: Work::Load(LoadPlan {
            rate_per_s: 100,
            seconds_max: 120,
            kept_alive: 8,
            upload: None,
            download: None,
            pings: false,
        }),
    };
    Generator::load_local(&ground.lab, space, &plan).unwrap()
}

/// Twenty switches under load of a process of the host and of a contained one, half of them after the agent was killed.
fn twenty_cutovers(path: &str) {
    let mut ground = Ground::new(path);
    let mut loads = [
        load(&ground, "host", ground.lab.host()),
        load(&ground, "contained", ground.lab.client()),
    ];
    for round in 0..20 {
        std::thread::sleep(Duration::from_millis(150));
        if round == 10 {
            ground.agent.kill().unwrap();
            std::thread::sleep(Duration::from_millis(500));
            ground.agent.launch().unwrap();
        }
        let to = if round % 2 == 0 { "v2" } else { "v1" };
        // 4: the kept connections are at v1. v2 may have none left.
        let outcome = ground.cli(&format!("upgrade web --to {to} --drain-timeout 0s --json"));
        let outcome = outcome.expect_code(if to == "v2" { &[4] } else { &[0, 4] }).unwrap();
        let receipt: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        let last = receipt["last_new_flows"].as_array().unwrap();
        assert!(
            !last.is_empty() && last.iter().all(|one| one["before_flip_end"] == true),
            "{receipt}"
        );
        for space in [ground.lab.host(), ground.lab.client()] {
            assert_eq!(curl(&ground, space, LISTENER_V4), to);
        }
    }
    assert!(living(&ground, "v1") >= 16, "kept connections stay at v1");
    for load in &mut loads {
        let report = load.stop().unwrap();
        report.assert_nothing_lost();
        assert!(report.due > 500 && report.answers.len() == 2, "{:?}", report.answers);
    }
    ground.expect("upgrade web --to v2 --drain-timeout 10s", 0);
    assert_eq!(living(&ground, "v1"), 0);
}

#[test]
fn twenty_cutovers_lose_nothing_on_bypass() {
    twenty_cutovers("bypass");
}

#[test]
fn twenty_cutovers_lose_nothing_on_stack() {
    twenty_cutovers("stack");
}
