//! Twenty cutovers there and back under load, on each hook and path: TCP and UDP, IPv4 and IPv6, all at once.
//!
//! Nothing fails, no ping is lost, and once the command has returned nothing new reaches the old set.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use switcher_tests::clock::unix_us;
use switcher_tests::lab::{LISTENER_V4, LISTENER_V6, Talker};
use switcher_tests::traffic::{Echo, Generator, LoadPlan, LoadReport, Ping, Pings, Plan, Sources, Work};

use crate::ground::Ground;
use crate::udp;

const CUTOVERS: usize = 20;
/// Between two cutovers: enough for each kind of client to open something new.
const PAUSE: Duration = Duration::from_millis(150);
const NAMES: [&str; 2] = ["198.51.100.20:53", "[2001:db8::20]:53"];
const RATE_PER_S: u32 = 100;

/// When one set had all new flows for sure, microseconds since 1970: from one command's return to the next one's start.
struct Reign {
    set: &'static str,
    from_us: u64,
    to_us: u64,
}

struct Row {
    hook: &'static str,
    path: &'static str,
    local: bool,
}

#[test]
fn twenty_on_xdp_from_driver_to_driver() {
    let row = Row {
        hook: "xdp",
        path: "bypass",
        local: false,
    };
    twenty_on(&Ground::bare_by_driver(), &row);
}

#[test]
fn twenty_on_tc_by_the_bypass() {
    twenty(&Row {
        hook: "tc",
        path: "bypass",
        local: false,
    });
}

#[test]
fn twenty_on_tc_by_the_stack() {
    twenty(&Row {
        hook: "tc",
        path: "stack",
        local: false,
    });
}

#[test]
fn twenty_on_xdp() {
    twenty(&Row {
        hook: "xdp",
        path: "stack",
        local: false,
    });
}

#[test]
fn twenty_for_local_clients() {
    twenty(&Row {
        hook: "tc",
        path: "bypass",
        local: true,
    });
}

fn twenty(row: &Row) {
    twenty_on(&Ground::bare_with(&["--hook", row.hook]), row);
}

fn twenty_on(ground: &Ground, row: &Row) {
    let _echoes =
        [(ground.lab.v1(), "v1"), (ground.lab.v2(), "v2")].map(|(space, name)| Echo::start(space, name, 5353).unwrap());
    ground.apply(&crate::ground::stack(row.path)).expect_code(&[0]).unwrap();
    ground.apply(&udp::stack(row.path, "stay")).expect_code(&[0]).unwrap();
    let clients = Clients::start(ground, row.local);
    let reigns = cut_over(ground);
    let (load, pings) = clients.stop();
    judge_requests(&load);
    judge_pings(&pings, &reigns);
}

/// Flips both aliases at once, again and again, and sees after each that the old sets get nothing new.
fn cut_over(ground: &Ground) -> Vec<Reign> {
    let mut reigns = Vec::new();
    for number in 0..CUTOVERS {
        let (old, new) = if number % 2 == 0 { ("v1", "v2") } else { ("v2", "v1") };
        let line = format!("upgrade web dns --to {new} --drain-timeout 0s");
        // Some flows are always open, so the drain is not over.
        ground.cli(&line).expect_code(&[0, 4]).unwrap();
        let from_us = unix_us();
        let at_return = opened(ground);
        std::thread::sleep(PAUSE);
        let later = opened(ground);
        reigns.push(Reign {
            set: new,
            from_us,
            to_us: unix_us(),
        });
        for alias in ["web", "dns"] {
            let of = |counts: &BTreeMap<String, u64>, set: &str| counts[&format!("{alias}/{set}")];
            assert_eq!(
                of(&at_return, old),
                of(&later, old),
                "{alias}: new flows at {old} after it returned"
            );
            assert!(of(&at_return, new) < of(&later, new), "{alias}: no new flow at {new}");
        }
    }
    reigns
}

/// Flows that each set of each alias was given so far.
fn opened(ground: &Ground) -> BTreeMap<String, u64> {
    let status = ground.json("status --json");
    let mut counts = BTreeMap::new();
    for alias in status["aliases"].as_array().unwrap() {
        for set in alias["sets"].as_array().unwrap() {
            let name = format!("{}/{}", alias["name"].as_str().unwrap(), set["name"].as_str().unwrap());
            counts.insert(name, set["counters"]["flows_opened"].as_u64().unwrap());
        }
    }
    counts
}

fn judge_requests(load: &LoadReport) {
    assert_eq!((load.failed, load.resets), (0, 0), "{:?}", load.failure_samples);
    assert_eq!(load.ok + load.late, load.due);
    assert!(load.answers["v1"] > 0 && load.answers["v2"] > 0, "{:?}", load.answers);
    for kept in &load.kept_alive {
        let who: Vec<_> = kept.answers.iter().map(|run| run.version.as_str()).collect();
        assert_eq!(who, ["v1"], "a connection stays where it was opened");
        assert_eq!(kept.ended, None);
    }
}

