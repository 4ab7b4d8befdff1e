//! `switcher doctor`, on hosts that are sound and on hosts that are broken on purpose.

use std::time::Duration;

use serde_json::Value;
use switcher_tests::binaries;
use switcher_tests::lab::{Lab, Outcome, run};

use crate::ground::Ground;

const LIMIT: Duration = Duration::from_secs(30);

/// The doctor's word on the lab's host, after a script that breaks something; its mounts are its own.
struct Visit {
    outcome: Outcome,
    document: Value,
}

impl Visit {
    fn new(lab: &Lab, script: &str) -> Self {
        Self::with(lab, script, "")
    }

    /// With a command in front of `switcher`.
    fn with(lab: &Lab, script: &str, front: &str) -> Self {
        let dir = lab.dir().display();
        let binary = binaries::switcher().unwrap();
        let words = format!(
            "{script}\nSWITCHER_HOST=unix://{dir}/switcher.sock exec {front} {} doctor --json --interface client --bpffs {dir}/bpffs --state-dir {dir}/state",
            binary.display()
        );
        let mut command = lab.host().command("unshare");
        command.args(["--mount", "--propagation", "private", "--", "sh", "-ec", &words]);
        let outcome = run(&mut command, LIMIT).unwrap();
        let document = serde_json::from_str(&outcome.stdout)
            .unwrap_or_else(|error| panic!("{error}: {} {}", outcome.stdout, outcome.stderr));
        Self { outcome, document }
    }

    fn finding(&self, check: &str) -> &Value {
        let findings = self.document["findings"].as_array().unwrap();
        findings
            .iter()
            .find(|finding| finding["check"] == check)
            .unwrap_or_else(|| panic!("no finding {check}: {}", self.document))
    }

    fn level(&self, check: &str) -> &str {
        self.finding(check)["level"].as_str().unwrap()
    }

    /// Exit code, and the checks that are not ok.
    fn assert(&self, code: i32, not_ok: &[&str]) {
        let findings = self.document["findings"].as_array().unwrap();
        let bad = findings.iter().filter(|finding| finding["level"] != "ok");
        let mut bad: Vec<&str> = bad.map(|finding| finding["check"].as_str().unwrap()).collect();
        bad.dedup();
        assert_eq!(bad, not_ok, "{:#}", self.document);
        assert_eq!(self.outcome.code, code, "{}", self.outcome.stdout);
        assert_eq!(self.document["usable"], code == 0);
        assert_eq!(self.document["schema"], 1);
        for finding in findings.iter().filter(|finding| finding["level"] == "missing") {
            assert!(finding["remedy"].is_string(), "what is missing has a remedy: {finding}");
        }
    }
}

fn lab() -> Lab {
    Lab::new().expect("a lab (root is needed)")
}

/// What the namespace looks like, to see that a visit leaves no trace.
fn look(lab: &Lab) -> String {
    let script = "sysctl -n net.ipv4.ip_forward; ip -o link; ip -o address; ip route; nft list ruleset; \
                  tc filter show dev client ingress; ls -R $0";
    let dir = lab.dir().display().to_string();
    lab.host().run(&["sh", "-c", script, &dir]).unwrap().stdout
}

#[test]
fn a_sound_host_is_usable_and_stays_as_it_was() {
    let lab = lab();
    let before = look(&lab);
    let visit = Visit::new(&lab, "");
    visit.assert(0, &[]);
    assert!(
        visit.finding("interface-client")["what"]
            .as_str()
            .unwrap()
            .contains("(veth): up, hook tc; its driver runs XDP")
    );
    let changes = |check: &str| visit.finding(check)["agent"].as_str().unwrap_or("nothing").to_owned();
    assert!(
        changes("edge").contains("attaches programs to client"),
        "{}",
        changes("edge")
    );
    assert!(changes("bpffs").contains("mounts bpffs"), "{}", changes("bpffs"));
    assert!(changes("state-dir").contains("makes"), "{}", changes("state-dir"));
    assert_eq!(changes("forwarding-ipv4"), "nothing");
    let limits = visit.document["limits"].as_array().unwrap();
    assert!(
        limits
            .iter()
            .any(|limit| limit["what"] == "backends of a set" && limit["most"] == 1_024)
    );
    assert_eq!(look(&lab), before);
}

#[test]
fn forwarding_that_is_off_is_missing() {
    let lab = lab();
    let off = "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0";
    let visit = Visit::new(&lab, off);
    visit.assert(1, &["forwarding-ipv4", "forwarding-ipv6"]);
    let remedy = visit.finding("forwarding-ipv4")["remedy"].as_str().unwrap();
    assert!(remedy.contains("net.ipv4.ip_forward=1"), "{remedy}");
    // One family is enough to be of use.
    let visit = Visit::new(&lab, "sysctl -qw net.ipv4.ip_forward=1");
    visit.assert(0, &["forwarding-ipv6"]);
    assert_eq!(visit.level("forwarding-ipv6"), "warning");
}

