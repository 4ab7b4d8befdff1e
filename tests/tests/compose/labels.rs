//! Containers that nobody composed: labels say where they belong, and health when.

use std::time::Duration;

use crate::docker::{PUBLISHED, Site};

const IMAGE: &str = "flaccid/countdown_example:v1";
const LIMIT: Duration = Duration::from_secs(15);

#[test]
fn labelled_containers_become_backends_when_healthy_and_leave_when_stopped() {
    let site = Site::new();
    site.expect(&format!("alias put web --listen {PUBLISHED}/tcp"), 0);
    let labels = "--label switcher.alias=web --label switcher.set=v1 --label switcher.port=80 -p 80";
    site.dockerd.docker(&format!("run -d --name one {labels} {IMAGE}"));
    site.wait("one becomes a backend", LIMIT, || site.backends("web", "v1") == 1);
    site.expect("split web v1=100", 0);
    assert_eq!(site.ask_outside(), "v1");

    // Healthy only once a file is there.
    site.dockerd.image("checked", "v1", Some("[ -e /tmp/healthy ]"));
    site.dockerd.docker(&format!("run -d --name two {labels} checked"));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(site.backends("web", "v1"), 1, "not healthy yet");
    site.dockerd.docker("exec two /bin/busybox touch /tmp/healthy");
    site.wait("two becomes a backend", LIMIT, || site.backends("web", "v1") == 2);
    site.dockerd.docker("exec two /bin/busybox rm /tmp/healthy");
    site.wait("two leaves, unhealthy", LIMIT, || site.backends("web", "v1") == 1);

    // The last one stays: nothing is better.
    site.dockerd.docker("stop -t 1 one");
    site.wait("status says so", LIMIT, || {
        site.expect("status", 0)
            .stdout
            .contains("keeps the backends it had last")
    });
    assert_eq!(site.backends("web", "v1"), 1);
}

/// Docker gives an address to the next container that asks.
#[test]
fn an_address_that_is_another_containers_now_gets_no_connection() {
    let site = Site::new();
    site.expect(&format!("alias put web --listen {PUBLISHED}/tcp"), 0);
    let labels = "--label switcher.alias=web --label switcher.set=v1 --label switcher.port=80 -p 80";
    site.dockerd.docker(&format!("run -d --name one {labels} {IMAGE}"));
    site.wait("one becomes a backend", LIMIT, || site.backends("web", "v1") == 1);
    site.expect("split web v1=100", 0);
    assert_eq!(site.ask_outside(), "v1");
    let address = |name: &str| {
        let form = "{{.NetworkSettings.IPAddress}}";
        site.dockerd.docker(&format!("inspect -f {form} {name}"))
    };
    let was = address("one");
    site.dockerd.docker("rm -f one");
    // No label: nothing else would ever be asked of this one.
    site.dockerd
        .docker("run -d --name stranger flaccid/countdown_example:v2");
    assert_eq!(address("stranger"), was, "what this is about");
    let said = format!("{was} is container stranger's by now");
    site.wait("status says so", LIMIT, || {
        site.expect("status", 0).stdout.contains(&said)
    });
    std::thread::sleep(Duration::from_millis(1_500));
    let url = format!("http://{PUBLISHED}/");
    let asked = site
        .lab
        .client()
        .run(&["curl", "-sS", "--max-time", "3", &url])
        .unwrap();
    assert_ne!(asked.code, 0, "the wrong application answered: {}", asked.stdout);
    // One of its own ends that, wherever it is.
    site.dockerd.docker(&format!("run -d --name two {labels} {IMAGE}"));
    site.wait("two serves", LIMIT, || {
        let asked = site
            .lab
            .client()
            .run(&["curl", "-sS", "--max-time", "3", &url])
            .unwrap();
        asked.stdout.trim() == "v1"
    });
}

/// What cannot be done for one set is said, and the others follow.
#[test]
fn a_container_that_asks_for_the_impossible_costs_only_itself() {
    let site = Site::new();
    site.expect(&format!("alias put web --listen {PUBLISHED}/tcp"), 0);
    site.expect("alias put full --listen 198.51.100.10:8001/tcp", 0);
    // As many sets as an alias may have.
    let put = |number: u32| {
        let line = format!("set put full s{number} --backend 10.1.0.2:80");
        let words: Vec<&str> = line.split(' ').collect();
        site.agent.cli(&words).unwrap().code
    };
    assert_ne!((0..100).map(put).find(|code| *code != 0), None, "there is a limit");
    let run = |name: &str, alias: &str| {
        let labels = format!("--label switcher.alias={alias} --label switcher.set=v1 --label switcher.port=80");
        site.dockerd
            .docker(&format!("run -d --name {name} {labels} -p 80 {IMAGE}"));
    };
    run("odd", "full");
    site.wait("status says so", LIMIT, || {
        site.expect("status", 0)
            .stdout
            .contains("set full/v1: its containers could not be followed")
    });
    run("one", "web");
    site.wait("one becomes a backend", LIMIT, || site.backends("web", "v1") == 1);
    site.expect("split web v1=100", 0);
    assert_eq!(site.ask_outside(), "v1");
}