fn judge_pings(pings: &[Ping], reigns: &[Reign]) {
    let lost = pings.iter().filter(|ping| ping.answer.is_none()).count();
    assert_eq!(lost, 0, "of {} pings", pings.len());
    let answered_by = |ping: &Ping, set: &str| ping.answer.as_deref() == Some(set);
    assert!(
        pings
            .iter()
            .filter(|ping| !ping.fresh)
            .all(|ping| answered_by(ping, "v1"))
    );
    for reign in reigns {
        let of_it = |ping: &&Ping| ping.fresh && (reign.from_us..reign.to_us).contains(&ping.sent_us);
        let mut count = 0;
        for ping in pings.iter().filter(of_it) {
            assert!(answered_by(ping, reign.set), "{ping:?} while {} had all", reign.set);
            count += 1;
        }
        assert!(count > 0, "no new conversation while {} had all", reign.set);
    }
}

/// Who asks: requests over TCP, and pings over UDP.
struct Clients {
    load: Generator,
    pings: Asking,
}

enum Asking {
    Outside(Pings),
    Local(Locals),
}

impl Clients {
    fn start(ground: &Ground, local: bool) -> Self {
        let plan = plan();
        let (load, pings) = if local {
            let load = Generator::load_local(&ground.lab, ground.lab.host(), &plan).unwrap();
            (load, Asking::Local(Locals::start(ground)))
        } else {
            let pings = Pings::start(ground.lab.client(), &NAMES.map(|name| name.parse().unwrap())).unwrap();
            (Generator::load(&ground.lab, &plan).unwrap(), Asking::Outside(pings))
        };
        // The long conversations and kept connections are all with v1 before the first cutover.
        std::thread::sleep(Duration::from_millis(500));
        Self { load, pings }
    }

    fn stop(mut self) -> (LoadReport, Vec<Ping>) {
        let pings = match self.pings {
            Asking::Outside(pings) => pings.stop().unwrap(),
            Asking::Local(locals) => locals.stop(),
        };
        (self.load.stop().unwrap(), pings)
    }
}

fn plan() -> Plan {
    let work = LoadPlan {
        rate_per_s: RATE_PER_S,
        seconds_max: 120,
        kept_alive: 4,
        upload: None,
        download: None,
        pings: false,
    };
    Plan {
        run: "cutovers".to_owned(),
        targets: vec![LISTENER_V4.parse().unwrap(), LISTENER_V6.parse().unwrap()],
        sources: Sources::default(),
        work: Work::Load(work),
    }
}

/// Pings of processes on the host: a long conversation, new ones on connected sockets, and new ones on sockets that name
/// their destination with each datagram.
struct Locals {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Ping>>>,
}

impl Locals {
    fn start(ground: &Ground) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = NAMES.map(|name| {
            let mut talker = Talker::start(ground.lab.cgroup(), ground.lab.host()).unwrap();
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let kind = if name.starts_with('[') { "udp6" } else { "udp4" };
                talker.step(&format!("open long {kind}")).unwrap();
                talker.step(&format!("connect long {name}")).unwrap();
                let mut pings = Vec::new();
                while !stop.load(Relaxed) {
                    pings.extend(round(&mut talker, kind, name));
                    std::thread::sleep(Duration::from_millis(5));
                }
                pings
            })
        });
        Self {
            stop,
            threads: threads.into(),
        }
    }

    fn stop(mut self) -> Vec<Ping> {
        self.stop.store(true, Relaxed);
        let ended = std::mem::take(&mut self.threads).into_iter();
        ended.flat_map(|thread| thread.join().unwrap()).collect()
    }
}

impl Drop for Locals {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// One ping of each kind. A new one counts from before its socket is connected: that is where it is decided.
fn round(talker: &mut Talker, kind: &str, name: &str) -> [Ping; 3] {
    let long = ping(talker, name, false, &["send long ping"], "recv long");
    let (open, connect) = (format!("open new {kind}"), format!("connect new {name}"));
    let connected = ping(talker, name, true, &[&open, &connect, "send new ping"], "recv new");
    talker.step("close new").unwrap();
    let named = ping(
        talker,
        name,
        true,
        &[&open, &format!("sendto new {name} ping")],
        "recvfrom new",
    );
    talker.step("close new").unwrap();
    [long, connected, named]
}

fn ping(talker: &mut Talker, name: &str, fresh: bool, send: &[&str], receive: &str) -> Ping {
    let sent_us = unix_us();
    for step in send {
        talker.step(step).unwrap();
    }
    let answer = talker.try_step(receive).unwrap();
    // `recvfrom` says from whom, too.
    let who = |text: String| text.split(' ').find(|word| word.starts_with('v')).map(str::to_owned);
    Ping {
        target: name.parse().unwrap(),
        // The talker does not tell its port, and nobody asks for it here.
        port: 0,
        sent_us,
        ended_us: unix_us(),
        fresh,
        answer: answer.ok().and_then(who),
    }
}
