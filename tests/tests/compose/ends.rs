//! One of three containers ends under load: only what it held itself fails.

use std::time::Duration;

use switcher_tests::interrupt;

use crate::docker::{Site, all_answered};

const THREE: &str = "\
name: shop
services:
  lb: {image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [app]}
  app: {image: \"flaccid/countdown_example:v1\", ports: [\"80\"], scale: 3}
";
const SETTLE: Duration = Duration::from_secs(2);

/// As many requests are in the middle of an answer at one container at one moment, at most: an answer takes a few milliseconds.
const IN_FLIGHT_MAX: u64 = 5;

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

/// Runs a load over three containers while `line` ends one.
fn one_of_three_ends(line: &str) {
    let site = Site::new();
    site.compose(&site.file(THREE), "up -d").expect_code(&[0]).unwrap();
    assert_eq!(site.backends("lb", "app"), 3);
    let mut load = site.load_outside();
    interrupt::sleep(SETTLE).unwrap();
    let held = held_at(&site, "shop-app-2");
    site.dockerd.docker(line);
    interrupt::sleep(SETTLE).unwrap();
    assert_eq!(site.backends("lb", "app"), 2);
    let report = load.stop().unwrap();
    let status = site.json("status lb --json");
    let sets = status["aliases"][0]["sets"].as_array().unwrap();
    let waited: u64 = sets
        .iter()
        .map(|set| set["counters"]["flows_waited"].as_u64().unwrap())
        .sum();
    eprintln!(
        "{line}: {} requests, {} late, {waited} waited and were served, {} failed {:?}; it held {held} kept connections",
        report.due, report.late, report.failed, report.failures
    );
    // New connections are never refused: what fails was open at that container, or in the middle of an answer.
    assert_eq!(report.failures.get("refused"), None, "{:?}", report.failures);
    assert!(
        report.fresh_failed_us.len() as u64 <= IN_FLIGHT_MAX,
        "{} of {} fresh connections: {:?}",
        report.fresh_failed_us.len(),
        report.due,
        report.failure_samples
    );
    let broken = report.kept_alive.iter().filter(|kept| kept.ended.is_some()).count();
    assert_eq!(broken, held, "what it held, and no more: {:?}", report.kept_alive);
    // Who was not answered in time had waited, and it is told how many did.
    assert!(
        waited <= report.late + IN_FLIGHT_MAX,
        "waited {waited}, late {}",
        report.late
    );
    assert!(
        report.late <= waited + IN_FLIGHT_MAX,
        "waited {waited}, late {}",
        report.late
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
}

#[test]
fn one_of_three_is_stopped() {
    one_of_three_ends("stop -t 5 shop-app-2");
}

#[test]
fn one_of_three_is_killed() {
    one_of_three_ends("kill shop-app-2");
}
