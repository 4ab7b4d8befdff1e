//! Processes of the host itself as backends, on its loopback addresses and on its own ones.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use switcher_tests::interrupt;
use switcher_tests::lab::{CLIENT_POOL_V4, CLIENT_POOL_V6, LISTENER_V4, LISTENER_V6, Nginx};
use switcher_tests::traffic::{Generator, LoadPlan, Plan, Sources, Work};

use crate::ground::{Ground, Kept};

/// One after the other, to v2 and back.
const CUTOVERS: u32 = 20;
const KEPT_ALIVE: usize = 16;

const STACK: &str = r#"version: 1
stack: shop
aliases:
  web:
    listen: ["198.51.100.10:80/tcp", "[2001:db8::10]:80/tcp"]
    split: {v1: 100}
    sets:
      v1: {backends: ["127.0.0.1:8081", "[::1]:8081"]}
      v2: {backends: ["127.0.0.1:8082", "[::1]:8082"]}
"#;

/// The host has the listeners' addresses, and two versions on its loopback addresses.
fn on_loopback() -> (Ground, [Nginx; 2]) {
    let ground = Ground::bare();
    give_addresses(&ground);
    let old = Nginx::start_on_loopback(&ground.lab, "host-v1", 8081).unwrap();
    let new = Nginx::start_on_loopback(&ground.lab, "host-v2", 8082).unwrap();
    (ground, [old, new])
}

fn give_addresses(ground: &Ground) {
    for address in ["198.51.100.10/32", "2001:db8::10/128"] {
        let words = ["ip", "address", "add", address, "dev", "lo"];
        ground.lab.host().run(&words).unwrap().expect_code(&[0]).unwrap();
    }
}

fn load(ground: &Ground) -> Generator {
    let plan = Plan {
        run: "load".to_owned(),
        targets: vec![LISTENER_V4.parse().unwrap(), LISTENER_V6.parse().unwrap()],
        sources: Sources {
            v4: Some(CLIENT_POOL_V4),
            v6: Some(CLIENT_POOL_V6),
        },
        work: Work::Load(LoadPlan {
            rate_per_s: 500,
            seconds_max: 60,
            kept_alive: KEPT_ALIVE,
            upload: None,
            download: None,
            pings: false,
        }),
    };
    Generator::load(&ground.lab, &plan).unwrap()
}

#[test]
fn loopback_processes_are_switched_under_load_with_nothing_lost() {
    let (ground, _versions) = on_loopback();
    ground.apply(STACK).expect_code(&[0]).unwrap();
    assert_eq!(ground.answers(), ["host-v1", "host-v1"]);
    let mut load = load(&ground);
    for number in 0..CUTOVERS {
        let (to, from) = if number % 2 == 0 { ("v2", "v1") } else { ("v1", "v2") };
        let line = format!("upgrade web --to {to} --drain-timeout 0s --json");
        let outcome = ground.cli(&line).expect_code(&[0, 4]).unwrap();
        assert_eq!(ground.answers(), [format!("host-{to}"), format!("host-{to}")]);
        let receipt: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(receipt["last_new_flows"][0]["set"], from);
        assert_eq!(receipt["last_new_flows"][0]["before_flip_end"], true, "{receipt}");
        interrupt::sleep(Duration::from_millis(100)).unwrap();
    }
    let report = load.stop().unwrap();
    assert!(report.due > 1_000, "there was a load: {}", report.due);
    assert_eq!(report.ok, report.due, "{:?}", report.failure_samples);
    assert_eq!(report.kept_alive.len(), KEPT_ALIVE);
    for kept in &report.kept_alive {
        assert_eq!((kept.answers.len(), kept.ended.as_deref()), (1, None), "{kept:?}");
        assert_eq!(kept.answers[0].version, "host-v1");
    }
    // With nobody connected any more the old process may be stopped.
    ground.expect("upgrade web --to v2 --drain-timeout 30s", 0);
}

