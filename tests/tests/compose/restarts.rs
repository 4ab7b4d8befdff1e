//! Docker and the agent are restarted under load: nothing of ours is lost.

use std::time::Duration;

use switcher_tests::interrupt;

use crate::docker::{Site, all_answered};

const SETTLE: Duration = Duration::from_secs(1);

#[test]
fn docker_and_the_agent_are_restarted_and_nothing_is_lost() {
    // Containers live on without their daemon; what Docker itself ends, nobody can carry.
    let mut site = Site::with(true);
    let file = site.thread_files(&["countdown-v1"]);
    site.compose(&file, "up -d").expect_code(&[0]).unwrap();
    let client = site.client_container();
    let mut outside = site.load_outside();
    let mut inside = site.load_inside(&client, &site.own_address("countdown-demo-alias"));
    interrupt::sleep(SETTLE).unwrap();

    site.dockerd.stop();
    interrupt::sleep(SETTLE).unwrap();
    let status = site.expect("status", 0).stdout;
    assert!(status.contains("stay as they are meanwhile"), "{status}");
    assert_eq!(
        site.backends("countdown-lb", "countdown-v1"),
        1,
        "the last known set stays"
    );
    site.dockerd.start();
    interrupt::sleep(SETTLE).unwrap();

    site.agent.stop().unwrap();
    interrupt::sleep(SETTLE).unwrap();
    site.agent.launch().unwrap();
    interrupt::sleep(SETTLE).unwrap();
    site.agent.kill().unwrap();
    interrupt::sleep(SETTLE).unwrap();
    site.agent.launch().unwrap();
    interrupt::sleep(SETTLE).unwrap();
    assert_eq!(site.ask_inside("http://countdown-demo-alias/"), "v1");
    all_answered(&mut outside);
    all_answered(&mut inside);

    let file = site.thread_files(&["countdown-v2"]);
    site.compose(&file, "up -d").expect_code(&[0]).unwrap();
    assert_eq!(
        (site.ask_outside(), site.ask_inside("http://countdown-demo-alias/")),
        ("v2".to_owned(), "v2".to_owned())
    );
}
