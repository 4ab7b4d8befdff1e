//! `up --upgrade`, `--confirm-upgrade` and `--rollback` killed on their way: what comes next never sends anybody to containers
//! that are not there, removes nothing that serves, and says what is left.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use switcher_tests::lab::{Process, run};

use crate::docker::{Site, all_answered};

const LIMIT: Duration = Duration::from_secs(60);
/// Its containers do not hear SIGTERM: each takes all of its grace to end.
const STUBBORN: &str = ", stop_grace_period: 4s, command: [\"/bin/sh\", \"-c\", \"/usr/sbin/nginx -c /etc/nginx.conf -e /dev/null & while true; do /bin/busybox sleep 1; done\"]";

fn app(image: &str, scale: u32, more: &str) -> String {
    format!(
        "\
name: shop
services:
  lb: {{image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [app]}}
  app: {{image: \"{image}\", ports: [\"80\"], scale: {scale}{more}}}
"
    )
}

const V1: &str = "flaccid/countdown_example:v1";
const V2: &str = "flaccid/countdown_example:v2";

/// Runs a command that must end with this, and returns what it says.
fn up(site: &Site, text: &str, words: &str, code: i32) -> String {
    let outcome = site.compose(&site.file(text), &format!("up -d {words}"));
    let outcome = outcome.expect_code(&[code]).unwrap();
    format!("{}{}", outcome.stdout, outcome.stderr)
}

/// Begins one and kills it at that moment.
fn killed(site: &Site, text: &str, words: &str, what: &str, when: impl FnMut() -> bool) {
    let mut command = site.begin_compose(&site.file(text), &format!("up -d {words}"));
    site.wait(what, LIMIT, when);
    command.kill().unwrap();
    assert_eq!(command.wait().unwrap().code(), None, "{what}: it was killed on its way");
}

/// Docker has sent it its signal.
fn is_being_stopped(site: &Site, container: &str) -> bool {
    let socket = site.lab.dir().join("switcher.sock").display().to_string();
    let mut ask = Command::new("curl");
    ask.args(["-sS", "--unix-socket", &socket, "http://agent/v1/containers"]);
    let said = run(&mut ask, LIMIT).unwrap().expect_code(&[0]).unwrap().stdout;
    let document: serde_json::Value = serde_json::from_str(&said).unwrap();
    let mut all = document["containers"].as_array().unwrap().iter();
    all.any(|one| one["name"] == container && one["why"] == "it is being stopped")
}

/// The hashes that the set of `lb` is pinned to.
fn pinned(site: &Site) -> usize {
    let status = site.json("status lb --json");
    let hashes = &status["aliases"][0]["sets"][0]["containers"]["service"]["hashes"];
    hashes.as_array().map_or(0, Vec::len)
}

/// Nobody is sent where nobody is: every backend is a container that runs.
fn assert_sound(site: &Site, version: &str, names: &[&str]) {
    assert_eq!(
        (site.ask_outside().as_str(), site.names()),
        (version, names.iter().map(ToString::to_string).collect())
    );
    let own: Vec<String> = site
        .dockerd
        .docker("ps --format {{.Names}}")
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let running: Vec<String> = own.iter().map(|name| format!("{}:80", site.address(name))).collect();
    let status = site.json("status lb --json");
    for backend in status["aliases"][0]["sets"][0]["backends"].as_array().unwrap() {
        let address = backend["address"].as_str().unwrap();
        assert!(
            running.iter().any(|one| one == address),
            "{address} is none of {running:?}"
        );
    }
}

#[test]
fn an_upgrade_killed_before_it_made_anything_leaves_only_a_pin_that_each_command_takes_away() {
    let site = Site::new();
    // Whoever pulls there waits for an answer.
    let mut listener = site.lab.host().server("busybox");
    listener.args(["nc", "-ll", "-p", "5000", "-e", "/bin/sleep", "60"]);
    let _registry = Process::spawn("a silent registry", &mut listener, Signal::SIGKILL).unwrap();
    let (v1, v2, unpulled) = (app(V1, 1, ""), app(V2, 1, ""), app("127.0.0.1:5000/app:2", 1, ""));
    up(&site, &v1, "", 0);
    let mut load = site.short_load_outside();
    let kill = || {
        killed(&site, &unpulled, "--upgrade", "it has pinned", || pinned(&site) == 1);
        assert_sound(&site, "v1", &["shop-app-1"]);
    };
    for (text, words) in [
        (&v1, ""),
        (&v1, "--upgrade"),
        (&v1, "--confirm-upgrade"),
        (&v1, "--rollback"),
    ] {
        kill();
        up(&site, text, words, 0);
        assert_eq!(pinned(&site), 0, "{words}");
        assert_sound(&site, "v1", &["shop-app-1"]);
    }
    kill();
    up(&site, &v2, "--upgrade", 0);
    assert_sound(&site, "v2", &["shop-app-1", "shop-app-2"]);
    all_answered(&mut load);
}

#[test]
fn a_confirmation_killed_while_it_removes_is_gone_on_with() {
    let site = Site::new();
    let (old, new) = (app(V1, 2, STUBBORN), app(V2, 2, ""));
    up(&site, &old, "", 0);
    let mut load = site.short_load_outside();
    up(&site, &new, "--upgrade", 0);
    killed(&site, &new, "--confirm-upgrade", "both are being stopped", || {
        is_being_stopped(&site, "shop-app-1") && is_being_stopped(&site, "shop-app-2")
    });
    let said = up(&site, &new, "", 0);
    assert!(said.contains("not confirmed yet"), "{said}");
    // What is being stopped is no way back, and what serves is not touched.
    let said = up(&site, &new, "--rollback --timeout 15s", 1);
    assert!(said.contains("shop-app-") || said.contains("do not run"), "{said}");
    let all = ["shop-app-1", "shop-app-2", "shop-app-3", "shop-app-4"];
    assert_sound(&site, "v2", &all);
    let said = up(&site, &new, "--confirm-upgrade", 0);
    assert!(said.contains("shop-app-2: removed"), "{said}");
    assert_eq!(pinned(&site), 0);
    assert_sound(&site, "v2", &["shop-app-3", "shop-app-4"]);
    all_answered(&mut load);
}

#[test]
fn a_rollback_killed_while_it_removes_goes_on_back_or_forward() {
    let site = Site::new();
    let (old, new) = (app(V1, 2, ""), app(V2, 2, STUBBORN));
    up(&site, &old, "", 0);
    let mut load = site.short_load_outside();
    up(&site, &new, "--upgrade", 0);
    let stops = || is_being_stopped(&site, "shop-app-3") && is_being_stopped(&site, "shop-app-4");
    let kill = || killed(&site, &new, "--rollback", "both are being stopped", stops);
    kill();
    let said = up(&site, &new, "", 0);
    assert!(said.contains("do not serve") && said.contains("--rollback"), "{said}");
    assert_eq!(site.ask_outside(), "v1");
    let said = up(&site, &new, "--confirm-upgrade", 1);
    assert!(said.contains("nothing was removed"), "{said}");
    up(&site, &new, "--rollback", 0);
    assert_eq!(pinned(&site), 0);
    assert_sound(&site, "v1", &["shop-app-1", "shop-app-2"]);
    // Forward from there: with what the files have.
    up(&site, &new, "--upgrade", 0);
    assert_eq!(site.ask_outside(), "v2");
    assert_eq!(site.names().len(), 4);
    kill();
    up(&site, &app(V2, 2, ""), "--upgrade", 0);
    assert_eq!(site.ask_outside(), "v2");
    up(&site, &app(V2, 2, ""), "--confirm-upgrade", 0);
    assert_eq!(
        (site.names().len(), pinned(&site), site.backends("lb", "app")),
        (2, 0, 2)
    );
    all_answered(&mut load);
}

#[test]
fn a_pin_to_containers_that_somebody_removed_is_lifted_and_what_runs_serves() {
    let site = Site::new();
    let (old, new) = (app(V1, 1, ""), app(V2, 1, ""));
    let lose = || {
        up(&site, &old, "", 0);
        let before = site.names();
        up(&site, &new, "--upgrade", 0);
        let made = site.names().into_iter().find(|name| !before.contains(name)).unwrap();
        site.dockerd.docker(&format!("rm -f {made}"));
        before
    };
    lose();
    let said = up(&site, &new, "--confirm-upgrade", 1);
    assert!(
        said.contains("are gone") && said.contains("nothing was removed"),
        "{said}"
    );
    up(&site, &new, "--rollback", 0);
    assert_eq!(pinned(&site), 0);
    assert_sound(&site, "v1", &["shop-app-1"]);
    lose();
    let said = up(&site, &new, "", 0);
    assert!(said.contains("those that run now serve"), "{said}");
    assert_eq!(pinned(&site), 0);
    assert_sound(&site, "v1", &["shop-app-1"]);
    lose();
    up(&site, &new, "--upgrade", 0);
    assert_eq!((site.ask_outside().as_str(), site.names().len()), ("v2", 2));
    up(&site, &new, "--confirm-upgrade", 0);
    assert_eq!((site.names().len(), pinned(&site)), (1, 0));
}

#[test]
fn an_alias_that_left_the_files_switches_with_the_service_that_it_follows() {
    let site = Site::new();
    let with_old = |text: String| {
        text.replace(
            "  app: {",
            "  old: {image: rancher/load-balancer-service, ports: [\"8001:80\"], links: [app]}\n  app: {",
        )
    };
    up(&site, &with_old(app(V1, 1, "")), "", 0);
    let ask_old = || {
        let asked = ["curl", "-sS", "--max-time", "5", "http://10.0.0.1:8001/"];
        site.lab.client().run(&asked).unwrap().stdout.trim().to_owned()
    };
    assert_eq!(ask_old(), "v1");
    let new = app(V2, 1, "");
    let said = up(&site, &new, "--upgrade", 0);
    assert!(said.contains("switcher alias rm old"), "{said}");
    assert_eq!((site.ask_outside(), ask_old()), ("v2".to_owned(), "v2".to_owned()));
    up(&site, &new, "--rollback", 0);
    assert_eq!((site.ask_outside(), ask_old()), ("v1".to_owned(), "v1".to_owned()));
    up(&site, &new, "--upgrade", 0);
    up(&site, &new, "--confirm-upgrade", 0);
    assert_eq!((site.ask_outside(), ask_old()), ("v2".to_owned(), "v2".to_owned()));
    assert_eq!((site.names().len(), pinned(&site)), (1, 0));
}

#[test]
fn an_upgrade_killed_right_after_its_switch_waits_to_be_confirmed_or_goes_back() {
    let site = Site::new();
    let (old, new) = (app(V1, 1, ""), app(V2, 1, ""));
    up(&site, &old, "", 0);
    let mut load = site.short_load_outside();
    // It may have come to its end by then: that is the same.
    let cut = || {
        let mut command = site.begin_compose(&site.file(&new), "up -d --upgrade");
        site.wait("it has switched", LIMIT, || site.ask_outside() == "v2");
        command.kill().unwrap();
        command.wait().unwrap();
    };
    cut();
    let said = up(&site, &new, "", 0);
    assert!(said.contains("not confirmed yet; 1 old container(s) run"), "{said}");
    up(&site, &new, "--upgrade", 0);
    assert_sound(&site, "v2", &["shop-app-1", "shop-app-2"]);
    up(&site, &new, "--rollback", 0);
    assert_sound(&site, "v1", &["shop-app-1"]);
    cut();
    up(&site, &new, "--confirm-upgrade", 0);
    assert_eq!(
        (site.ask_outside().as_str(), site.names().len(), pinned(&site)),
        ("v2", 1, 0)
    );
    all_answered(&mut load);
}
