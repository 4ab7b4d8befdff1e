//! The thread's own scenario: its files, links edited as the answer says, `up -d` after each.

use std::process::Command;
use std::time::Duration;

use switcher_tests::lab::{Capture, SYN_FILTER, run};
use switcher_tests::traffic::Generator;
use switcher_tests::{binaries, clock, interrupt};

use crate::docker::{KEPT_ALIVE, Site, all_answered};

const SETTLE: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn the_files_as_posted_move_from_v1_to_v2_without_a_gap_inside_and_outside() {
    let site = Site::new();
    let up = |services: &[&str]| {
        let file = site.thread_files(services);
        site.compose(&file, "up -d").expect_code(&[0]).unwrap()
    };
    let first = up(&["countdown-v1"]);
    assert!(
        first.stdout.contains("alias countdown-demo-alias: created"),
        "{}",
        first.stdout
    );
    let client = site.client_container();
    assert_eq!(site.ask_outside(), "v1");
    assert_eq!(site.ask_inside("http://countdown-demo-alias/"), "v1");
    assert_eq!(site.ask_inside("http://countdown-demo-alias.switcher.internal/"), "v1");
    assert_eq!(
        site.ask_inside("http://countdown-lb:8000/"),
        "v1",
        "a balancer is there inside too"
    );
    let again = up(&["countdown-v1"]);
    assert!(again.stdout.contains("nothing to do"), "{}", again.stdout);

    let (mut loads, asked) = site.full_loads(&client, "countdown-demo-alias", KEPT_ALIVE);
    interrupt::sleep(SETTLE).unwrap();
    up(&["countdown-v1", "countdown-v2"]);
    interrupt::sleep(SETTLE).unwrap();
    let watch = watch_v1(&site);
    up(&["countdown-v2"]);
    nothing_new_at_v1(&site, watch);
    asked.all_answered();
    for load in &mut loads {
        answered_by_both(load);
    }
    assert_eq!(site.ask_inside("http://countdown-demo-alias/"), "v2");
}

#[test]
fn the_upgrade_as_posted_loses_nothing_inside_and_outside() {
    let site = Site::new();
    let file = site.thread_files(&["countdown-v1"]);
    site.compose(&file, "up -d").expect_code(&[0]).unwrap();
    let client = site.client_container();
    // The command waits until v1 has no connection: all requests are on new ones.
    let (mut loads, asked) = site.full_loads(&client, "countdown-demo-alias", 0);
    interrupt::sleep(SETTLE).unwrap();
    let watch = watch_v1(&site);
    let line = "upgrade countdown-v1 countdown-v2 --wait";
    site.compose(&file, line).expect_code(&[0]).unwrap();
    nothing_new_at_v1(&site, watch);
    asked.all_answered();
    for load in &mut loads {
        answered_by_both(load);
    }
}

/// Sees SYNs at v1's own device from now on; those that count come after a command has returned.
fn watch_v1(site: &Site) -> Capture {
    let pid = site.dockerd.pid("countdown-countdown-v1-1");
    let served = site.lab.adopt("served", pid).unwrap();
    Capture::start(&served, "eth0", SYN_FILTER).unwrap()
}

/// To be called when the command has just returned.
fn nothing_new_at_v1(site: &Site, watch: Capture) {
    let returned_us = clock::unix_us();
    let opened = || ["countdown-lb", "countdown-demo-alias"].map(|alias| site.flows_opened(alias, "countdown-v1"));
    let before = opened();
    interrupt::sleep(SETTLE).unwrap();
    assert_eq!(opened(), before, "new flows at v1 after the command had returned");
    let seen = watch.stop().unwrap();
    let after = seen.count_between(returned_us, u64::MAX);
    eprintln!(
        "SYNs at v1: {} before the command returned, {after} after",
        seen.packets.len() - after
    );
    assert!(seen.packets.len() > after, "v1 was served before");
    assert_eq!(
        (after, seen.missed),
        (0, 0),
        "SYNs at v1 after the command had returned"
    );
}

fn answered_by_both(load: &mut Generator) {
    let report = all_answered(load);
    assert!(
        report.answers["v1"] > 0 && report.answers["v2"] > 0,
        "{:?}",
        report.answers
    );
}

