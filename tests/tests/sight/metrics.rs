//! `/metrics` of a real agent.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use switcher_tests::binaries;
use switcher_tests::lab::{Agent, Lab, run};

use crate::ground::{Ground, Kept, stack};
use crate::manual;
use crate::scrape::{METRICS, Scrape};

/// `web` on v1, with metrics, and requests at both listeners.
pub fn ground() -> Ground {
    let ground = Ground::bare_with(&["--metrics-listen", METRICS]);
    ground.apply(&stack("auto")).expect_code(&[0]).unwrap();
    assert_eq!(ground.answers(), ["v1", "v1"]);
    ground
}

#[test]
fn the_documented_table_is_what_a_scraper_gets() {
    let ground = ground();
    ground.expect("upgrade web --to v2", 0);
    let families = Scrape::take(ground.lab.client()).families();
    let mut documented = BTreeSet::new();
    for row in manual::table("metrics") {
        let [name, kind, labels, meaning] = row[..] else {
            panic!("a row of the metrics table has four cells: {row:?}")
        };
        let name = name.trim_matches('`');
        let family = families
            .get(name)
            .unwrap_or_else(|| panic!("docs/operations.md has {name}, a scraper gets no such family"));
        let labels: BTreeSet<String> = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        assert_eq!((kind, &labels), (family.kind.as_str(), &family.labels), "{name}");
        assert!(meaning.len() > 10, "{name} is explained");
        documented.insert(name.to_owned());
    }
    let served: BTreeSet<String> = families.into_keys().collect();
    assert_eq!(served, documented, "left: served, right: in docs/operations.md");
}

#[test]
fn promtool_finds_nothing_to_say() {
    let ground = ground();
    let page = Scrape::take(ground.lab.client()).text;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool (cargo xtask setup installs it)");
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success() && said.is_empty(), "{said}\n{page}");
}

#[test]
fn scrapers_get_the_format_that_they_ask_for_and_nobody_else_is_served() {
    let ground = ground();
    let url = format!("http://{METRICS}/metrics");
    let curl = |arguments: &[&str]| {
        let mut words = vec!["curl", "-sS", "--max-time", "10", "-i"];
        words.extend(arguments);
        ground
            .lab
            .client()
            .run(&words)
            .unwrap()
            .expect_code(&[0])
            .unwrap()
            .stdout
    };
    let open = curl(&["-H", "Accept: application/openmetrics-text;version=1.0.0", &url]);
    assert!(open.contains("application/openmetrics-text; version=1.0.0"), "{open}");
    assert!(open.ends_with("\n# EOF\n"), "{open}");
    let head = curl(&["--head", &url]);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(curl(&["-X", "POST", &url]).starts_with("HTTP/1.1 405"));
    let api = format!("http://{METRICS}/v1/status");
    assert!(curl(&[&api]).starts_with("HTTP/1.1 404"));
}

#[test]
fn totals_only_rise_and_go_on_under_the_next_agent() {
    let mut ground = ground();
    let mut kept = Kept::open(ground.lab.client(), "198.51.100.10:80");
    let mut last = Scrape::take(ground.lab.client()).counters();
    let opened = "switcher_flows_opened_total{\"alias=\\\"web\\\"\", \"set=\\\"v1\\\"\"}";
    assert!(last.get(opened) >= Some(&3), "{last:?}");
    for step in [
        "ask",
        "upgrade web --to v2 --drain-timeout 0s",
        "ask",
        "kill",
        "ask",
        "rollback web",
        "ask",
    ] {
        match step {
            "ask" => {
                kept.ask();
                ground.answers();
            }
            "kill" => {
                ground.agent.kill().unwrap();
                ground.agent.launch().unwrap();
            }
            line => drop(ground.cli(line)),
        }
        let next = Scrape::take(ground.lab.client()).counters();
        for (series, before) in &last {
            let now = next
                .get(series)
                .unwrap_or_else(|| panic!("{series} is gone after {step}"));
            assert!(now >= before, "{series} fell from {before} to {now} after {step}");
        }
        last = next;
    }
}

