//! Podman by its compatible socket: containers with labels are backends as Docker's are.

use std::time::Duration;

use switcher_tests::interrupt;
use switcher_tests::lab::{Agent, CLIENT_POOL_V4, Lab};
use switcher_tests::traffic::{Generator, Sources};

use crate::docker::{Dockerd, PUBLISHED, Site, all_answered, plan_at};

const LIMIT: Duration = Duration::from_secs(20);
const SETTLE: Duration = Duration::from_secs(2);

#[test]
fn labelled_containers_of_podman_are_backends_and_leave_when_stopped() {
    let lab = Lab::new().unwrap();
    let podman = Dockerd::podman(&lab);
    let agent = Agent::start_with(&lab, &["--docker", &podman.socket()]).unwrap();
    let site = Site {
        agent,
        dockerd: podman,
        lab,
    };
    site.expect(&format!("alias put web --listen {PUBLISHED}/tcp"), 0);
    let run = |name: &str, version: &str| {
        let labels = format!("--label switcher.alias=web --label switcher.set={version} --label switcher.port=80");
        let cgroup = format!("--cgroup-parent /swt-{}", site.lab.id());
        site.dockerd.image(version, version, None);
        site.dockerd
            .docker(&format!("run -d --name {name} {cgroup} {labels} {version}"));
    };
    run("one", "v1");
    run("two", "v2");
    for set in ["v1", "v2"] {
        site.wait("they become backends", LIMIT, || site.backends("web", set) == 1);
    }
    site.expect("split web v1=100", 0);
    let sources = Sources {
        v4: Some(CLIENT_POOL_V4),
        v6: None,
    };
    let plan = plan_at(200, "outside", PUBLISHED, sources, 4);
    let mut load = Generator::load(&site.lab, &plan).unwrap();
    interrupt::sleep(SETTLE).unwrap();
    site.expect("split web v2=100", 0);
    interrupt::sleep(SETTLE).unwrap();
    let report = all_answered(&mut load);
    assert!(
        report.answers["v1"] > 0 && report.answers["v2"] > 0,
        "{:?}",
        report.answers
    );
    run("three", "v2");
    site.wait("three becomes a backend", LIMIT, || site.backends("web", "v2") == 2);
    site.dockerd.docker("stop -t 1 two");
    site.wait("two leaves", LIMIT, || site.backends("web", "v2") == 1);
    assert_eq!(site.ask_outside(), "v2");
}
