//! New flows that wait, end to end: held, or sent again behind the shield. None is refused.

use std::time::Duration;

use switcher_tests::lab::{Agent, LISTENER_V4, LISTENER_V6, Lab, Nginx, run};
use switcher_tests::traffic::{Generator, LoadPlan, LoadReport, Plan, Sources, Work};

use crate::ground::{Ground, Kept};

/// New connections a second.
const RATE: u32 = 500;

/// Whose connections they are.
#[derive(Clone, Copy)]
enum From {
    Outside,
    /// A process of the host.
    Host,
    /// One in a namespace of its own, as a container's.
    Container,
}

fn load(lab: &Lab, seconds: u32, from: From) -> Generator {
    let load = LoadPlan {
        rate_per_s: RATE,
        seconds_max: seconds,
        kept_alive: 0,
        upload: None,
        download: None,
        pings: false,
    };
    let plan = Plan {
        run: "waiting".to_owned(),
        targets: vec![LISTENER_V4.parse().unwrap(), LISTENER_V6.parse().unwrap()],
        sources: Sources::default(),
        work: Work::Load(load),
    };
    match from {
        From::Outside => Generator::load(lab, &plan).unwrap(),
        From::Host => Generator::load_local(lab, lab.host(), &plan).unwrap(),
        From::Container => Generator::load_local(lab, lab.client(), &plan).unwrap(),
    }
}

/// Lets the load come to its own end.
fn end(mut generator: Generator, seconds: u64) -> LoadReport {
    std::thread::sleep(Duration::from_secs(seconds));
    generator.stop().unwrap()
}

fn all_served(report: &LoadReport, due: u64) {
    assert_eq!(report.due, due);
    assert_eq!(
        (report.ok + report.late, report.failed),
        (due, 0),
        "{:?} {:?}",
        report.failures,
        report.failure_samples
    );
}

fn counter(ground: &serde_json::Value, name: &str) -> u64 {
    let sets = ground["aliases"][0]["sets"].as_array().unwrap();
    sets.iter().map(|set| set["counters"][name].as_u64().unwrap()).sum()
}

fn held_flows_complete_after_the_release(path: &str) {
    let ground = Ground::new(path);
    let mut kept = Kept::open(ground.lab.client(), LISTENER_V4);
    assert_eq!(kept.ask(), "v1");
    let generator = load(&ground.lab, 4, From::Outside);
    ground.expect("hold web --for 30s", 0);
    let opened = counter(&ground.json("status web --json"), "flows_opened");
    std::thread::sleep(Duration::from_secs(2));
    let status = ground.json("status web --json");
    assert_eq!(counter(&status, "flows_opened"), opened, "nothing new while it is held");
    let left = status["aliases"][0]["held_for_ms"].as_u64().unwrap();
    assert!((10_000..28_500).contains(&left), "{left}");
    assert_eq!(kept.ask(), "v1", "who is connected stays so");
    ground.expect("release web", 0);
    let report = end(generator, 4);
    all_served(&report, 4 * u64::from(RATE));
    let status = ground.json("status web --json");
    assert!(counter(&status, "syns_held") >= u64::from(RATE), "{status}");
    assert!(report.late > 0, "some have waited");
    assert!(status["aliases"][0]["held_for_ms"].is_null());
}

#[test]
fn held_flows_complete_after_the_release_on_bypass() {
    held_flows_complete_after_the_release("bypass");
}

#[test]
fn held_flows_complete_after_the_release_on_stack() {
    held_flows_complete_after_the_release("stack");
}

#[test]
fn a_hold_outlives_its_agent_and_ends_without_one() {
    let mut ground = Ground::new("bypass");
    ground.expect("hold web --for 4s", 0);
    ground.agent.kill().unwrap();
    let ask = |limit: &str| {
        let url = format!("http://{LISTENER_V4}/");
        let line = ["curl", "-sSg", "--max-time", limit, &url];
        ground.lab.client().run(&line).unwrap()
    };
    // curl's code 28: no answer within its time.
    ask("1").expect_code(&[28]).unwrap();
    assert_eq!(ask("15").expect_code(&[0]).unwrap().stdout.trim(), "v1");
}

