//! `switcher status --watch`, on a terminal and off it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use switcher_tests::lab::Process;
use switcher_tests::{binaries, interrupt};

use crate::ground::Ground;

const LIMIT: Duration = Duration::from_secs(30);

/// A watching command; what it writes goes to files.
struct Watch {
    process: Process,
    out: PathBuf,
    err: PathBuf,
}

impl Watch {
    fn start(ground: &Ground, arguments: &[&str]) -> Self {
        let mut command = Command::new(binaries::switcher().unwrap());
        command
            .args(["status", "--watch", "--interval", "200ms"])
            .args(arguments);
        Self::run(ground, &mut command)
    }

    /// The same on a terminal of its own, of 100 columns and 30 rows.
    fn start_on_terminal(ground: &Ground) -> Self {
        let binary = binaries::switcher().unwrap();
        let line = format!(
            "stty cols 100 rows 30; exec {} status --watch --interval 200ms",
            binary.display()
        );
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        Self::run(ground, &mut command)
    }

    /// A second one beside another.
    fn run_to(ground: &Ground, name: &str) -> Self {
        let mut command = Command::new(binaries::switcher().unwrap());
        command.args(["status", "--watch", "--interval", "200ms"]);
        Self::run_as(ground, &mut command, name)
    }

    fn run(ground: &Ground, command: &mut Command) -> Self {
        Self::run_as(ground, command, "watch")
    }

    fn run_as(ground: &Ground, command: &mut Command, name: &str) -> Self {
        let file = |end: &str| ground.lab.dir().join(format!("{name}.{end}"));
        let (out, err) = (file("out"), file("err"));
        let host = format!("unix://{}", ground.agent.socket().display());
        command.env("SWITCHER_HOST", host).env("TERM", "xterm");
        command.stdin(Stdio::null());
        command
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap());
        let process = Process::spawn("the watching command", command, Signal::SIGKILL).unwrap();
        Self { process, out, err }
    }

    fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    fn wait_for(&self, what: &str, mut seen: impl FnMut(&str) -> bool) {
        interrupt::wait_for(what, LIMIT, || Ok(seen(&self.out()))).unwrap();
    }

    /// Its exit code, which it has to have by itself.
    fn code(&mut self) -> i32 {
        interrupt::wait_for("the watch ends", LIMIT, || Ok(self.process.ended()?.is_some())).unwrap();
        self.process.ended().unwrap().unwrap().code().unwrap()
    }
}

#[test]
fn off_a_terminal_it_is_lines_and_ctrl_c_ends_it_well() {
    let ground = Ground::new("auto");
    let mut watch = Watch::start(&ground, &["web"]);
    watch.wait_for("a line of each set", |out| {
        out.contains(" web/v1 weight 100 ") && out.contains(" web/v2 weight 0 ")
    });
    ground.expect("upgrade web --to v2", 0);
    watch.wait_for("the switch", |out| out.contains(" web/v2 weight 100 share 100.0% "));
    watch.process.signal(Signal::SIGINT).unwrap();
    assert_eq!(watch.code(), 0, "{}", fs::read_to_string(&watch.err).unwrap());
    assert!(!watch.out().contains('\x1b'), "no codes of a terminal: {}", watch.out());
}

#[test]
fn with_json_it_is_a_document_a_line_and_the_end_of_the_agent_is_told() {
    let mut ground = Ground::new("auto");
    let mut watch = Watch::start(&ground, &["--json"]);
    watch.wait_for("some documents", |out| out.lines().count() >= 3);
    ground.agent.stop().unwrap();
    assert_eq!(watch.code(), 5);
    let out = watch.out();
    let documents: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (end, looks) = documents.split_last().unwrap();
    assert!(looks.len() >= 3 && looks.iter().all(|look| look["schema"] == 1 && look["epoch"].is_u64()));
    assert_eq!(end["code"], "no_agent", "{end}");
    let said = fs::read_to_string(&watch.err).unwrap();
    assert!(said.contains("the agent has ended"), "{said}");
}

#[test]
fn a_killed_agent_is_told_too() {
    let mut ground = Ground::new("auto");
    let mut watch = Watch::start(&ground, &[]);
    watch.wait_for("a look", |out| out.contains("web/v1"));
    ground.agent.kill().unwrap();
    assert_eq!(watch.code(), 5);
}

#[test]
fn without_an_agent_it_does_not_begin() {
    let mut ground = Ground::new("auto");
    ground.agent.stop().unwrap();
    let mut watch = Watch::start(&ground, &[]);
    assert_eq!(watch.code(), 5);
    let said = fs::read_to_string(&watch.err).unwrap();
    assert!(said.contains("no agent answers"), "{said}");
}

#[test]
fn an_alias_that_is_not_there_ends_it() {
    let ground = Ground::new("auto");
    let mut watch = Watch::start(&ground, &["shop"]);
    assert_eq!(watch.code(), 1);
}

#[test]
fn on_a_terminal_each_page_takes_the_place_of_the_last() {
    let ground = Ground::new("auto");
    let watch = Watch::start_on_terminal(&ground);
    let pages = |out: &str| out.matches("\x1b[H").count();
    watch.wait_for("three pages", |out| pages(out) >= 3);
    let out = watch.out();
    let page = out.split("\x1b[H").nth(1).unwrap();
    assert!(
        page.contains("agent ") && page.contains("v1") && page.contains("\x1b[K"),
        "{page:?}"
    );
    assert!(page.lines().count() <= 30, "it never scrolls: {page:?}");
    for line in page.replace("\x1b[K", "").replace("\x1b[J", "").lines() {
        assert!(line.trim_end().chars().count() <= 100, "{line:?}");
    }
}

/// What the command that waits draws is on the page too, and a line of it in a log.
#[test]
fn an_upgrade_is_shown_as_the_command_that_waits_shows_it() {
    let ground = Ground::new("auto");
    let page = Watch::start_on_terminal(&ground);
    let line = "upgrade web --to v2 --steps 30,100 --interval 3s --drain-timeout 3s";
    ground.expect(&format!("{line} --detach"), 0);
    let mut log = Watch::run_to(&ground, "log");
    for text in [
        "step 1 of 2  [",
        "web/v2       [========>",
        "30 %  ",
        "70 %  ",
        " refused, ",
    ] {
        page.wait_for(text, |out| out.contains(text));
    }
    log.wait_for("a line of the step", |out| {
        out.contains(" web: step 1 of 2: 30 % (epoch ")
    });
    page.wait_for("the next step", |out| out.contains("step 2 of 2  ["));
    ground.expect(line, 0);
    page.wait_for("the end", |out| {
        let last = out.rsplit("\x1b[H").next().unwrap();
        last.contains("web ") && !last.contains("running:") && !last.contains("step ")
    });
    log.process.signal(Signal::SIGINT).unwrap();
    assert_eq!(log.code(), 0);
}

#[test]
fn a_reader_that_goes_ends_it() {
    let ground = Ground::new("auto");
    let binary = binaries::switcher().unwrap();
    let line = format!("{} status --watch --interval 100ms | head -1", binary.display());
    let mut command = Command::new("timeout");
    command.args(["20", "bash", "-c", &format!("set -o pipefail; {line}")]);
    let mut watch = Watch::run(&ground, &mut command);
    assert_eq!(watch.code(), 0);
    assert_eq!(watch.out().lines().count(), 1);
}