#[test]
fn the_time_of_a_switch_outlives_the_agent() {
    let mut ground = ground();
    ground.expect("upgrade web --to v2 --drain-timeout 30s", 0);
    let switched = |ground: &Ground| {
        let scrape = Scrape::take(ground.lab.client());
        let value = scrape.value("switcher_alias_switched_timestamp_seconds", &[("alias", "web")]);
        (value.unwrap(), scrape)
    };
    let (before, scrape) = switched(&ground);
    let at = ground.json("receipt show 2 --json")["flip"]["at"]
        .as_str()
        .unwrap()
        .to_owned();
    let date = Command::new("date").args(["-d", &at, "+%s.%6N"]).output().unwrap();
    let receipts: f64 = String::from_utf8_lossy(&date.stdout).trim().parse().unwrap();
    assert!(
        (before - receipts).abs() < 0.2,
        "{before} is not {receipts}, which receipt 2 has"
    );
    let new_flow = scrape.value(
        "switcher_set_last_new_flow_timestamp_seconds",
        &[("alias", "web"), ("set", "v1")],
    );
    assert!(new_flow.unwrap() < before);
    ground.agent.kill().unwrap();
    ground.agent.launch().unwrap();
    let (after, scrape) = switched(&ground);
    assert!((after - before).abs() < 0.2, "{before} became {after}");
    let flip = scrape.value("switcher_last_flip_timestamp_seconds", &[]).unwrap();
    assert!(flip > after, "the start's own flip is later");
}

#[test]
fn an_address_in_use_ends_the_start_and_changes_nothing() {
    let lab = Lab::new().expect("a lab (root is needed)");
    let first = Agent::start_with(&lab, &["--metrics-listen", METRICS]).unwrap();
    let dir = lab.dir().join("second");
    std::fs::create_dir_all(dir.join("bpffs")).unwrap();
    let mut command = lab.host().command(binaries::switcher().unwrap());
    let path = |name: &str| dir.join(name).display().to_string();
    command.args(["agent", "--interface", "v1", "--metrics-listen", METRICS]);
    command.args([
        "--state-dir",
        &path("state"),
        "--bpffs",
        &path("bpffs"),
        "--socket",
        &path("socket"),
    ]);
    let outcome = run(&mut command, Duration::from_secs(20)).unwrap();
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    let told = outcome.stderr.contains(METRICS) && outcome.stderr.contains("--metrics-listen");
    assert!(told, "{}", outcome.stderr);
    assert_eq!(
        std::fs::read_dir(dir.join("bpffs")).unwrap().count(),
        0,
        "nothing is pinned"
    );
    assert!(!dir.join("socket").exists(), "no socket is left");
    assert!(
        Scrape::take(lab.client()).value("switcher_epoch", &[]).is_some(),
        "the first agent goes on"
    );
    drop(first);
}

#[test]
fn the_newest_receipt_is_told_and_outlives_the_agent() {
    let mut ground = ground();
    let _kept = Kept::open(ground.lab.client(), "198.51.100.10:80");
    ground.expect("upgrade web --to v2 --drain-timeout 300ms", 4);
    let told = |ground: &Ground, action: &str, outcome: &str| {
        let scrape = Scrape::take(ground.lab.client());
        let last = [("alias", "web"), ("action", action), ("outcome", outcome)];
        let of_web = |name: &str| scrape.value(name, &[("alias", "web")]).unwrap();
        assert_eq!(
            scrape.value("switcher_alias_last_change", &last),
            Some(1.0),
            "{}",
            scrape.text
        );
        (
            of_web("switcher_alias_last_receipt"),
            of_web("switcher_alias_last_change_flows_left"),
            of_web("switcher_alias_last_change_duration_seconds"),
        )
    };
    let newest = |ground: &Ground| ground.json("receipt ls --json")["receipts"][0]["id"].as_f64().unwrap();
    let before = told(&ground, "upgrade", "flows_left");
    assert_eq!((before.0, before.1), (newest(&ground), 1.0));
    assert!((0.3..30.0).contains(&before.2), "{before:?}");
    ground.agent.kill().unwrap();
    ground.agent.launch().unwrap();
    assert_eq!(
        told(&ground, "upgrade", "flows_left"),
        before,
        "the next agent reads it from the receipt"
    );
    ground.expect("rollback web", 0);
    assert_eq!(told(&ground, "rollback", "done").0, newest(&ground));
    assert_eq!(newest(&ground), before.0 + 1.0);
}
