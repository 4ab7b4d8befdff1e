//! Versions that are bad in one way each, judged by what the kernel saw of real connections.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use switcher_tests::clock;
use switcher_tests::lab::{CLIENT_POOL_V4, CLIENT_POOL_V6, LISTENER_V4, LISTENER_V6, Namespace, Outcome};
use switcher_tests::traffic::{Generator, LoadPlan, LoadReport, Plan, Sources, Work};

use crate::ground::{Ground, stack};

/// How a version is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Takes a connection and resets it.
    Resets,
    /// Takes a connection and says nothing.
    Silent,
    /// Answers 20 ms late.
    Slow,
    /// None: but one answer of eight is 40 ms late, as on a machine that has other work.
    Uneven,
    /// The same, and 20 ms late each time.
    UnevenAndSlow,
    /// Resets one connection of fifty.
    Sometimes,
    /// Answers 500 to everything from the first client's request on; its health check passed before.
    Errors,
}

/// How late `Fault::Slow` is.
const LATE: Duration = Duration::from_millis(20);

/// A client of a version with `Fault::Errors` has asked.
static ERRS: AtomicBool = AtomicBool::new(false);

/// How many rollouts of each kind; more with `SWITCHER_ROLLOUTS=20` (`cargo xtask rollouts`).
fn rollouts(default: u64) -> u64 {
    number("SWITCHER_ROLLOUTS").unwrap_or(default)
}

/// Requests a second while they run; more with `SWITCHER_RATE=2000`.
fn rate_per_s() -> u32 {
    number("SWITCHER_RATE").map_or(400, |rate| u32::try_from(rate).unwrap())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// A bound at 400 requests a second, at the rate that is run: what comes until the next look grows with it.
fn most(flows: u64) -> u64 {
    flows * u64::from(rate_per_s().max(400)) / 400
}

/// A line for whoever runs many of them.
fn tell(kind: &str, right: u64, all: u64, more: &str) {
    eprintln!("rollouts: {kind}: {right} of {all}{more}");
}

/// Rollouts of one kind, each to a bad set and back again.
struct Rollouts {
    kind: &'static str,
    /// Percent of the first step.
    step: u32,
    all: u64,
    /// Flows that met the bad set in each that came back in its first step, as the receipts have it.
    met: Vec<u64>,
    /// All new flows of the first steps.
    flows: u64,
    /// From the first flip to the end of the flip back, on the wall clock in microseconds.
    windows: Vec<(u64, u64)>,
}

impl Rollouts {
    const fn new(kind: &'static str, step: u32) -> Self {
        Self {
            kind,
            step,
            all: 0,
            met: Vec::new(),
            flows: 0,
            windows: Vec::new(),
        }
    }

    /// True: it came back in its first step.
    fn count(&mut self, outcome: &Outcome) -> bool {
        self.all += 1;
        let receipt: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        let step = &receipt["steps"][0];
        eprintln!(
            "{}: after {} ms: {}",
            self.kind, step["observed_ms"], receipt["message"]
        );
        if outcome.code != 3 || receipt["steps"].as_array().unwrap().len() != 1 {
            return false;
        }
        let opened = |set: usize| step["sets"][set]["figures"]["flows_opened"].as_u64().unwrap();
        self.met.push(opened(1));
        self.flows += opened(0) + opened(1);
        let at = |flip: &str, side: &str| clock::unix_us_of(receipt[flip][side].as_u64().unwrap());
        self.windows
            .push((at("flip", "before_ns"), at("flip_back", "after_ns")));
        true
    }

    fn found(&self) -> u64 {
        self.met.len() as u64
    }

    /// Who met the bad set were no more than its share of the new flows, times 1.2: by the receipts, and by the client's own log.
    fn is_bounded(&self, log: &LoadReport, good: &str) {
        let met: u64 = self.met.iter().sum();
        self.within("the receipts", met, self.flows);
        let others = log.fresh_began_us.iter().filter(|(version, _)| *version != good);
        let met_by_log = others.map(|(_, begun)| begun.len()).sum::<usize>() + log.fresh_failed_us.len();
        let begun = log.fresh_began_us.values().flatten().chain(&log.fresh_failed_us);
        let in_time = |at: &&u64| self.windows.iter().any(|(from, to)| (from..=to).contains(at));
        let flows_by_log = begun.filter(in_time).count();
        self.within("the client's log", met_by_log as u64, flows_by_log as u64);
        let mut each = self.met.clone();
        each.sort_unstable();
        let ratio = |met: u64, flows: u64| 100 * 100 * met / (u64::from(self.step) * flows).max(1);
        let more = format!(
            "; at {} % met by {} to {} flows, median {}; {met} of {}, {} % of the share ({met_by_log} of {flows_by_log}, {} %, by the client's log)",
            self.step,
            each.first().unwrap_or(&0),
            each.last().unwrap_or(&0),
            each.get(each.len() / 2).unwrap_or(&0),
            self.flows,
            ratio(met, self.flows),
            ratio(met_by_log as u64, flows_by_log as u64),
        );
        tell(self.kind, self.found(), self.all, &more);
    }

    /// A share of a few hundred flows is one of chance: three standard deviations where these are more than a fifth.
    fn within(&self, whose: &str, met: u64, flows: u64) {
        let share = f64::from(self.step) / 100.0 * f64::from(u32::try_from(flows).unwrap());
        let most = (1.2 * share).max(share + 3.0 * share.sqrt());
        assert!(
            f64::from(u32::try_from(met).unwrap()) <= most,
            "{}: by {whose} {met} of {flows} new flows met it, {most:.0} may",
            self.kind
        );
        assert!(met > 0, "{}: nobody met it by {whose}", self.kind);
    }
}

/// A server in a namespace; it ends with the test's process.
fn serve(space: &Namespace, port: u16, fault: Fault) {
    static SERVED: AtomicU64 = AtomicU64::new(0);
    let name = space.name().to_owned();
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let netns = std::fs::File::open(format!("/run/netns/{name}")).unwrap();
        nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let listener = TcpListener::bind(("::", port)).unwrap();
        ready.send(()).unwrap();
        for stream in listener.incoming().flatten() {
            let number = SERVED.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || answer(stream, fault, number));
        }
    });
    is_ready.recv_timeout(Duration::from_secs(10)).unwrap();
}

