//! The systemd unit and the alert rules of docs/operations.md.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use switcher_tests::lab::{Lab, Outcome, Process, run};
use switcher_tests::{binaries, interrupt};

use crate::manual;
use crate::scrape::METRICS;

const LIMIT: Duration = Duration::from_secs(60);
/// Where the unit says that the program is.
const PROGRAM: &str = "/usr/local/bin/switcher";

/// The value of a line `NAME=VALUE` of the unit.
fn setting(name: &str) -> &'static str {
    let line = manual::block("unit")
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name}=")));
    line.unwrap_or_else(|| panic!("the unit has no {name}"))
}

fn command(words: &[&str]) -> Outcome {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    run(&mut command, LIMIT).unwrap()
}

#[test]
fn systemd_accepts_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let binary = binaries::switcher().unwrap();
    let unit = manual::block("unit");
    assert!(unit.contains(PROGRAM));
    let file = folder.path().join("switcher.service").display().to_string();
    // systemd looks whether the program is there.
    fs::write(&file, unit.replace(PROGRAM, &binary.display().to_string())).unwrap();
    let verified = command(&["systemd-analyze", "verify", "--man=no", &file]);
    let ours = |text: &str| text.lines().filter(|line| line.contains("switcher")).count();
    assert_eq!(
        (verified.code, ours(&verified.stderr)),
        (0, 0),
        "{}{}",
        verified.stdout,
        verified.stderr
    );
    // That this would be seen.
    fs::write(&file, format!("{unit}\nRestart=perhaps\n")).unwrap();
    let verified = command(&["systemd-analyze", "verify", "--man=no", &file]);
    assert!(ours(&verified.stderr) > 0, "{}{}", verified.stdout, verified.stderr);
}

/// The agent, with what the unit leaves of root's rights, brings an alias up and gives it away. It takes the port of names at an
/// address that is not there yet.
#[test]
fn the_units_capabilities_are_enough() {
    let lab = Lab::new().expect("a lab (root is needed)");
    let names = setting("CapabilityBoundingSet").split_whitespace();
    let kept: Vec<String> = names
        .map(|name| name.trim_start_matches("CAP_").to_lowercase())
        .collect();
    assert!(
        !kept.contains(&"sys_admin".to_owned()),
        "least of all the one that can do everything"
    );
    let set = format!("-all,+{}", kept.join(",+"));
    let dir = lab.dir().display().to_string();
    let arguments = setting("ExecStart").strip_prefix(&format!("{PROGRAM} agent")).unwrap();
    let arguments = arguments.replace("127.0.0.1:9740", METRICS);
    let binary = binaries::switcher().unwrap().display().to_string();
    // systemd mounts bpffs at its place.
    let script = format!(
        "mkdir {dir}/bpffs; mount -t bpf bpf {dir}/bpffs; \
         exec setpriv --no-new-privs --bounding-set={set} --inh-caps={set} -- {binary} agent {arguments} \
         --interface client --dns 172.17.0.1:53 --bpffs {dir}/bpffs --state-dir {dir}/state --socket {dir}/switcher.sock"
    );
    let mut agent = lab.host().server("sh");
    let log = fs::File::create(lab.dir().join("agent.log")).unwrap();
    agent
        .args(["-ec", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    let mut agent = Process::spawn("the agent", &mut agent, Signal::SIGTERM).unwrap();
    let socket = lab.dir().join("switcher.sock");
    interrupt::wait_for("the agent's socket answers", LIMIT, || {
        assert!(agent.ended()?.is_none(), "the agent ended at its start");
        Ok(std::os::unix::net::UnixStream::connect(&socket).is_ok())
    })
    .unwrap();
    let cli = |words: &[&str]| {
        let mut command = Command::new(&binary);
        command
            .env("SWITCHER_HOST", format!("unix://{}", socket.display()))
            .args(words);
        run(&mut command, LIMIT).unwrap().expect_code(&[0]).unwrap()
    };
    cli(&["alias", "put", "web", "--listen", "198.51.100.10:80/tcp"]);
    cli(&["set", "put", "web", "v1", "--backend", "10.1.0.2:8080"]);
    cli(&["split", "web", "v1=1"]);
    assert!(cli(&["status"]).stdout.contains("client (edge)"));
    assert!(cli(&["detach"]).stdout.contains("link"));
}

#[test]
fn promtool_accepts_the_alerts_and_each_names_metrics_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml").display().to_string();
    let alerts = manual::block("alerts");
    fs::write(&file, alerts).unwrap();
    let checked = command(&["promtool", "check", "rules", &file]);
    assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);
    let documented: BTreeSet<&str> = manual::table("metrics")
        .iter()
        .map(|row| row[0].trim_matches('`'))
        .collect();
    let words = alerts.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: BTreeSet<&str> = words.filter(|word| word.starts_with("switcher_")).collect();
    assert!(named.len() >= 5, "{named:?}");
    assert!(named.is_subset(&documented), "{named:?}");
}
