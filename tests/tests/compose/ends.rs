//! One of three containers ends under load: only what it held itself fails.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use switcher_tests::interrupt;
use switcher_tests::traffic::LoadReport;

use crate::docker::{Site, all_answered, told};

const THREE: &str = "\
name: shop
services:
  lb: {image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [app]}
  app: {image: \"flaccid/countdown_example:v1\", ports: [\"80\"], scale: 3}
";
const SETTLE: Duration = Duration::from_secs(2);
/// For how long the agent hears of nothing.
const UNHEARD: Duration = Duration::from_millis(500);

/// As many requests are in the middle of an answer at one container at one moment, at most: an answer takes a few milliseconds.
const IN_FLIGHT_MAX: u64 = 10;
/// What is told and what the clients' logs say may differ by so many: answers that were late without a wait.
const WAITED_TOLERANCE: u64 = 5;

/// Kept connections at a container: fresh ones are younger.
fn held_at(site: &Site, container: &str) -> usize {
    let address = site
        .dockerd
        .docker(&format!("exec {container} /bin/busybox hostname -i"));
    let flows = site.json("flows lb --json");
    let is_held = |flow: &&serde_json::Value| {
        let backend = flow["backend"].as_str().unwrap();
        backend.starts_with(&format!("{address}:"))
            && flow["age_ms"].as_u64().unwrap() > 1_000
            && flow["state"] == "established"
    };
    flows["flows"].as_array().unwrap().iter().filter(is_held).count()
}

/// Flows that were told to have waited.
fn told_to_have_waited(site: &Site) -> u64 {
    let status = site.json("status lb --json");
    let sets = status["aliases"][0]["sets"].as_array().unwrap();
    let waited = sets.iter().map(|set| set["counters"]["flows_waited"].as_u64().unwrap());
    waited.sum()
}

/// Loads over three containers, from outside at the issue's own rate and from a container, while `end` ends one. Returns how many
/// are told to have waited.
fn one_of_three_ends(what: &str, end: impl FnOnce(&Site)) -> u64 {
    let site = Site::new();
    site.compose(&site.file(THREE), "up -d").expect_code(&[0]).unwrap();
    assert_eq!(site.backends("lb", "app"), 3);
    let client = site.client_container_on("shop_default");
    let mut loads = [
        site.full_load_outside(),
        site.load_inside(&client, &site.own_address("lb")),
    ];
    interrupt::sleep(SETTLE).unwrap();
    let held = held_at(&site, "shop-app-2");
    end(&site);
    interrupt::sleep(SETTLE).unwrap();
    assert_eq!(site.backends("lb", "app"), 2);
    let (mut late, mut broken) = (0, 0);
    for load in &mut loads {
        let report = load.stop().unwrap();
        told(&report);
        only_what_was_open_failed(&report);
        late += report.late;
        broken += report.kept_alive.iter().filter(|kept| kept.ended.is_some()).count();
    }
    let waited = told_to_have_waited(&site);
    eprintln!("{what}: {late} late, {waited} waited and were served; it held {held} kept connections");
    assert_eq!(broken, held, "what it held, and no more");
    // Who was not answered in time had waited, and it is told how many did.
    assert!(
        waited.abs_diff(late) <= WAITED_TOLERANCE,
        "waited {waited}, late by the clients' logs {late}"
    );
    let said = site.expect("status lb", 0).stdout;
    assert_eq!(
        waited > 0,
        said.contains(&format!("{waited} flows waited and were served")),
        "{said}"
    );
    // A fresh load meets no trace of it.
    let mut after = site.load_outside();
    interrupt::sleep(SETTLE).unwrap();
    all_answered(&mut after);
    waited
}

/// New connections are never refused: what fails was open at that container, or in the middle of an answer.
fn only_what_was_open_failed(report: &LoadReport) {
    assert_eq!(report.failures.get("refused"), None, "{:?}", report.failures);
    assert!(
        report.fresh_failed_us.len() as u64 <= IN_FLIGHT_MAX,
        "{} of {} fresh connections: {:?}",
        report.fresh_failed_us.len(),
        report.due,
        report.failure_samples
    );
}

#[test]
fn one_of_three_is_stopped() {
    one_of_three_ends("stopped", |site| {
        site.dockerd.docker("stop -t 5 shop-app-2");
    });
}

/// The agent hears of it half a second late: until then every third new connection meets a container that is gone, so some wait.
#[test]
fn one_of_three_is_killed() {
    let waited = one_of_three_ends("killed", |site| {
        let agent = site.agent.pid().unwrap();
        kill(agent, Signal::SIGSTOP).unwrap();
        site.dockerd.docker("kill shop-app-2");
        interrupt::sleep(UNHEARD).unwrap();
        kill(agent, Signal::SIGCONT).unwrap();
    });
    assert!(waited > 0, "nobody is told to have waited");
}