/// A file, where its mistake is (line, column, key), and a part of what is said.
const BROKEN: [(&str, &str, &str); 8] = [
    (
        "services:\n  web: {image: app, imagee: x}\n",
        "2:21: services.web.imagee: unknown key",
        "did you mean 'image'?",
    ),
    (
        "web:\n  image: app\n  build: .\n",
        "3:3: web.build: 'build' is not supported",
        "docker build",
    ),
    (
        "a:\n  image: rancher/dns-service\n  links: [countdown-v3]\ncountdown-v2: {image: app, expose: [80]}\n",
        "3:11: a.links[0]: links to service 'countdown-v3'",
        "did you mean 'countdown-v2'?",
    ),
    (
        "a:\n  image: rancher/dns-service\n  links: [b]\nb:\n  image: rancher/dns-service\n  links: ['a:']\n",
        "6:11: b.links[0]: links go round",
        "b -> a -> b",
    ),
    (
        "x: {image: app, links: [y]}\ny: {image: app, depends_on: [x]}\n",
        "1:25: x.links[0]: links go round",
        "x -> y -> x",
    ),
    (
        "l:\n  image: rancher/load-balancer-service\n  links: [w]\n  ports: ['8000:80', 8000:81]\nw: {image: app}\n",
        "4:22: l.ports[1]: is the same port",
        "the one at line 4",
    ),
    (
        "l:\n  image: rancher/load-balancer-service\n  links: [w]\n  ports: ['8000:80']\nw: {image: app, ports: ['8000:80']}\n",
        "5:17: w.ports: port 8000 of the host",
        "by 'l' and by 'w'",
    ),
    (
        "web:\n\timage: app\n",
        "2:1: web.image: a tab indents this line",
        "spaces",
    ),
];

const DEAF: &str = "\
name: shop
services:
  lb: {image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [v1]}
  v1: {image: \"flaccid/countdown_example:v1\", ports: [\"80\"], command: [\"/bin/sleep\", \"100\"]}
";

#[test]
fn bad_files_and_missing_agents_change_nothing() {
    let mut site = Site::new();
    for (text, place, said) in BROKEN {
        let file = site.file(text);
        for line in ["up -d", "config", "upgrade countdown-v1 countdown-v2"] {
            let refused = site.compose(&file, line).expect_code(&[2]).unwrap();
            assert!(
                refused.stderr.contains(&format!("compose.yaml:{place}")) && refused.stderr.contains(said),
                "{line}: {text}{}",
                refused.stderr
            );
        }
    }
    assert_eq!(site.dockerd.docker("ps -aq"), "");
    assert!(site.json("alias ls --json")["aliases"].as_array().unwrap().is_empty());
    let file = site.thread_files(&["countdown-v1"]);
    let front = site.compose(&file, "up").expect_code(&[2]).unwrap();
    assert!(front.stderr.contains("up -d"), "{}", front.stderr);
    assert_eq!(site.dockerd.docker("ps -aq"), "");
    let nobody = site.lab.dir().join("nobody");
    let host = format!("unix://{}/switcher.sock", nobody.display());
    let mut command = Command::new(binaries::switcher().unwrap());
    command
        .args(["--host", &host, "compose", "-f"])
        .arg(&file)
        .args(["up", "-d"]);
    let alone = run(&mut command, LIMIT).unwrap().expect_code(&[5]).unwrap();
    assert!(alone.stderr.contains("nothing was sent"), "{}", alone.stderr);
    assert!(!nobody.exists());

    // In the middle it is no "nothing was sent".
    let deaf = site.file(DEAF);
    let command = site.begin_compose(&deaf, "up -d");
    site.wait("it is made and waited for", LIMIT, || site.names() == ["shop-v1-1"]);
    interrupt::sleep(Duration::from_secs(1)).unwrap();
    site.agent.kill().unwrap();
    let cut = command.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&cut.stderr);
    assert_eq!(cut.status.code(), Some(7), "{said}");
    assert!(
        said.contains("container shop-v1-1 made") && !said.contains("nothing was sent"),
        "{said}"
    );
}