fn answer(mut stream: TcpStream, fault: Fault, number: u64) {
    if fault == Fault::Resets || (fault == Fault::Sometimes && number.is_multiple_of(50)) {
        // What was sent and not read makes the close a reset.
        std::thread::sleep(Duration::from_millis(5));
        return;
    }
    let limit = Some(Duration::from_secs(10));
    stream.set_read_timeout(limit).unwrap();
    let mut seen = Vec::new();
    let mut piece = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        seen.extend_from_slice(&piece[..count]);
        if !seen.windows(4).any(|end| end == b"\r\n\r\n") {
            continue;
        }
        let request = String::from_utf8_lossy(&seen).to_lowercase();
        let (by_client, is_last) = (
            !request.contains("switcher-health"),
            request.contains("connection: close"),
        );
        seen.clear();
        match fault {
            Fault::Silent => continue,
            Fault::Slow => std::thread::sleep(LATE),
            Fault::Uneven if number.is_multiple_of(8) => std::thread::sleep(2 * LATE),
            Fault::UnevenAndSlow if number.is_multiple_of(8) => std::thread::sleep(3 * LATE),
            Fault::UnevenAndSlow => std::thread::sleep(LATE),
            Fault::Errors => _ = ERRS.fetch_or(by_client, Ordering::Relaxed),
            Fault::Resets | Fault::Sometimes | Fault::Uneven => {}
        }
        let status = if fault == Fault::Errors && ERRS.load(Ordering::Relaxed) {
            "500 Internal Server Error"
        } else {
            "200 OK"
        };
        let version = if fault == Fault::Uneven { "even" } else { "bad" };
        let answer = format!(
            "HTTP/1.1 {status}\r\nX-Version: {version}\r\nContent-Length: {}\r\n\r\n{version}\n",
            version.len() + 1
        );
        if stream.write_all(answer.as_bytes()).is_err() || is_last {
            return;
        }
    }
}

/// Longer than all rollouts take, however many there are.
fn seconds_max() -> u32 {
    280.max(30 * u32::try_from(rollouts(8)).unwrap())
}

fn load(ground: &Ground) -> Generator {
    load_at(ground, &[LISTENER_V4, LISTENER_V6])
}

