//! The thread's own scenario: its files, links edited as the answer says, `up -d` after each.

use std::time::Duration;

use switcher_tests::interrupt;
use switcher_tests::lab::{Capture, SYN_FILTER};

use crate::docker::{Site, all_answered};

const SETTLE: Duration = Duration::from_secs(2);

#[test]
fn the_files_as_posted_move_from_v1_to_v2_without_a_gap_inside_and_outside() {
    let site = Site::new();
    let up = |services: &[&str]| {
        let file = site.thread_files(services);
        site.compose(&file, "up -d").expect_code(&[0]).unwrap()
    };
    let first = up(&["countdown-v1"]);
    assert!(
        first.stdout.contains("alias countdown-demo-alias: created"),
        "{}",
        first.stdout
    );
    let client = site.client_container();
    assert_eq!(site.ask_outside(), "v1");
    assert_eq!(site.ask_inside("http://countdown-demo-alias/"), "v1");
    assert_eq!(site.ask_inside("http://countdown-demo-alias.switcher.internal/"), "v1");
    assert_eq!(
        site.ask_inside("http://countdown-lb:8000/"),
        "v1",
        "a balancer is there inside too"
    );
    let again = up(&["countdown-v1"]);
    assert!(again.stdout.contains("nothing to do"), "{}", again.stdout);

    let mut outside = site.load_outside();
    let mut inside = site.load_inside(&client, &site.own_address("countdown-demo-alias"));
    interrupt::sleep(SETTLE).unwrap();
    up(&["countdown-v1", "countdown-v2"]);
    interrupt::sleep(SETTLE).unwrap();
    up(&["countdown-v2"]);
    let opened = || ["countdown-lb", "countdown-demo-alias"].map(|alias| site.flows_opened(alias, "countdown-v1"));
    let before = opened();
    let served = site
        .lab
        .adopt("served", site.dockerd.pid("countdown-countdown-v1-1"))
        .unwrap();
    let capture = Capture::start(&served, "eth0", SYN_FILTER).unwrap();
    interrupt::sleep(SETTLE).unwrap();
    let seen = capture.stop().unwrap();
    assert_eq!(
        (seen.packets.len(), seen.missed),
        (0, 0),
        "SYNs at v1 after up had returned"
    );
    assert_eq!(opened(), before, "new flows at v1 after up had returned");
    for load in [&mut outside, &mut inside] {
        let report = all_answered(load);
        assert!(
            report.answers["v1"] > 0 && report.answers["v2"] > 0,
            "{:?}",
            report.answers
        );
    }
    assert_eq!(site.ask_inside("http://countdown-demo-alias/"), "v2");
}

#[test]
fn bad_files_and_missing_agents_change_nothing() {
    let site = Site::new();
    let file = site.file("services:\n  web: {image: \"flaccid/countdown_example:v1\", imagee: x}\n");
    let refused = site.compose(&file, "up -d").expect_code(&[2]).unwrap();
    assert!(
        refused.stderr.contains("compose.yaml:2:") && refused.stderr.contains("web.imagee"),
        "{}",
        refused.stderr
    );
    assert_eq!(site.dockerd.docker("ps -aq"), "");
    let file = site.thread_files(&["countdown-v1"]);
    let front = site.compose(&file, "up").expect_code(&[2]).unwrap();
    assert!(front.stderr.contains("up -d"), "{}", front.stderr);
    assert_eq!(site.dockerd.docker("ps -aq"), "");
}
