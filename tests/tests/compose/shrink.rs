//! `up -d` with a smaller scale: those that are too many leave, drain, and only then end.

use std::time::Duration;

use switcher_tests::interrupt;

use crate::docker::{KEPT_ALIVE, Site, all_answered};

const SETTLE: Duration = Duration::from_secs(1);
/// More than a listing of discovery, and some ticks of the agent.
const SOME_LISTINGS: Duration = Duration::from_secs(7);

fn app(scale: u32) -> String {
    format!(
        "\
name: shop
services:
  lb: {{image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [app]}}
  app: {{image: \"flaccid/countdown_example:v1\", ports: [\"80\"], scale: {scale}}}
"
    )
}

#[test]
fn a_smaller_scale_is_drained_inside_and_outside_and_the_command_goes_on_where_it_was() {
    let site = Site::new();
    let up = |scale: u32, words: &str, code: i32| {
        let outcome = site.compose(&site.file(&app(scale)), &format!("up -d {words}"));
        let outcome = outcome.expect_code(&[code]).unwrap();
        format!("{}{}", outcome.stdout, outcome.stderr)
    };
    up(3, "", 0);
    let client = site.client_container_on("shop_default");
    let mut kept = site.load_outside();
    let mut outside = site.short_load_outside();
    let mut inside = site.short_load_inside(&client, &site.own_address("lb"));
    interrupt::sleep(SETTLE).unwrap();

    let said = up(1, "--timeout 6s", 4);
    assert!(
        said.contains("are left at shop-app-2, shop-app-3") && said.contains("run the same command again"),
        "{said}"
    );
    assert_eq!(site.names(), ["shop-app-1", "shop-app-2", "shop-app-3"]);
    assert_eq!(site.backends("lb", "app"), 1);
    // Neither discovery nor the agent puts them back meanwhile.
    interrupt::sleep(SOME_LISTINGS).unwrap();
    assert_eq!(site.backends("lb", "app"), 1);
    let report = all_answered(&mut kept);
    let lives = |ended: &Option<_>| ended.is_none();
    assert_eq!(
        report.kept_alive.iter().filter(|kept| lives(&kept.ended)).count(),
        KEPT_ALIVE,
        "nobody cut what they held: {:?}",
        report.kept_alive
    );

    let said = up(1, "", 0);
    assert!(
        said.contains("shop-app-3: removed") && said.contains("shop-app-2: removed"),
        "{said}"
    );
    assert_eq!(site.names(), ["shop-app-1"]);
    let said = up(1, "", 0);
    assert!(said.contains("nothing to do"), "{said}");
    interrupt::sleep(SETTLE).unwrap();
    for load in [&mut outside, &mut inside] {
        all_answered(load);
    }
}

#[test]
fn who_was_told_to_leave_serves_again_where_the_files_want_that() {
    let site = Site::new();
    let up = |scale: u32, words: &str, code: i32| {
        let outcome = site.compose(&site.file(&app(scale)), &format!("up -d {words}"));
        outcome.expect_code(&[code]).unwrap().stderr
    };
    up(3, "", 0);
    let mut load = site.load_outside();
    interrupt::sleep(SETTLE).unwrap();
    up(1, "--timeout 3s", 4);
    assert_eq!(site.backends("lb", "app"), 1);
    up(3, "", 0);
    assert_eq!((site.backends("lb", "app"), site.names().len()), (3, 3));
    all_answered(&mut load);
}

const TWO: &str = "\
name: shop
services:
  lb: {image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [v1]}
  v1: {volumes: [/data], image: \"flaccid/countdown_example:v1\", ports: [\"80\"]}
  v2: {image: \"flaccid/countdown_example:v2\", ports: [\"80\"]}
";

#[test]
fn a_scale_of_0_ends_what_no_alias_leads_to_and_is_refused_elsewhere() {
    let site = Site::new();
    let up = |text: &str, code: i32| {
        let outcome = site.compose(&site.file(text), "up -d");
        outcome.expect_code(&[code]).unwrap().stderr
    };
    up(TWO, 0);
    let mut load = site.short_load_outside();
    let none = TWO.replace("v1\", ports: [\"80\"]}", "v1\", ports: [\"80\"], scale: 0}");
    let said = up(&none, 2);
    assert!(said.contains("'v1' has scale 0, and alias 'lb' links it"), "{said}");
    // Moved and ended by one change of the files.
    let moved = none.replace("links: [v1]", "links: [v2]");
    // That it has other settings too changes nothing for what is not to run.
    let moved = moved.replace("scale: 0}", "scale: 0, environment: {A: b}}");
    let moved = site.compose(&site.file(&moved), "up -d --upgrade");
    let said = moved.expect_code(&[0]).unwrap().stderr;
    assert!(said.contains("shop-v1-1: removed"), "{said}");
    let volumes = site.dockerd.docker("volume ls -q");
    assert_eq!(volumes.lines().count(), 1, "what it wrote is kept: {volumes}");
    assert_eq!(
        (site.names(), site.sets("lb")),
        (vec!["shop-v2-1".to_owned()], vec!["v2".to_owned()])
    );
    // Another alias than those of the files may lead there, and that counts too.
    site.expect("alias put by-hand --listen 10.0.0.1:8001/tcp", 0);
    let place = site.address("shop-v2-1");
    site.expect(&format!("set put by-hand any --backend {place}:80"), 0);
    site.expect("split by-hand any=1", 0);
    let back = TWO.replace("v2\", ports: [\"80\"]}", "v2\", ports: [\"80\"], scale: 0}");
    let said = up(&back, 7);
    assert!(
        said.contains("set by-hand/any") && said.contains("leads to container shop-v2-1"),
        "{said}"
    );
    assert_eq!(site.names(), ["shop-v1-1", "shop-v2-1"]);
    let report = all_answered(&mut load);
    assert!(
        report.answers["v1"] > 0 && report.answers["v2"] > 0,
        "{:?}",
        report.answers
    );
}
