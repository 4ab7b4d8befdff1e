//! `compose upgrade`: rancher-compose's own way from one service to another.

use std::time::Duration;

use switcher_tests::interrupt;

use crate::docker::{Site, all_answered};
use crate::registry;

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
    let line = "upgrade countdown-v1 countdown-v2 --wait --cleanup --scale 2 --batch-size 1 --interval 1000 --json";
    let upgraded = site.compose(&file, line).expect_code(&[0]).unwrap();
    let receipt: serde_json::Value = serde_json::from_str(&upgraded.stdout).unwrap();
    assert_eq!(by_steps(&receipt), [50, 100], "{receipt}");
    assert!(upgraded.stderr.contains("write scale: 2 there"), "{}", upgraded.stderr);
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
            "upgrade countdown-v1 countdown-v2 --json",
        )
        .expect_code(&[0])
        .unwrap();
    let document: serde_json::Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(document["changes"], serde_json::json!([]), "{document}");
}

/// The shares of an upgrade's steps, each of which was observed for its second.
fn by_steps(receipt: &serde_json::Value) -> Vec<u64> {
    let steps = receipt["steps"].as_array().unwrap();
    for step in steps {
        let observed = step["observed_ms"].as_u64().unwrap();
        assert!((1_000..5_000).contains(&observed), "{step}");
    }
    let epochs: Vec<u64> = steps.iter().map(|step| step["epoch"].as_u64().unwrap()).collect();
    assert!(epochs.is_sorted_by(|one, next| one < next), "{epochs:?}");
    steps.iter().map(|step| step["percent"].as_u64().unwrap()).collect()
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

#[test]
fn a_failed_upgrade_does_not_cut_what_its_new_containers_serve_already() {
    let site = Site::new();
    let shared = site.lab.dir().join("shared");
    std::fs::create_dir_all(&shared).unwrap();
    // Two of them serve, and no third.
    let two_serve = format!(
        "volumes: [\"{}:/shared\"], command: [\"/bin/sh\", \"-c\", \"/bin/busybox mkdir /shared/1 || /bin/busybox mkdir /shared/2 || \
         sleep 1000; exec /usr/sbin/nginx -c /etc/nginx.conf -e /dev/null\"]",
        shared.display()
    );
    let both = BOTH.replace("links: [v1]", "links: [v1, v2]");
    let file = site.file(&format!(
        "{both}  v2: {{image: \"flaccid/countdown_example:v2\", ports: [\"80\"], {two_serve}}}\n"
    ));
    site.compose(&file, "up -d").expect_code(&[0]).unwrap();
    let upgrade = site.begin_compose(&file, "upgrade v1 v2 --scale 3 --wait --timeout 10s");
    site.wait("the second serves", Duration::from_secs(10), || {
        site.backends("lb", "v2") == 2
    });
    let mut kept = site.load_outside();
    let failed = upgrade.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.contains("are left at shop-v2-2"), "{said}");
    all_answered(&mut kept);
    assert_eq!(site.names(), ["shop-v1-1", "shop-v2-1", "shop-v2-2"], "{said}");
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

const STARTED: &str = "\
name: shop
services:
  lb: {image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [v1]}
  v1: {image: \"flaccid/countdown_example:v1\", ports: [\"80\"]}
  v2: {image: \"flaccid/countdown_example:v2\", ports: [\"80\"], scale: 0}
";

#[test]
fn a_service_is_only_started_where_links_stay() {
    let site = Site::new();
    let file = site.file(STARTED);
    site.compose(&file, "up -d").expect_code(&[0]).unwrap();
    let line = "upgrade v1 v2 --update-links=false --scale 2";
    let started = site.compose(&file, line).expect_code(&[0]).unwrap();
    assert!(started.stdout.contains("links stay as they are"), "{}", started.stdout);
    let names = site.dockerd.docker("ps --format {{.Names}}");
    assert!(names.contains("shop-v2-1") && names.contains("shop-v2-2"), "{names}");
    assert_eq!(
        (site.ask_outside(), site.sets("lb")),
        ("v1".to_owned(), vec!["v1".to_owned()])
    );
    // What runs is of other settings than the files have now.
    let other = STARTED.replace("scale: 0", "scale: 0, environment: {A: b}");
    let stale = site.compose(&site.file(&other), "upgrade v1 v2 --wait");
    let said = stale.expect_code(&[1]).unwrap().stderr;
    assert!(said.contains("docker rm -f shop-v2-1 shop-v2-2"), "{said}");
    assert_eq!(site.sets("lb"), ["v1"]);
}

#[test]
fn the_same_upgrade_again_joins_it_and_waits_for_what_is_left() {
    let site = Site::new();
    let file = site.file(&STARTED.replace("v1\", ports: [\"80\"]}", "v1\", ports: [\"80\"], scale: 2}"));
    site.compose(&file, "up -d").expect_code(&[0]).unwrap();
    let mut kept = site.load_outside();
    interrupt::sleep(SETTLE).unwrap();
    let line = "upgrade v1 v2 --batch-size 1 --interval 3s --drain-timeout 1s";
    let begun = site.compose(&file, line).expect_code(&[0]).unwrap();
    assert!(begun.stdout.contains("begun"), "{}", begun.stdout);
    for again in ["it joins", "it waits anew"] {
        let left = site.compose(&file, &format!("{line} --cleanup"));
        let said = left.expect_code(&[4]).unwrap().stderr;
        assert!(said.contains("v1's containers stay"), "{again}: {said}");
    }
    all_answered(&mut kept);
    site.compose(&file, &format!("{line} --wait"))
        .expect_code(&[0])
        .unwrap();
    site.expect("rollback lb", 0);
    let before = site.names();
    let turned = site.compose(&file, "upgrade v2 v1 --cleanup");
    let said = turned.expect_code(&[2]).unwrap().stderr;
    assert!(said.contains("switcher compose upgrade v1 v2"), "{said}");
    assert_eq!(site.names(), before);
}

/// What is said of the health of a set's first backend.
fn health_of(site: &Site, set: &str) -> serde_json::Value {
    let status = site.json("status lb --json");
    let sets = status["aliases"][0]["sets"].as_array().unwrap();
    let set = sets.iter().find(|one| one["name"] == set).unwrap();
    assert!(!set["containers"].is_null(), "it follows containers: {set}");
    set["backends"][0]["health"].clone()
}

#[test]
fn a_sets_health_outlives_the_files_and_an_upgrade() {
    let site = Site::new();
    let file = site.file(STARTED);
    site.compose(&file, "up -d").expect_code(&[0]).unwrap();
    let asked = |set: &str| {
        let status = site.json("status lb --json");
        let sets = status["aliases"][0]["sets"].as_array().unwrap();
        let place = sets.iter().find(|one| one["name"] == set).unwrap()["backends"][0]["address"].clone();
        let place = place.as_str().unwrap();
        site.expect(&format!("set put lb {set} --backend {place} --health http:/"), 0);
    };
    assert!(health_of(&site, "v1").is_null());
    asked("v1");
    site.compose(&file, "up -d").expect_code(&[0]).unwrap();
    assert!(!health_of(&site, "v1").is_null(), "up -d took v1's health");
    site.compose(&file, "upgrade v1 v2 --wait").expect_code(&[0]).unwrap();
    assert!(!health_of(&site, "v1").is_null(), "the upgrade took v1's health");
    asked("v2");
    site.expect("rollback lb", 0);
    site.compose(&file, "upgrade v1 v2 --wait").expect_code(&[0]).unwrap();
    assert!(!health_of(&site, "v2").is_null(), "the upgrade took v2's health");
    assert_eq!(site.ask_outside(), "v2");
}

#[test]
fn an_image_is_fetched_anew_only_where_it_is_asked_for() {
    let site = Site::new();
    let image = "127.0.0.1:5000/app:latest";
    // Here it is of another day: it answers v1.
    site.dockerd
        .docker(&format!("tag flaccid/countdown_example:v1 {image}"));
    let file = site.file(&STARTED.replace("\"flaccid/countdown_example:v2\"", &format!("\"{image}\"")));
    site.compose(&file, "up -d").expect_code(&[0]).unwrap();
    // Nobody answers there: nothing is made and nothing has moved.
    let refused = site
        .compose(&file, "upgrade v1 v2 --wait --pull")
        .expect_code(&[1])
        .unwrap();
    assert!(
        refused.stderr.contains(&format!("to pull {image}")),
        "{}",
        refused.stderr
    );
    assert_eq!(site.dockerd.docker("ps -a --format {{.Names}}"), "shop-v1-1");
    assert_eq!(site.sets("lb"), ["v1"]);
    let _registry = registry::serve(&site, "flaccid/countdown_example:v2");
    site.compose(&file, "upgrade v1 v2 --wait --pull")
        .expect_code(&[0])
        .unwrap();
    assert_eq!(site.ask_outside(), "v2");
}
