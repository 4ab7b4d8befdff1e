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