fn load_at(ground: &Ground, targets: &[&str]) -> Generator {
    let plan = Plan {
        run: "verdict".to_owned(),
        targets: targets.iter().map(|target| target.parse().unwrap()).collect(),
        sources: Sources {
            v4: Some(CLIENT_POOL_V4),
            v6: Some(CLIENT_POOL_V6),
        },
        work: Work::Load(LoadPlan {
            rate_per_s: rate_per_s(),
            seconds_max: seconds_max(),
            kept_alive: 4,
            upload: None,
            download: None,
            pings: false,
        }),
    };
    Generator::load(&ground.lab, &plan).unwrap()
}

/// Rolls out from `good` to a bad set again and again. Of twenty at most one may be missed where chance decides.
fn roll_out(ground: &Ground, load: Generator, kind: &'static str, port: u16, step: u32) -> Rollouts {
    roll_out_from(ground, load, "v1", kind, port, step)
}

fn roll_out_from(
    ground: &Ground,
    mut load: Generator,
    good: &str,
    kind: &'static str,
    port: u16,
    step: u32,
) -> Rollouts {
    ground.expect(&put("bad", port), 0);
    let line = format!("upgrade web --to bad --steps {step},100 --interval 20s --timeout 40s --json");
    let mut rollouts = Rollouts::new(kind, step);
    for _ in 0..self::rollouts(2) {
        let is_found = rollouts.count(&ground.cli(&line));
        if !is_found {
            ground.expect(&format!("split web {good}=100"), 0);
        }
    }
    rollouts.is_bounded(&load.stop().unwrap(), good);
    rollouts
}

fn put(set: &str, port: u16) -> String {
    format!("set put web {set} --backend 10.1.1.2:{port} --backend [fd00:1::2]:{port}")
}

/// Every rollout has to come back. Returns the flows that met the bad set.
fn all_come_back(ground: &Ground, load: Generator, kind: &'static str, port: u16, step: u32) -> Vec<u64> {
    let rollouts = roll_out(ground, load, kind, port, step);
    assert_eq!(rollouts.found(), rollouts.all, "found in its first step");
    rollouts.met
}

/// Of twenty one may be missed.
fn nearly_all_come_back(rollouts: Rollouts) -> Vec<u64> {
    let (found, all) = (rollouts.found(), rollouts.all);
    assert!(found >= all - all / 20, "{found} of {all}");
    rollouts.met
}

#[test]
fn a_version_that_refuses_is_rolled_back() {
    let ground = Ground::new("auto");
    let load = load(&ground);
    let met = all_come_back(&ground, load, "refuses", 9_999, 5);
    assert!(met.iter().all(|flows| *flows <= most(60)), "{met:?}");
    assert_eq!(ground.answers(), ["v1", "v1"]);
    let id = &ground.json("receipt ls --json")["receipts"][0]["id"];
    let receipt = ground.json(&format!("receipt show {id} --json"));
    let failures = receipt["failures"].as_array().unwrap();
    let of_bad = failures
        .iter()
        .find(|one| one["set"] == "bad")
        .expect("the last that failed");
    let (flows, flip_ns) = (
        of_bad["flows"].as_array().unwrap(),
        receipt["flip"]["before_ns"].as_u64().unwrap(),
    );
    assert!((3..=20).contains(&flows.len()), "{flows:?}");
    for flow in flows {
        assert_eq!(flow["how"], "refused", "{flow}");
        assert!(flow["at_ns"].as_u64().unwrap() >= flip_ns, "{flow}");
    }
    let page = ground.expect(&format!("receipt show {id}"), 0).stdout;
    assert!(page.contains("failed last  web/bad:"), "{page}");
    assert!(
        page.contains(" at 10.1.1.2:9999: refused") || page.contains(" at [fd00:1::2]:9999: refused"),
        "{page}"
    );
}

#[test]
fn a_version_that_resets_is_rolled_back() {
    let ground = Ground::new("auto");
    serve(ground.lab.v2(), 9_001, Fault::Resets);
    let load = load(&ground);
    let met = all_come_back(&ground, load, "resets", 9_001, 5);
    assert!(met.iter().all(|flows| *flows <= most(60)), "{met:?}");
}

