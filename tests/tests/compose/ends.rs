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

/// Runs a load over three containers while `line` ends one.
fn one_of_three_ends(line: &str) {
    let site = Site::new();
    site.compose(&site.file(THREE), "up -d").expect_code(&[0]).unwrap();
    assert_eq!(site.backends("lb", "app"), 3);
    let mut load = site.load_outside();
    interrupt::sleep(SETTLE).unwrap();
    site.dockerd.docker(line);
    interrupt::sleep(SETTLE).unwrap();
    assert_eq!(site.backends("lb", "app"), 2);
    let report = load.stop().unwrap();
    let status = site.json("status lb --json");
    eprintln!(
        "{line}: {} requests, {} late, {} failed {:?}; shield {}",
        report.due, report.late, report.failed, report.failures, status["aliases"][0]["shield"]
    );
    // New connections are never refused: what fails was open at that container, or in the middle of an answer.
    assert_eq!(report.failures.get("refused"), None, "{:?}", report.failures);
    let broken = report.kept_alive.iter().filter(|kept| kept.ended.is_some()).count();
    let kept_requests: u64 = report.failures.get("connection-gone").copied().unwrap_or(0);
    let others = report.failed - kept_requests;
    assert!(
        broken <= 8 && others <= 20,
        "{broken} kept connections, {:?}",
        report.failures
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
