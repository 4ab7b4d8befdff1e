//! Containers that `compose up` makes ask the agent for names, and search its zone.

use crate::docker::{DNS, Site};

#[test]
fn containers_search_the_agents_zone_and_are_not_made_anew_for_another() {
    let mut site = Site::new();
    let docker = site.dockerd.socket();
    site.agent.stop().unwrap();
    site.agent
        .launch_with(&["--docker", &docker, "--dns", DNS, "--dns-zone", "shop.example"])
        .unwrap();
    let file = site.thread_files(&["countdown-v1"]);
    site.compose(&file, "up -d").expect_code(&[0]).unwrap();
    let made = site.dockerd.docker("ps -q --filter name=countdown-v1");
    let inside = |words: &str| site.dockerd.docker(&format!("exec {made} {words}"));
    assert!(inside("/bin/busybox cat /etc/resolv.conf").contains("search shop.example"));
    for name in ["countdown-demo-alias", "countdown-demo-alias.shop.example"] {
        assert_eq!(inside(&format!("/usr/bin/curl -sS --max-time 5 http://{name}/")), "v1");
    }
    let mut other = vec!["exec", &made, "/usr/bin/curl", "-sS", "--max-time", "5"];
    other.push("http://countdown-demo-alias.switcher.internal/");
    // Refused by the agent; the host's own resolvers, which come next, say no (6) or are out of reach (28).
    site.dockerd.try_docker(&other).expect_code(&[6, 28]).unwrap();

    site.agent.stop().unwrap();
    site.agent.launch_with(&["--docker", &docker, "--dns", DNS]).unwrap();
    let again = site.compose(&file, "up -d").expect_code(&[0]).unwrap();
    assert!(again.stdout.contains("nothing to do"), "{}", again.stdout);
    assert_eq!(site.dockerd.docker("ps -q --filter name=countdown-v1"), made);
}