#[test]
fn the_next_agent_keeps_a_hold_and_a_second_one_replaces_the_first() {
    let mut ground = Ground::new("bypass");
    ground.expect("hold web --for 50s", 0);
    ground.agent.kill().unwrap();
    ground.agent.launch().unwrap();
    let left = || ground.json("status web --json")["aliases"][0]["held_for_ms"].as_u64();
    assert!(left().is_some_and(|left| left > 30_000), "{:?}", left());
    ground.expect("hold web --for 20s", 0);
    assert!(left().is_some_and(|left| left <= 20_000), "{:?}", left());
    ground.expect("release web", 0);
    assert_eq!(left(), None);
    assert!(ground.expect("release web", 0).stdout.contains("nothing to do"));
}

#[test]
fn what_cannot_be_held_is_refused_and_changes_nothing() {
    let ground = Ground::new("auto");
    let epoch = ground.epoch();
    for (line, code, says) in [
        ("hold nobody", 1, "nobody"),
        ("release nobody", 1, "nobody"),
        ("hold web --for 61s", 2, "60 s"),
        ("hold web --for 0s", 2, "1 ms"),
        ("hold web --for soon", 2, "soon"),
    ] {
        let outcome = ground.expect(line, code);
        assert!(outcome.stderr.contains(says), "{line}: {}", outcome.stderr);
    }
    assert_eq!(ground.epoch(), epoch);
}

/// v2 has its share before it listens: the first second's connections are refused, and nobody sees it.
fn nobody_sees_a_version_that_does_not_listen_yet(path: &str, from: From) {
    let lab = Lab::new().unwrap();
    let _v1 = Nginx::start(&lab, lab.v1(), "v1").unwrap();
    let agent = Agent::start(&lab).unwrap();
    let run = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        agent.cli(&words).unwrap().expect_code(&[0]).unwrap()
    };
    run(&format!(
        "alias put web --listen {LISTENER_V4}/tcp {LISTENER_V6}/tcp --path {path} --shield"
    ));
    run("set put web v1 --backend 10.1.0.2:8080 [fd00::2]:8080");
    run("set put web v2 --backend 10.1.1.2:8080 [fd00:1::2]:8080");
    run("split web v2=100");
    let generator = load(&lab, 2, from);
    std::thread::sleep(Duration::from_millis(700));
    let _v2 = Nginx::start(&lab, lab.v2(), "v2").unwrap();
    let report = end(generator, 3);
    all_served(&report, 1_000);
    assert_eq!(report.answers.keys().collect::<Vec<_>>(), ["v2"]);
    let status: serde_json::Value = serde_json::from_str(&run("status web --json").stdout).unwrap();
    let (hidden, waited) = (counter(&status, "refusals_hidden"), counter(&status, "flows_waited"));
    assert!(hidden >= 100 && waited >= 100, "hidden {hidden}, waited {waited}");
    assert!(
        waited <= report.late + 5,
        "who waited was late: {waited}, {}",
        report.late
    );
    let text = run("status web").stdout;
    assert!(
        text.contains(&format!("{waited} flows waited and were served")),
        "{text}"
    );
}

/// As a deploy job does it: the new version is still starting when `upgrade` switches, and the old one drains meanwhile.
#[test]
fn an_upgrade_to_a_version_that_does_not_listen_yet_loses_nobody() {
    for from in [From::Outside, From::Host] {
        let lab = Lab::new().unwrap();
        let _v1 = Nginx::start(&lab, lab.v1(), "v1").unwrap();
        let agent = Agent::start(&lab).unwrap();
        let run = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            agent.cli(&words).unwrap().expect_code(&[0]).unwrap()
        };
        run(&format!(
            "alias put web --listen {LISTENER_V4}/tcp {LISTENER_V6}/tcp --shield"
        ));
        run("set put web v1 --backend 10.1.0.2:8080 [fd00::2]:8080");
        run("set put web v2 --backend 10.1.1.2:8080 [fd00:1::2]:8080");
        run("split web v1=100");
        let generator = load(&lab, 3, from);
        std::thread::sleep(Duration::from_millis(500));
        let receipt = run("upgrade web --to v2 --drain-timeout 5s --json").stdout;
        let receipt: serde_json::Value = serde_json::from_str(&receipt).unwrap();
        assert_eq!(receipt["last_new_flows"][0]["before_flip_end"], true, "{receipt}");
        std::thread::sleep(Duration::from_millis(400));
        let _v2 = Nginx::start(&lab, lab.v2(), "v2").unwrap();
        let report = end(generator, 4);
        all_served(&report, 1_500);
        assert_eq!(report.answers.keys().collect::<Vec<_>>(), ["v1", "v2"]);
        let status: serde_json::Value = serde_json::from_str(&run("status web --json").stdout).unwrap();
        let (hidden, waited) = (counter(&status, "refusals_hidden"), counter(&status, "flows_waited"));
        assert!(hidden >= 100 && waited >= 100, "hidden {hidden}, waited {waited}");
    }
}