#[test]
fn a_version_that_is_silent_is_rolled_back() {
    let ground = Ground::new("auto");
    serve(ground.lab.v2(), 9_002, Fault::Silent);
    let load = load(&ground);
    let met = all_come_back(&ground, load, "is silent", 9_002, 5);
    assert!(met.iter().all(|flows| *flows <= most(150)), "{met:?}");
}

#[test]
fn a_version_that_is_slow_is_rolled_back() {
    let ground = Ground::new("auto");
    serve(ground.lab.v2(), 9_003, Fault::Slow);
    let load = load(&ground);
    // The old set needs a hundred replies to say what is slow.
    std::thread::sleep(Duration::from_secs(2));
    let met = nearly_all_come_back(roll_out(&ground, load, "is 20 ms slow", 9_003, 20));
    assert!(met.iter().all(|flows| *flows <= most(400)), "{met:?}");
}

/// The slow end of an old version that is uneven lies past what the new one is late by: it is found by its middle.
#[test]
fn a_version_that_is_slow_beside_a_slow_end_is_rolled_back() {
    let ground = Ground::new("auto");
    serve(ground.lab.v2(), 9_006, Fault::Uneven);
    serve(ground.lab.v2(), 9_007, Fault::Uneven);
    serve(ground.lab.v2(), 9_008, Fault::UnevenAndSlow);
    ground.expect(&put("even", 9_006), 0);
    ground.expect(&put("same", 9_007), 0);
    ground.expect("split web even=100", 0);
    let load = load(&ground);
    std::thread::sleep(Duration::from_secs(2));
    for (to, back) in [("same", "even"), ("even", "same")] {
        let line = format!("upgrade web --to {to} --from {back} --steps 50,100 --interval 2s --drain-timeout 0s");
        let outcome = ground.cli(&line);
        assert!(matches!(outcome.code, 0 | 4), "{}{}", outcome.stdout, outcome.stderr);
    }
    let met = nearly_all_come_back(roll_out_from(
        &ground,
        load,
        "even",
        "is 20 ms slow beside an uneven one",
        9_008,
        20,
    ));
    assert!(met.iter().all(|flows| *flows <= most(600)), "{met:?}");
}

#[test]
fn a_version_that_fails_one_connection_of_fifty_is_rolled_back() {
    let ground = Ground::new("auto");
    serve(ground.lab.v2(), 9_004, Fault::Sometimes);
    let load = load(&ground);
    let met = nearly_all_come_back(roll_out(&ground, load, "resets 2 % of its connections", 9_004, 20));
    assert!(met.iter().all(|flows| *flows <= most(1_600)), "{met:?}");
}

/// The kernel sees good connections; the health check sees the 500.
#[test]
fn a_version_that_answers_500_is_rolled_back_by_its_health_check() {
    let ground = Ground::new("auto");
    serve(ground.lab.v2(), 9_005, Fault::Errors);
    let mut load = load(&ground);
    let check = "--health http:/healthz --health-interval 100ms";
    let put = format!("set put web bad --backend 10.1.1.2:9005 --backend [fd00:1::2]:9005 {check}");
    let mut counted = Rollouts::new("answers 500, by its health check", 20);
    for _ in 0..rollouts(2) {
        ERRS.store(false, Ordering::Relaxed);
        ground.expect(&put, 0);
        let deadline = Instant::now() + Duration::from_secs(10);
        while ground.expect("status web", 0).stdout.matches("; healthy").count() < 2 {
            assert!(Instant::now() < deadline, "it is well before a client asks");
            std::thread::sleep(Duration::from_millis(50));
        }
        let outcome = ground.expect("upgrade web --to bad --steps 20,100 --interval 20s --json", 3);
        let receipt: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        let (step, message) = (&receipt["steps"][0], receipt["message"].as_str().unwrap());
        assert!(message.contains("answers 500"), "{message}");
        let met = step["sets"][1]["figures"]["flows_opened"].as_u64().unwrap();
        assert!((1..=most(160)).contains(&met), "{met}");
        assert!(counted.count(&outcome), "in its first step");
        assert_eq!(ground.answers(), ["v1", "v1"]);
    }
    counted.is_bounded(&load.stop().unwrap(), "v1");
    // It answers 500 before the upgrade begins: nothing is switched at all.
    let epoch = ground.epoch();
    let refused = ground.expect("upgrade web --to bad --steps 20,100", 1);
    assert!(refused.stderr.contains("answers 500"), "{}", refused.stderr);
    assert_eq!(ground.epoch(), epoch);
}

