//! `compose up --upgrade` that does not come to its end, and containers that do not live.

use std::process::Command;
use std::time::Duration;

use switcher_tests::binaries;
use switcher_tests::lab::run;

use crate::docker::{Site, all_answered};

/// An agent's command that is killed after this has made its containers, and waits for them.
const KILLED_AFTER: &str = "4";
const LIMIT: Duration = Duration::from_secs(30);

/// `app`, and what its containers run instead of the image's own command.
fn app(version: &str, command: &str) -> String {
    format!(
        "\
name: shop
services:
  lb: {{image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [app]}}
  app: {{image: \"flaccid/countdown_example:{version}\", ports: [\"80\"]{command}}}
"
    )
}

/// It runs, and nothing listens.
const DEAF: &str = ", command: [\"/bin/sleep\", \"1000\"]";
const DIES: &str = ", command: [\"/bin/busybox\", \"false\"]";

fn names(site: &Site) -> Vec<String> {
    let names = site.dockerd.docker("ps -a --format {{.Names}}");
    let mut names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
    names.sort();
    names
}

/// `up -d --upgrade`, killed before its switch.
fn kill_an_upgrade(site: &Site, text: &str) {
    let file = site.file(text);
    let mut command = Command::new("timeout");
    command
        .args(["-s", "KILL", KILLED_AFTER])
        .arg(binaries::switcher().unwrap());
    command.args(["--host", &format!("unix://{}/switcher.sock", site.lab.dir().display())]);
    command
        .args(["compose", "--docker", &site.dockerd.socket(), "-f"])
        .arg(file);
    command.args(["up", "-d", "--upgrade"]);
    assert_ne!(run(&mut command, LIMIT).unwrap().code, 0, "it was killed");
}

#[test]
fn a_killed_upgrade_goes_back_and_never_forward() {
    let site = Site::new();
    let up = |text: &str, words: &str, code: i32| {
        let outcome = site.compose(&site.file(text), &format!("up -d {words}"));
        outcome.expect_code(&[code]).unwrap().stderr
    };
    let (good, deaf) = (app("v1", ""), app("v2", DEAF));
    up(&good, "", 0);
    kill_an_upgrade(&site, &deaf);
    assert_eq!((site.ask_outside(), names(&site).len()), ("v1".to_owned(), 2));
    let said = up(&deaf, "--confirm-upgrade", 1);
    assert!(said.contains("never got to its switch"), "{said}");
    let said = up(&deaf, "", 0);
    assert!(said.contains("do not serve"), "{said}");
    assert_eq!((site.ask_outside(), names(&site).len()), ("v1".to_owned(), 2));
    let mut load = site.short_load_outside();
    let said = up(&deaf, "--rollback", 0);
    assert!(said.contains("shop-app-2: removed"), "{said}");
    let report = all_answered(&mut load);
    assert_eq!(report.answers.keys().collect::<Vec<_>>(), ["v1"]);
    assert_eq!(names(&site), ["shop-app-1"]);
    assert_eq!((site.ask_outside(), site.backends("lb", "app")), ("v1".to_owned(), 1));
}

#[test]
fn a_killed_upgrade_goes_on_with_what_the_files_have_then() {
    let site = Site::new();
    let up = |text: &str, words: &str, code: i32| {
        let outcome = site.compose(&site.file(text), &format!("up -d {words}"));
        outcome.expect_code(&[code]).unwrap().stderr
    };
    up(&app("v1", ""), "", 0);
    kill_an_upgrade(&site, &app("v2", DEAF));
    let mut load = site.short_load_outside();
    let said = up(&app("v2", ""), "--upgrade", 0);
    assert!(
        said.contains("shop-app-2: removed"),
        "nobody was ever sent there: {said}"
    );
    assert_eq!((site.ask_outside(), names(&site).len()), ("v2".to_owned(), 2));
    // The way back is kept for as long as the new version does not run.
    let new = names(&site).pop().unwrap();
    site.dockerd.docker(&format!("stop -t 1 {new}"));
    let said = up(&app("v2", ""), "--confirm-upgrade", 1);
    assert!(said.contains("nothing was removed"), "{said}");
    assert!(names(&site).contains(&"shop-app-1".to_owned()));
    site.dockerd.docker(&format!("start {new}"));
    site.wait("it is there again", LIMIT, || {
        let file = site.file(&app("v2", ""));
        site.compose(&file, "up -d --confirm-upgrade").code == 0
    });
    assert_eq!((site.ask_outside(), names(&site)), ("v2".to_owned(), vec![new]));
    let _ = load.stop().unwrap();
}

#[test]
fn a_container_that_ends_at_once_is_a_failure_and_moves_nothing() {
    let site = Site::new();
    let text = |link: &str, command: &str| {
        format!(
            "\
name: shop
services:
  lb: {{image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [{link}]}}
  v1: {{image: \"flaccid/countdown_example:v1\", ports: [\"80\"]}}
  v2: {{image: \"flaccid/countdown_example:v2\", ports: [\"80\"], scale: 2{command}}}
"
        )
    };
    let first = text("v1", "").replace("scale: 2", "scale: 0");
    site.compose(&site.file(&first), "up -d").expect_code(&[0]).unwrap();
    let mut load = site.load_outside();
    for line in ["up -d", "upgrade v1 v2 --wait"] {
        let linked = if line == "up -d" { "v2" } else { "v1" };
        let refused = site.compose(&site.file(&text(linked, DIES)), line);
        let said = refused.expect_code(&[1]).unwrap().stderr;
        assert!(
            said.contains("ended with 1") && said.contains("docker logs shop-v2-"),
            "{said}"
        );
        assert!(said.contains("no traffic was moved"), "{said}");
        assert_eq!(site.ask_outside(), "v1");
    }
    let report = all_answered(&mut load);
    assert_eq!(report.answers.keys().collect::<Vec<_>>(), ["v1"]);
}

#[test]
fn a_second_command_on_a_project_is_refused_with_the_firsts_pid() {
    let site = Site::new();
    site.compose(&site.file(&app("v1", "")), "up -d")
        .expect_code(&[0])
        .unwrap();
    let first = {
        let socket = format!("unix://{}/switcher.sock", site.lab.dir().display());
        let deaf = site.lab.dir().join("deaf.yaml");
        std::fs::write(&deaf, app("v2", DEAF)).unwrap();
        let mut command = Command::new(binaries::switcher().unwrap());
        command.args(["--host", &socket, "compose", "--docker", &site.dockerd.socket(), "-f"]);
        command.arg(deaf).args(["up", "-d", "--upgrade", "--timeout", "8s"]);
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        command.spawn()
    };
    let mut first = first.unwrap();
    site.wait("the first is at work", LIMIT, || names(&site).len() == 2);
    let refused = site.compose(&site.file(&app("v2", "")), "up -d --rollback");
    let said = refused.expect_code(&[6]).unwrap().stderr;
    assert!(said.contains(&format!("pid {}", first.id())), "{said}");
    assert_ne!(first.wait().unwrap().code(), Some(0), "it never got ready");
    assert_eq!(
        (site.ask_outside(), names(&site)),
        ("v1".to_owned(), vec!["shop-app-1".to_owned()])
    );
    site.compose(&site.file(&app("v1", "")), "up -d")
        .expect_code(&[0])
        .unwrap();
}

#[test]
fn a_stopped_container_of_other_settings_is_not_started_in_silence() {
    let site = Site::new();
    site.compose(&site.file(&app("v1", "")), "up -d")
        .expect_code(&[0])
        .unwrap();
    site.dockerd.docker("stop -t 1 shop-app-1");
    let up = site
        .compose(&site.file(&app("v2", "")), "up -d")
        .expect_code(&[0])
        .unwrap();
    assert!(
        up.stderr.contains("shop-app-1: was made of other settings"),
        "{}",
        up.stderr
    );
    assert_eq!(site.dockerd.docker("ps --format {{.Names}}"), "shop-app-2");
    site.wait("the new one serves", LIMIT, || site.ask_outside() == "v2");
    // Of the same settings it is started again.
    site.dockerd.docker("stop -t 1 shop-app-2");
    let up = site
        .compose(&site.file(&app("v2", "")), "up -d")
        .expect_code(&[0])
        .unwrap();
    assert!(up.stderr.contains("container shop-app-2: started"), "{}", up.stderr);
    assert_eq!(site.ask_outside(), "v2");
}
