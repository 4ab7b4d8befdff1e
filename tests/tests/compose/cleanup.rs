//! `compose upgrade --cleanup`: what is removed serves nobody, and holds nothing.

use std::time::Duration;

use switcher_tests::interrupt;

use crate::docker::{Site, all_answered};

const SETTLE: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(60);

/// `lb` and, beside it, what else links `v1`.
fn files(beside: &str) -> String {
    format!(
        "\
name: shop
services:
  lb: {{image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [v1]}}
{beside}  v1: {{image: \"flaccid/countdown_example:v1\", ports: [\"80\"]}}
  v2: {{image: \"flaccid/countdown_example:v2\", ports: [\"80\"], scale: 0}}
"
    )
}

#[test]
fn what_another_alias_leads_to_is_not_removed() {
    let site = Site::new();
    let upgrade = |words: &str, code: i32| {
        let outcome = site.compose(&site.file(&files("")), &format!("upgrade v1 v2 {words}"));
        outcome.expect_code(&[code]).unwrap().stderr
    };
    let yesterday = files("  old: {image: rancher/load-balancer-service, ports: [\"8001:80\"], links: [v1]}\n");
    site.compose(&site.file(&yesterday), "up -d").expect_code(&[0]).unwrap();
    let said = upgrade("--cleanup", 1);
    assert!(
        said.contains("alias 'old'") && said.contains("nothing was changed"),
        "{said}"
    );
    assert_eq!(
        (site.names(), site.ask_outside()),
        (vec!["shop-v1-1".to_owned()], "v1".to_owned())
    );
    // By an address, too.
    site.expect("alias rm old", 0);
    site.expect("alias put by-hand --listen 10.0.0.1:8001/tcp", 0);
    site.expect(
        &format!("set put by-hand any --backend {}:80", site.address("shop-v1-1")),
        0,
    );
    site.expect("split by-hand any=1", 0);
    let said = upgrade("--cleanup", 1);
    assert!(said.contains("alias 'by-hand'") && said.contains("set any"), "{said}");
    assert_eq!(site.names(), ["shop-v1-1"]);
    upgrade("--wait", 0);
    assert_eq!(site.ask_outside(), "v2");
    site.expect("alias rm by-hand", 0);
    // What is left of it is done by the same command.
    let said = upgrade("--cleanup", 0);
    assert!(said.contains("shop-v1-1: removed"), "{said}");
    assert_eq!(
        (site.names(), site.sets("lb")),
        (vec!["shop-v2-1".to_owned()], vec!["v2".to_owned()])
    );
}

#[test]
fn a_clean_up_that_fails_after_the_switch_ends_with_7_and_goes_on_where_it_was() {
    let mut site = Site::with(true);
    let file = site.file(&files(""));
    site.compose(&file, "up -d").expect_code(&[0]).unwrap();
    let mut kept = site.load_outside();
    let mut short = site.short_load_outside();
    interrupt::sleep(SETTLE).unwrap();
    let line = "upgrade v1 v2 --cleanup --drain-timeout 60s --timeout 120s";
    let upgrade = site.begin_compose(&file, line);
    site.wait("it has switched", LIMIT, || site.ask_outside() == "v2");
    site.dockerd.stop();
    // What the old one holds ends, and Docker is not there to stop it.
    all_answered(&mut kept);
    let ended = upgrade.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(7), "{said}");
    assert!(
        said.contains("connections have moved to v2") && said.contains("could not all be removed"),
        "{said}"
    );
    site.dockerd.start();
    assert_eq!(site.names(), ["shop-v1-1", "shop-v2-1"]);
    site.wait("it is done by the same command", LIMIT, || {
        site.compose(&file, line).code == 0
    });
    assert_eq!(
        (site.names(), site.ask_outside()),
        (vec!["shop-v2-1".to_owned()], "v2".to_owned())
    );
    all_answered(&mut short);
}

#[test]
fn an_upgrade_that_nobody_confirmed_is_in_the_way() {
    let site = Site::new();
    let text = |version: &str, scale: u32| {
        format!(
            "\
name: shop
services:
  lb: {{image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [app]}}
  app: {{image: \"flaccid/countdown_example:{version}\", ports: [\"80\"], scale: {scale}}}
  other: {{image: \"flaccid/countdown_example:v1\", ports: [\"80\"], scale: 0}}
"
        )
    };
    let run = |text: &str, line: &str, code: i32| {
        let outcome = site.compose(&site.file(text), line);
        outcome.expect_code(&[code]).unwrap().stderr
    };
    run(&text("v1", 1), "up -d", 0);
    let mut load = site.short_load_outside();
    // The new ones are as many as the files have then; so they are the other way.
    run(&text("v2", 3), "up -d --upgrade", 0);
    assert_eq!((site.backends("lb", "app"), site.names().len()), (3, 4));
    let before = site.names();
    let said = run(&text("v2", 3), "upgrade app other --wait", 1);
    assert!(said.contains("--confirm-upgrade (or --rollback)"), "{said}");
    assert_eq!((site.names(), site.sets("lb")), (before, vec!["app".to_owned()]));
    run(&text("v2", 3), "up -d --confirm-upgrade", 0);
    run(&text("v1", 2), "up -d --upgrade", 0);
    run(&text("v1", 2), "up -d --confirm-upgrade", 0);
    assert_eq!((site.backends("lb", "app"), site.names().len()), (2, 2));
    // Of the same settings fewer are drained.
    run(&text("v1", 1), "up -d --upgrade", 0);
    assert_eq!((site.backends("lb", "app"), site.names().len()), (1, 1));
    run(&text("v1", 1), "upgrade app other --wait", 0);
    all_answered(&mut load);
}