/// What is judged must not be moved by load and chance.
#[test]
fn an_equal_version_is_never_rolled_back() {
    let ground = Ground::new("auto");
    let load = load(&ground);
    let mut to = "v2";
    let (all, mut right) = (rollouts(8), 0);
    let interval_ms = number("SWITCHER_INTERVAL_MS").unwrap_or(700);
    for _ in 0..all {
        let line = format!("upgrade web --to {to} --steps 5,50,100 --interval {interval_ms}ms --drain-timeout 0s");
        let outcome = ground.cli(&line);
        // 4: connections that are kept open stay.
        if matches!(outcome.code, 0 | 4) {
            right += 1;
            to = if to == "v2" { "v1" } else { "v2" };
        } else {
            eprintln!("{}{}", outcome.stdout, outcome.stderr);
        }
    }
    tell("is the same", right, all, " were not rolled back");
    assert_eq!(right, all, "a false roll-back");
    drop(load);
}

/// One flip each way for both: nobody is left with half of a release.
#[test]
fn a_breach_at_one_of_two_aliases_leads_both_back() {
    let ground = Ground::new("auto");
    serve(ground.lab.v2(), 9_008, Fault::Resets);
    let api = r#"  api:
    listen: ["198.51.100.10:81/tcp", "[2001:db8::10]:81/tcp"]
    split: {v1: 100}
    sets:
      v1: {backends: ["10.1.0.2:8080", "[fd00::2]:8080"]}
      v2: {backends: ["10.1.1.2:9008", "[fd00:1::2]:9008"]}
"#;
    ground
        .apply(&format!("{}{api}", stack("auto")))
        .expect_code(&[0])
        .unwrap();
    let targets = [LISTENER_V4, LISTENER_V6, "198.51.100.10:81", "[2001:db8::10]:81"];
    let mut load = load_at(&ground, &targets);
    let line = "upgrade web api --to v2 --steps 20,50,100 --interval 20s --timeout 60s --json";
    let outcome = ground.cli(line);
    assert_eq!(outcome.code, 3, "{}{}", outcome.stdout, outcome.stderr);
    let receipt: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let message = receipt["message"].as_str().unwrap();
    assert!(
        message.starts_with("rolled back: alias api: server_resets"),
        "{message}"
    );
    assert_eq!(receipt["steps"].as_array().unwrap().len(), 1, "{receipt}");
    assert_eq!(
        receipt["epoch_after"],
        receipt["epoch_before"].as_u64().unwrap() + 2,
        "{receipt}"
    );
    let status = ground.json("status --json");
    for alias in status["aliases"].as_array().unwrap() {
        assert_eq!(alias["split"], serde_json::json!({"v1": 100}), "{alias}");
    }
    let report = load.stop().unwrap();
    assert!(!report.fresh_failed_us.is_empty(), "some met it");
}

#[test]
fn a_check_of_the_users_own_rolls_back_what_the_kernel_cannot_see() {
    let ground = Ground::new("auto");
    let outcome = ground
        .agent
        .cli(&[
            "upgrade",
            "web",
            "--to",
            "v2",
            "--steps",
            "50,100",
            "--interval",
            "3s",
            "--check",
            "test $SWITCHER_SET != v2",
        ])
        .unwrap();
    assert_eq!(outcome.code, 3, "{}{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.contains("the check"), "{}", outcome.stdout);
    assert_eq!(ground.answers(), ["v1", "v1"]);
}

#[test]
fn a_detached_upgrade_goes_on_and_waits_to_be_confirmed() {
    let ground = Ground::new("auto");
    ground.expect(
        "upgrade web --to v2 --steps 50,100 --interval 1s --confirm manual --detach",
        0,
    );
    ground.expect("confirm web", 6);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(ground.answers(), ["v2", "v2"]);
    let refused = ground.expect("set rm web v1", 1);
    assert!(refused.stderr.contains("switcher confirm web"), "{}", refused.stderr);
    ground.expect("confirm web", 0);
    ground.expect("set rm web v1", 0);
}
