//! Docker and the agent are restarted under load: nothing of ours is lost. What Docker itself breaks is measured beside it, at
//! a container that it publishes without Switcher.

use std::time::Duration;

use switcher_tests::interrupt;
use switcher_tests::lab::{CLIENT_POOL_V4, Namespace};
use switcher_tests::traffic::{Generator, LoadReport, Sources};

use crate::docker::{Site, all_answered, plan_at, told};

const SETTLE: Duration = Duration::from_secs(1);
/// A load beside: enough to see what breaks.
const BESIDE_PER_S: u32 = 100;
/// Until containers that Docker has ended serve again, on a machine that does other things beside.
const BACK_LIMIT: Duration = Duration::from_secs(30);

/// A container that Docker alone publishes, on port 8001, and the loads to it.
struct Beside {
    /// From outside: Docker's NAT rules carry it.
    outside: Generator,
    /// On the host, to loopback: docker-proxy carries it.
    proxy: Generator,
}

impl Beside {
    fn start(site: &Site) -> Self {
        site.dockerd
            .docker("run -d --name beside --restart always -p 8001:80 flaccid/countdown_example:v1");
        site.wait("the container beside answers", BACK_LIMIT, || {
            let asked = ["curl", "-sS", "--max-time", "1", "http://127.0.0.1:8001/"];
            site.lab.host().run(&asked).unwrap().code == 0
        });
        let load = |run: &str, space: &Namespace, target: &str, v4| {
            let plan = plan_at(BESIDE_PER_S, run, target, Sources { v4, v6: None }, 4);
            Generator::load_in(&site.lab, space, &plan).unwrap()
        };
        Self {
            outside: load("beside-nat", site.lab.client(), "10.0.0.1:8001", Some(CLIENT_POOL_V4)),
            proxy: load("beside-proxy", site.lab.host(), "127.0.0.1:8001", None),
        }
    }

    /// What was broken, in words; nothing of it is ours to judge.
    fn stop(mut self) -> [LoadReport; 2] {
        [&mut self.outside, &mut self.proxy].map(|load| {
            let report = load.stop().unwrap();
            told(&report);
            report
        })
    }
}

/// Both end at the same instant and begin at the same instant: what is in the kernel is all that is left meanwhile.
fn restart_both(site: &mut Site) {
    let Site { agent, dockerd, .. } = site;
    std::thread::scope(|scope| {
        scope.spawn(|| agent.kill().unwrap());
        dockerd.stop();
    });
    interrupt::sleep(SETTLE).unwrap();
    // From this thread: a process ends with the thread that started it.
    dockerd.begin();
    agent.launch().unwrap();
    dockerd.wait();
    interrupt::sleep(SETTLE).unwrap();
}

#[test]
fn docker_and_the_agent_are_restarted_and_nothing_is_lost() {
    // Containers live on without their daemon; what Docker itself ends, nobody can carry.
    let mut site = Site::with(true);
    let file = site.thread_files(&["countdown-v1"]);
    site.compose(&file, "up -d").expect_code(&[0]).unwrap();
    let client = site.client_container();
    let mut outside = site.load_outside();
    let mut inside = site.load_inside(&client, &site.own_address("countdown-demo-alias"));
    let beside = Beside::start(&site);
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
    restart_both(&mut site);
    assert_eq!(site.ask_inside("http://countdown-demo-alias/"), "v1");
    let [_, proxy] = beside.stop();
    assert!(
        proxy.failed > 0,
        "docker-proxy ends with its daemon: {:?}",
        proxy.failures
    );
    for load in [&mut outside, &mut inside] {
        let report = all_answered(load);
        assert!(
            report.kept_alive.iter().all(|kept| kept.ended.is_none()),
            "kept connections live on"
        );
    }

    let file = site.thread_files(&["countdown-v2"]);
    site.compose(&file, "up -d").expect_code(&[0]).unwrap();
    assert_eq!(
        (site.ask_outside(), site.ask_inside("http://countdown-demo-alias/")),
        ("v2".to_owned(), "v2".to_owned())
    );
}

const RESTARTED: &str = "\
name: shop
services:
  lb: {image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [app]}
  app: {image: \"flaccid/countdown_example:v1\", ports: [\"80\"], scale: 2, restart: always}
";

#[test]
fn containers_that_docker_ends_with_itself_serve_again_by_themselves() {
    let mut site = Site::with(false);
    site.compose(&site.file(RESTARTED), "up -d").expect_code(&[0]).unwrap();
    let address = site.own_address("lb");
    let mut outside = site.load_outside();
    let beside = Beside::start(&site);
    interrupt::sleep(SETTLE).unwrap();
    restart_both(&mut site);
    site.wait("the alias serves again", BACK_LIMIT, || {
        let asked = ["curl", "-sS", "--max-time", "1", "http://10.0.0.1:8000/"];
        site.lab.client().run(&asked).unwrap().code == 0 && site.backends("lb", "app") == 2
    });
    assert_eq!(site.own_address("lb"), address, "the alias's own address stays");
    // What Docker ended is lost with and without Switcher. What was new waited; nobody was refused.
    let report = outside.stop().unwrap();
    told(&report);
    assert_eq!(report.failures.get("refused"), None, "{:?}", report.failures);
    let [nat, _] = beside.stop();
    assert!(nat.failed > 0, "Docker ends its containers: {:?}", nat.failures);
    let mut after = site.load_outside();
    interrupt::sleep(SETTLE).unwrap();
    all_answered(&mut after);
}