#[test]
fn nobody_sees_a_version_that_does_not_listen_yet_on_bypass() {
    nobody_sees_a_version_that_does_not_listen_yet("bypass", From::Outside);
}

#[test]
fn nobody_sees_a_version_that_does_not_listen_yet_on_stack() {
    nobody_sees_a_version_that_does_not_listen_yet("stack", From::Outside);
}

#[test]
fn no_local_client_sees_a_version_that_does_not_listen_yet() {
    for from in [From::Host, From::Container] {
        nobody_sees_a_version_that_does_not_listen_yet("bypass", from);
    }
}

#[test]
fn local_flows_that_are_held_complete_after_the_release() {
    for from in [From::Host, From::Container] {
        let ground = Ground::new("bypass");
        let generator = load(&ground.lab, 4, from);
        ground.expect("hold web --for 30s", 0);
        let established = || counter(&ground.json("status web --json"), "flows_established");
        std::thread::sleep(Duration::from_millis(200));
        let before = established();
        std::thread::sleep(Duration::from_millis(1_800));
        assert_eq!(established(), before, "nothing new while it is held");
        ground.expect("release web", 0);
        let report = end(generator, 4);
        all_served(&report, 4 * u64::from(RATE));
        let held = counter(&ground.json("status web --json"), "syns_held");
        assert!(held >= u64::from(RATE), "{held}");
        assert!(report.late > 0, "some have waited");
    }
}

/// The programs at every packet of local sockets are there only while they are needed, and need no agent.
#[test]
fn a_local_hold_ends_without_an_agent_and_leaves_nothing() {
    let mut ground = Ground::new("bypass");
    let links = ground.lab.dir().join("bpffs");
    let at_packets = || walk(&links).iter().filter(|name| *name == "switcher_leaves").count();
    assert_eq!(at_packets(), 0);
    ground.expect("hold web --for 4s", 0);
    assert_eq!(at_packets(), 1);
    ground.agent.kill().unwrap();
    let ask = |limit: &str| {
        let mut command = ground.lab.cgroup().command(ground.lab.host(), "curl");
        command.args(["-sSg", "--max-time", limit, &format!("http://{LISTENER_V4}/")]);
        run(&mut command, Duration::from_secs(20)).unwrap()
    };
    // curl's code 28: no answer within its time.
    ask("1").expect_code(&[28]).unwrap();
    assert_eq!(ask("15").expect_code(&[0]).unwrap().stdout.trim(), "v1");
    ground.agent.launch().unwrap();
    ground.expect("release web", 0);
    ground.expect("split web v1=1 v2=1", 0);
    assert_eq!(at_packets(), 0);
}

/// Names of all files below a folder.
fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        names.push(entry.file_name().to_string_lossy().into_owned());
        names.extend(walk(&entry.path()));
    }
    names
}

#[test]
fn status_names_the_flows_that_failed_last() {
    let ground = Ground::new("auto");
    // Nobody listens on this port of v2.
    ground.expect("set put web broken --backend 10.1.1.2:9 [fd00:1::2]:9", 0);
    ground.expect("split web broken=1", 0);
    for _ in 0..7 {
        let url = format!("http://{LISTENER_V4}/");
        // curl's code 7: refused.
        let line = ["curl", "-sSg", "--max-time", "5", &url];
        ground.lab.client().run(&line).unwrap().expect_code(&[7]).unwrap();
    }
    let status = ground.json("status web --json");
    let sets = status["aliases"][0]["sets"].as_array().unwrap();
    let broken = sets.iter().find(|set| set["name"] == "broken").unwrap();
    assert_eq!(broken["counters"]["flows_refused"], 7);
    let failures = broken["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 5, "a few of them");
    for failed in failures {
        assert_eq!(
            (&failed["how"], &failed["backend"]),
            (&"refused".into(), &"10.1.1.2:9".into())
        );
    }
    let newest_first = |pair: &[serde_json::Value]| pair[0]["at_ns"].as_u64() >= pair[1]["at_ns"].as_u64();
    assert!(failures.windows(2).all(newest_first));
    let text = ground.expect("status web", 0).stdout;
    assert!(text.contains("at 10.1.1.2:9: refused"), "{text}");
}
