//! `compose upgrade`: rancher-compose's own way from one service to another.

use std::time::Duration;

use switcher_tests::interrupt;

use crate::docker::{Site, all_answered};

const SETTLE: Duration = Duration::from_secs(1);

#[test]
fn a_service_takes_over_from_another_without_a_gap_inside_and_outside() {
    let site = Site::new();
    let file = site.thread_files(&["countdown-v1"]);
    site.compose(&file, "up -d").expect_code(&[0]).unwrap();
    let client = site.client_container();
    let turned = site
        .compose(&file, "upgrade countdown-v2 countdown-v1")
        .expect_code(&[2])
        .unwrap();
    assert!(turned.stderr.contains("the wrong way round"), "{}", turned.stderr);
    assert!(
        turned
            .stderr
            .contains("switcher compose upgrade countdown-v1 countdown-v2"),
        "{}",
        turned.stderr
    );
    let mut outside = site.short_load_outside();
    let mut inside = site.short_load_inside(&client, &site.own_address("countdown-demo-alias"));
    interrupt::sleep(SETTLE).unwrap();
    let line = "upgrade countdown-v1 countdown-v2 --wait --cleanup --scale 2 --batch-size 1 --interval 1000";
    let upgraded = site.compose(&file, line).expect_code(&[0]).unwrap();
    assert!(
        upgraded.stderr.contains("write countdown-v2 there"),
        "{}",
        upgraded.stderr
    );
    interrupt::sleep(SETTLE).unwrap();
    for load in [&mut outside, &mut inside] {
        let report = all_answered(load);
        assert!(
            report.answers["v1"] > 0 && report.answers["v2"] > 0,
            "{:?}",
            report.answers
        );
    }
    let names = site.dockerd.docker("ps -a --format {{.Names}}");
    assert!(!names.contains("countdown-v1"), "{names}");
    assert!(names.contains("countdown-countdown-v2-2"), "{names}");
    assert_eq!(
        (site.ask_outside(), site.backends("countdown-lb", "countdown-v1")),
        ("v2".to_owned(), 0)
    );
    let again = site
        .compose(
            &site.thread_files(&["countdown-v2"]),
            "upgrade countdown-v1 countdown-v2",
        )
        .expect_code(&[0])
        .unwrap();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
}

const BOTH: &str = "\
name: shop
services:
  lb: {image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [v1]}
  v1: {image: \"flaccid/countdown_example:v1\", ports: [\"80\"]}
";

#[test]
fn a_version_that_never_gets_healthy_is_removed_and_nothing_has_moved() {
    let site = Site::new();
    site.compose(&site.file(BOTH), "up -d").expect_code(&[0]).unwrap();
    site.dockerd.image("sick", "v2", Some("false"));
    let file = site.file(&format!("{BOTH}  v2: {{image: sick, ports: [\"80\"]}}\n"));
    let mut outside = site.load_outside();
    let refused = site
        .compose(&file, "upgrade v1 v2 --wait --timeout 60s")
        .expect_code(&[1])
        .unwrap();
    assert!(refused.stderr.contains("its health check fails"), "{}", refused.stderr);
    let report = all_answered(&mut outside);
    assert!(!report.answers.contains_key("v2"), "{:?}", report.answers);
    assert_eq!(site.dockerd.docker("ps -a --format {{.Names}}"), "shop-v1-1");
    assert_eq!((site.ask_outside(), site.backends("lb", "v2")), ("v1".to_owned(), 0));
    for (line, said) in [
        ("upgrade lb v2", "is an alias"),
        ("upgrade v1 v1", "both 'v1'"),
        ("upgrade v1 v3", "'v3' is not in the files"),
        ("upgrade v1 v2 --cleanup --update-links=false", "goes on serving"),
        ("upgrade v1 v2 --batch-size 0", "--batch-size"),
    ] {
        let refused = site.compose(&file, line).expect_code(&[2]).unwrap();
        assert!(refused.stderr.contains(said), "{line}: {}", refused.stderr);
    }
}

fn one_service(version: &str) -> String {
    format!(
        "\
name: shop
services:
  lb: {{image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [app]}}
  app: {{image: \"flaccid/countdown_example:{version}\", ports: [\"80\"], scale: 2}}
"
    )
}

#[test]
fn a_service_is_made_anew_goes_back_and_is_confirmed_without_a_gap() {
    let site = Site::new();
    let up = |version: &str, words: &str, said: &str| {
        let file = site.file(&one_service(version));
        let outcome = site
            .compose(&file, &format!("up -d {words}"))
            .expect_code(&[0])
            .unwrap();
        assert!(
            outcome.stderr.contains(said) || outcome.stdout.contains(said),
            "{words}: {}{}",
            outcome.stdout,
            outcome.stderr
        );
    };
    let names = || {
        let names = site.dockerd.docker("ps -a --format {{.Names}}");
        let mut names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
        names.sort();
        names
    };
    up("v1", "", "alias lb: created");
    let mut load = site.short_load_outside();
    interrupt::sleep(SETTLE).unwrap();
    up("v2", "", "made of other settings");
    assert_eq!(site.ask_outside(), "v1", "without --upgrade nothing moves");
    up("v2", "--upgrade", "--confirm-upgrade");
    assert_eq!((site.ask_outside(), names().len()), ("v2".to_owned(), 4));
    up("v2", "--upgrade", "nothing to do");
    up("v2", "", "nothing to do");
    up("v2", "--rollback", "shop-app-3: removed");
    assert_eq!(
        (site.ask_outside(), names()),
        ("v1".to_owned(), vec!["shop-app-1".to_owned(), "shop-app-2".to_owned()])
    );
    up("v2", "--upgrade", "--confirm-upgrade");
    up("v2", "--confirm-upgrade", "shop-app-1: removed");
    up("v2", "--confirm-upgrade", "nothing to do");
    assert_eq!(
        (site.ask_outside(), names().len(), site.backends("lb", "app")),
        ("v2".to_owned(), 2, 2)
    );
    interrupt::sleep(SETTLE).unwrap();
    let report = all_answered(&mut load);
    assert!(
        report.answers["v1"] > 0 && report.answers["v2"] > 0,
        "{:?}",
        report.answers
    );
}
