//! Health checks of real backends.

use std::time::{Duration, Instant};

use switcher_tests::lab::Nginx;

use crate::ground::{Ground, stack};

const HEALTH: &str = "--health http:/ --health-interval 100ms";

fn put(ground: &Ground, set: &str, port: u16, health: &str) {
    let net = if set == "v1" {
        ["10.1.0.2", "fd00::2"]
    } else {
        ["10.1.1.2", "fd00:1::2"]
    };
    ground.expect(
        &format!(
            "set put web {set} --backend {}:{port} --backend [{}]:{port} {health}",
            net[0], net[1]
        ),
        0,
    );
}

#[test]
fn an_upgrade_to_a_set_whose_check_fails_is_refused_before_its_first_flip() {
    let ground = Ground::new("auto");
    // Nothing serves this path: 404.
    put(
        &ground,
        "v2",
        8_080,
        "--health http:/files/nothing --health-interval 100ms",
    );
    let epoch = ground.epoch();
    let refused = ground.expect("upgrade web --to v2", 1);
    assert!(refused.stderr.contains("answers 404"), "{}", refused.stderr);
    // Nothing listens there.
    put(&ground, "v2", 9_999, "--health tcp --health-interval 100ms");
    let refused = ground.expect("upgrade web --to v2", 1);
    assert!(refused.stderr.contains("refused"), "{}", refused.stderr);
    assert_eq!(ground.json("status --json")["aliases"][0]["split"]["v1"], 100);
    assert!(ground.epoch() <= epoch + 2, "two sets were put, nothing was switched");
    assert_eq!(ground.answers(), ["v1", "v1"]);
}

/// The kernel sees good connections; the check sees the 500.
#[test]
fn a_version_that_begins_to_answer_500_is_rolled_back_by_its_check() {
    let ground = Ground::new("auto");
    ground.v2.publish("healthz", 3, 1).unwrap();
    put(
        &ground,
        "v2",
        8_080,
        "--health http:/files/healthz --health-interval 100ms",
    );
    let file = ground.lab.dir().join("nginx-v2/files/healthz");
    let begun = Instant::now();
    let turns_bad = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        // A directory that nginx may not list is a 403, as good as a 500: anything but 200.
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
    });
    let outcome = ground.expect("upgrade web --to v2 --steps 50,100 --interval 20s", 3);
    turns_bad.join().unwrap();
    assert!(outcome.stdout.contains("fails its health check"), "{}", outcome.stdout);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(ground.answers(), ["v1", "v1"]);
}

/// Real TLS, with a certificate that nobody signed and for another name.
#[test]
fn https_is_asked_and_any_certificate_will_do() {
    let ground = Ground::new("auto");
    let mut tls = Nginx::start_with_tls(&ground.lab, ground.lab.v2(), "tls", 8_443).unwrap();
    tls.publish("healthz", 3, 1).unwrap();
    let https = "--health https:/files/healthz --health-interval 100ms";
    // Port 8080 speaks plain HTTP.
    put(&ground, "v2", 8_080, https);
    let refused = ground.expect("upgrade web --to v2", 1);
    assert!(refused.stderr.contains("no TLS: "), "{}", refused.stderr);
    put(
        &ground,
        "v2",
        8_443,
        "--health https:/files/nothing --health-interval 100ms",
    );
    let refused = ground.expect("upgrade web --to v2", 1);
    assert!(refused.stderr.contains("answers 404"), "{}", refused.stderr);
    put(&ground, "v2", 8_443, https);
    let upgrade = "upgrade web --to v2 --steps 50,100 --interval 20s";
    let begun = Instant::now();
    let turns_bad = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        tls.quit().unwrap();
    });
    let outcome = ground.expect(upgrade, 3);
    turns_bad.join().unwrap();
    assert!(outcome.stdout.contains("fails its health check"), "{}", outcome.stdout);
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(ground.answers(), ["v1", "v1"]);
}

#[test]
fn a_backend_that_dies_gets_no_new_flows() {
    let ground = Ground::new("auto");
    // Of the three IPv4 backends one listens nowhere.
    ground.expect(
        &format!("set put web v1 --backend 10.1.0.2:8080 --backend 10.1.0.2:9999 --backend [fd00::2]:8080 {HEALTH}"),
        0,
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    while !ground.expect("status web", 0).stdout.contains("10.1.0.2:9999         ") {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(100));
    }
    // It is new, so it never had a flow; the one that was there goes on without a break.
    for _ in 0..50 {
        assert_eq!(ground.answers(), ["v1", "v1"]);
    }
}

#[test]
fn the_stack_file_names_the_check() {
    let ground = Ground::bare();
    let text = stack("auto").replace(
        "v2: {backends: [\"10.1.1.2:8080\", \"[fd00:1::2]:8080\"]}",
        "v2: {backends: [\"10.1.1.2:8080\", \"[fd00:1::2]:8080\"], health: {http: /, interval: 200ms, fall: 2}}",
    );
    ground.apply(&text).expect_code(&[0]).unwrap();
    let again = ground.apply(&text);
    assert!(again.stdout.contains("nothing to do"), "{}", again.stdout);
    ground.expect("upgrade web --to v2", 0);
    assert!(ground.expect("status web", 0).stdout.contains("healthy"));
    let wrong = ground.apply(&text.replace("http: /,", "http: healthz,"));
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("health"), "{}", wrong.stderr);
    let wrong = ground.apply(&text.replace("fall: 2", "falls: 2"));
    assert_eq!(wrong.code, 2);
}