/// Kept connections are the kernel's own; the agent has no part in them, nor in new ones.
#[test]
fn a_dead_agent_drops_no_connection_to_a_loopback_process() {
    let (mut ground, _versions) = on_loopback();
    ground.apply(STACK).expect_code(&[0]).unwrap();
    let mut kept = [LISTENER_V4, LISTENER_V6].map(|listener| Kept::open(ground.lab.client(), listener));
    ground.agent.kill().unwrap();
    for _ in 0..10 {
        assert_eq!(ground.answers(), ["host-v1", "host-v1"]);
        for connection in &mut kept {
            assert_eq!(connection.ask(), "host-v1");
        }
    }
    ground.agent.launch().unwrap();
    ground.expect("upgrade web --to v2 --drain-timeout 0s", 4);
    assert_eq!(ground.answers(), ["host-v2", "host-v2"]);
    assert!(kept.iter_mut().all(|connection| connection.ask() == "host-v1"));
}

/// Not the host's own server on the alias's address: that would be the wrong application. And not silence.
/// Handed to a socket as they came: the client's end hears a RST, and the process's socket is ended by its own kernel.
#[test]
fn what_a_drain_leaves_at_a_loopback_process_is_reset() {
    let (ground, _versions) = on_loopback();
    ground.apply(STACK).expect_code(&[0]).unwrap();
    let open = |listener| {
        let mut kept = Kept::open(ground.lab.client(), listener);
        assert_eq!(kept.ask(), "host-v1");
        kept
    };
    let mut idle: Vec<Kept> = [LISTENER_V4, LISTENER_V6, LISTENER_V4].into_iter().map(open).collect();
    let mut busy = open(LISTENER_V6);
    let line = "upgrade web --to v2 --drain-timeout 300ms --drain-action keep";
    ground.expect(line, 4);
    idle.iter_mut()
        .chain([&mut busy])
        .for_each(|kept| assert_eq!(kept.ask(), "host-v1", "keep ends none"));
    let ended = std::thread::spawn(move || {
        loop {
            if let Err(error) = busy.try_ask() {
                let began = Instant::now();
                break (error.kind(), began);
            }
        }
    });
    let receipt = ground.json("upgrade web --to v2 --drain-timeout 0s --drain-action reset --json");
    assert_eq!(
        (&receipt["drain"]["reset"], &receipt["drain"]["reset_failed"]),
        (&4.into(), &0.into()),
        "{receipt}"
    );
    let (how, began) = ended.join().unwrap();
    assert_eq!(how, std::io::ErrorKind::ConnectionReset, "the one that was active");
    assert!(began.elapsed() < Duration::from_secs(20));
    for kept in &mut idle {
        assert_eq!(kept.try_ask().unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
    let began = Instant::now();
    assert_eq!(ground.answers(), ["host-v2", "host-v2"]);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let served = ground
        .lab
        .host()
        .run(&["ss", "-Htn", "state", "established", "sport", "=", ":80"])
        .unwrap();
    assert_eq!(
        served.stdout.lines().count(),
        0,
        "the process's ends are gone: {}",
        served.stdout
    );
}

#[test]
fn a_process_that_does_not_listen_refuses() {
    let (ground, [mut old, _new]) = on_loopback();
    // Listens on every address of the host, the alias's among them, at the listener's own port.
    let text = STACK.replace(":80/tcp", ":8080/tcp");
    let _other = Nginx::start(&ground.lab, ground.lab.host(), "other").unwrap();
    ground.apply(&text).expect_code(&[0]).unwrap();
    old.quit().unwrap();
    let connect = |to: &str| {
        let to: std::net::SocketAddr = to.parse().unwrap();
        let limit = Duration::from_secs(3);
        let attempt = ground
            .lab
            .client()
            .spawn(move || Ok(TcpStream::connect_timeout(&to, limit).err()));
        attempt.unwrap().join().unwrap().unwrap()
    };
    for listener in ["198.51.100.10:8080", "[2001:db8::10]:8080"] {
        let began = Instant::now();
        let error = connect(listener).expect("nobody listens behind the alias");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{listener}");
        assert!(began.elapsed() < Duration::from_secs(1), "told at once");
    }
}

/// An address of the host that is no loopback one takes the stack, as any other backend.
#[test]
fn the_hosts_own_address_is_a_backend_on_the_stack() {
    let ground = Ground::bare();
    let _host = Nginx::start(&ground.lab, ground.lab.host(), "host").unwrap();
    let text = r#"version: 1
stack: shop
aliases:
  web:
    listen: ["10.0.0.1:80/tcp", "[fd00:c::1]:80/tcp"]
    split: {v1: 100}
    sets:
      v1: {backends: ["10.0.0.1:8080", "[fd00:c::1]:8080"]}
      v2: {backends: ["10.1.1.2:8080", "[fd00:1::2]:8080"]}
"#;
    ground.apply(text).expect_code(&[0]).unwrap();
    let answers = || ["http://10.0.0.1/", "http://[fd00:c::1]/"].map(|url| ground.get(url));
    assert_eq!(answers(), ["host", "host"]);
    let mut kept = Kept::open(ground.lab.client(), "10.0.0.1:80");
    assert_eq!(kept.ask(), "host");
    ground.expect("upgrade web --to v2 --drain-timeout 0s", 4);
    assert_eq!(answers(), ["v2", "v2"]);
    assert_eq!(kept.ask(), "host");
}

#[test]
fn what_a_loopback_backend_needs_is_asked_for() {
    let ground = Ground::bare();
    let epoch = ground.epoch();
    let refused = ground.apply(STACK).expect_code(&[1]).unwrap();
    assert!(
        refused
            .stderr
            .contains("does not have the listener's address 198.51.100.10")
            && refused.stderr.contains("ip address add 198.51.100.10 dev lo")
            && refused.stderr.contains("stack.yaml:8"),
        "{refused:?}"
    );
    give_addresses(&ground);
    let refused = ground
        .apply(&STACK.replace(":80/tcp", ":80/udp"))
        .expect_code(&[1])
        .unwrap();
    assert!(refused.stderr.contains("carries datagrams"), "{refused:?}");
    let bypass = STACK.replace("    split:", "    path: bypass\n    split:");
    let refused = ground.apply(&bypass).expect_code(&[1]).unwrap();
    assert!(
        refused.stderr.contains("path bypass of alias 'web' is impossible"),
        "{refused:?}"
    );
    assert_eq!(ground.epoch(), epoch, "nothing has changed");
}

/// One process behind two aliases: its sockets differ by the address and port that clients connected to.
#[test]
fn two_aliases_at_one_loopback_process_do_not_mix() {
    let (ground, _versions) = on_loopback();
    let api = r#"  api:
    listen: ["198.51.100.10:81/tcp", "[2001:db8::10]:81/tcp"]
    split: {v1: 100}
    sets:
      v1: {backends: ["127.0.0.1:8081", "[::1]:8081"]}
      v2: {backends: ["127.0.0.1:8082", "[::1]:8082"]}
"#;
    ground.apply(&format!("{STACK}{api}")).expect_code(&[0]).unwrap();
    let ask = |port: u16| {
        let line = format!("curl -sS --max-time 3 http://198.51.100.10:{port}/");
        let words: Vec<&str> = line.split(' ').collect();
        ground
            .lab
            .client()
            .run(&words)
            .unwrap()
            .expect_code(&[0])
            .unwrap()
            .stdout
            .trim()
            .to_owned()
    };
    let mut kept = [LISTENER_V4, "198.51.100.10:81"].map(|listener| Kept::open(ground.lab.client(), listener));
    assert_eq!((ask(80), ask(81)), ("host-v1".to_owned(), "host-v1".to_owned()));
    ground.expect("upgrade api --to v2 --drain-timeout 0s", 4);
    assert_eq!((ask(80), ask(81)), ("host-v1".to_owned(), "host-v2".to_owned()));
    assert!(kept.iter_mut().all(|connection| connection.ask() == "host-v1"));
    ground.expect("upgrade api --to v2 --drain-timeout 0s --drain-action reset", 0);
    assert_eq!(kept[0].ask(), "host-v1", "the other alias's stays");
    assert!(kept[1].try_ask().is_err());
}
