//! Health checks of real backends.

use std::time::{Duration, Instant};

use switcher_tests::lab::{LISTENER_V4, Nginx};

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
    // Not at the end of its step, whatever else the machine does.
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
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
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    assert_eq!(ground.answers(), ["v1", "v1"]);
}

/// A real socket with room for two, and a server that never accepts. The other rules are switched off.
#[test]
fn a_server_that_does_not_accept_is_rolled_back_by_its_queue() {
    let ground = Ground::new("auto");
    let listen = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None)?;
        socket.bind(&"[::]:9100".parse::<std::net::SocketAddr>()?.into())?;
        socket.listen(1)?;
        Ok(socket)
    };
    let _listener = ground.lab.v2().spawn(listen).unwrap().join().unwrap().unwrap();
    put(&ground, "v2", 9_100, "");
    let queue = |set: usize| {
        let status = ground.json("status web --json");
        status["aliases"][0]["sets"][set]["backends"][0]["accept_queue"].clone()
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while queue(1).is_null() {
        assert!(Instant::now() < deadline, "it is looked at each second");
        std::thread::sleep(Duration::from_millis(100));
    }
    let calm = |max: u64| serde_json::json!({"listens": true, "waiting": 0, "waiting_max": max, "overflowed": 0});
    assert_eq!(queue(1), calm(1));
    assert_eq!(queue(0)["waiting_max"], 4_096);
    let clients = std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let script = format!(
                "for i in $(seq 40); do curl -s -m 1 --interface 10.200.0.$i http://{LISTENER_V4}/ & done; wait"
            );
            std::thread::sleep(Duration::from_millis(500));
            ground.lab.client().run(&["sh", "-c", &script]).unwrap()
        });
        let off = "--fail-on failed>100% --fail-on retransmitted>100000% --fail-on unreplied>100%";
        let outcome = ground.expect(&format!("upgrade web --to v2 --steps 50,100 --interval 20s {off}"), 3);
        let told = outcome
            .stdout
            .contains("the accept queue of backend 10.1.1.2:9100 of set web/v2 overflowed");
        assert!(told, "{}", outcome.stdout);
        asked.join().unwrap()
    });
    assert!(clients.stdout.contains("v1"), "those of the old set were served");
    let after = queue(1);
    assert!(
        after["overflowed"].as_u64().unwrap() > 0 && after["waiting"] == 2,
        "{after}"
    );
    let page = ground.expect("status web", 0).stdout;
    assert!(page.contains("2 connection(s) wait to be accepted, 1 may;"), "{page}");
    put(&ground, "v2", 9_101, "");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !ground.expect("status web", 0).stdout.contains("nothing listens there") {
        assert!(Instant::now() < deadline, "nothing listens at 9101");
        std::thread::sleep(Duration::from_millis(100));
    }
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