#[test]
fn bpffs_that_is_not_there_is_mounted_by_the_agent_or_missing() {
    let lab = lab();
    let visit = Visit::new(&lab, "");
    assert_eq!(visit.level("bpffs"), "ok");
    let weak = "setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin --";
    let visit = Visit::with(&lab, "", weak);
    visit.assert(1, &["bpffs"]);
    let mounted = format!("mkdir {0}/bpffs; mount -t bpf bpf {0}/bpffs", lab.dir().display());
    let visit = Visit::with(&lab, &mounted, weak);
    visit.assert(0, &[]);
    assert!(visit.finding("bpffs")["agent"].is_null());
}

#[test]
fn a_process_without_rights_is_told_which_ones() {
    let lab = lab();
    let visit = Visit::with(&lab, "", "setpriv --bounding-set=-all --inh-caps=-all --");
    assert_eq!(visit.outcome.code, 1);
    assert_eq!(visit.level("capabilities"), "missing");
    let what = visit.finding("capabilities")["what"].as_str().unwrap();
    for name in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] {
        assert!(what.contains(name), "{what}");
    }
    // What it cannot ask for is not told as there.
    for check in ["tc", "redirect-peer", "firewall"] {
        assert_eq!(visit.level(check), "warning", "{check}: {}", visit.document);
    }
}

#[test]
fn firewall_rules_and_strict_filters_are_named() {
    let lab = lab();
    let script = "nft add table inet shop; \
                  nft 'add chain inet shop forward { type filter hook forward priority 0; }'; \
                  nft add rule inet shop forward tcp dport 22 drop; \
                  sysctl -qw net.ipv4.conf.client.rp_filter=1; sysctl -qw net.ipv4.conf.v1.accept_local=1";
    let visit = Visit::new(&lab, script);
    visit.assert(0, &["rp_filter", "firewall"]);
    let what = visit.finding("firewall")["what"].as_str().unwrap();
    assert!(what.contains("table inet shop, chain forward has 1 rule"), "{what}");
    assert!(
        visit.finding("rp_filter")["what"]
            .as_str()
            .unwrap()
            .contains("on client:")
    );
    assert!(
        visit.finding("accept_local")["what"]
            .as_str()
            .unwrap()
            .contains("on for 1 of")
    );
}

#[test]
fn a_state_directory_that_cannot_be_written_to_is_missing() {
    let lab = lab();
    let script = format!("touch {}/state", lab.dir().display());
    Visit::new(&lab, &script).assert(1, &["state-dir"]);
}

#[test]
fn interfaces_are_judged_by_what_can_be_attached_to_them() {
    let lab = lab();
    let binary = binaries::switcher().unwrap();
    let doctor = |arguments: &[&str]| {
        let mut command = lab.host().command(&binary);
        command
            .env("SWITCHER_HOST", "unix:///nowhere")
            .arg("doctor")
            .args(arguments);
        run(&mut command, LIMIT).unwrap()
    };
    let absent = doctor(&["--interface", "eth9"]);
    assert_eq!(absent.code, 1, "{}", absent.stdout);
    assert!(
        absent.stdout.contains("missing  there is no interface 'eth9'"),
        "{}",
        absent.stdout
    );
    // The lab's host has no default route.
    let unnamed = doctor(&[]);
    assert!(
        unnamed.stdout.contains("warning  there is no default route"),
        "{}",
        unnamed.stdout
    );
    assert!(unnamed.stdout.contains("--interface IF"), "{}", unnamed.stdout);
    lab.host()
        .run(&["ip", "tuntap", "add", "tun9", "mode", "tun"])
        .unwrap()
        .expect_code(&[0])
        .unwrap();
    let tun = doctor(&["--interface", "tun9"]);
    assert_eq!(tun.code, 1, "{}", tun.stdout);
    assert!(tun.stdout.contains("tun9 (tun): no hook"), "{}", tun.stdout);
}

#[test]
fn a_running_agent_is_seen_and_so_is_what_a_dead_one_left() {
    let mut ground = Ground::new("auto");
    let visit = Visit::new(&ground.lab, "");
    visit.assert(0, &[]);
    let what = visit.finding("agent")["what"].as_str().unwrap();
    let pid = ground.agent.pid().unwrap();
    assert!(what.contains(&format!("runs (pid {pid})")), "{what}");
    ground.agent.kill().unwrap();
    let visit = Visit::new(&ground.lab, "");
    visit.assert(0, &["agent"]);
    let what = visit.finding("agent")["what"].as_str().unwrap();
    assert!(what.contains("no agent runs; the kernel goes on"), "{what}");
}
