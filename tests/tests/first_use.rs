//! The README, taken at its word: its commands run as written, on a namespace that stands for a host of its own.
//!
//! Needs root; fails without it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use switcher_tests::lab::{Lab, Nginx, Outcome, Process, run};
use switcher_tests::{binaries, interrupt};

const README: &str = include_str!("../../README.md");
const LIMIT: Duration = Duration::from_secs(60);
/// What the agent uses by default, and what must stay the machine's own.
const SOCKET: &str = "/run/switcher/switcher.sock";
const STATE: &str = "/var/lib/switcher";

/// The code below `<!-- test: NAME -->`.
fn block(name: &str) -> &'static str {
    let mark = format!("<!-- test: {name} -->\n```");
    let (_, after) = README
        .split_once(&mark)
        .unwrap_or_else(|| panic!("README.md has no block {name}"));
    let (_, code) = after.split_once('\n').unwrap();
    code.split_once("\n```").expect("the block ends").0
}

/// The commands of a block: each begins a line, and may go on over more.
fn commands(name: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    for line in block(name).lines() {
        match commands.last_mut() {
            _ if line.starts_with("switcher ") => commands.push(format!("{line}\n")),
            Some(command) => *command += &format!("{line}\n"),
            None => panic!("README.md, block {name}: {line:?} belongs to no command"),
        }
    }
    commands
}

/// A host with a default route, and with /run, /var/lib and /sys/fs/bpf of its own. Fields are dropped in this order:
/// with the last process goes the mount namespace, and with it every pin.
struct Host {
    agent: Option<Process>,
    mounts: Process,
    _v1: Nginx,
    _v2: Nginx,
    lab: Lab,
}

impl Host {
    fn new() -> Self {
        let lab = Lab::new().expect("a lab (root is needed)");
        let route = ["ip", "route", "add", "default", "via", "10.0.0.2"];
        lab.host().run(&route).unwrap().expect_code(&[0]).unwrap();
        let v1 = Nginx::start(&lab, lab.v1(), "v1").unwrap();
        let v2 = Nginx::start(&lab, lab.v2(), "v2").unwrap();
        let bin = lab.dir().join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(binaries::switcher().unwrap(), bin.join("switcher")).unwrap();
        let mounts = mounts(&lab);
        Self {
            agent: None,
            mounts,
            _v1: v1,
            _v2: v2,
            lab,
        }
    }

    /// A shell on the host.
    fn shell(&self, script: &str) -> Command {
        let mut command = self.lab.host().command("nsenter");
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.mounts.pid()))
            .args(["--", "sh", "-c", script]);
        let bin = self.lab.dir().join("bin");
        command
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display()))
            .env_remove("SWITCHER_HOST");
        command
    }

    fn start_agent(&mut self, line: &str) {
        let log = self.lab.dir().join("agent.log");
        let mut command = self.shell(&format!("exec {line}"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap());
        let mut agent = Process::spawn("the agent", &mut command, Signal::SIGTERM).unwrap();
        let socket = PathBuf::from(format!("/proc/{}/root{SOCKET}", self.mounts.pid()));
        let answers = interrupt::wait_for("the agent's socket answers", LIMIT, || {
            assert!(agent.ended()?.is_none(), "{line}: {}", std::fs::read_to_string(&log)?);
            Ok(UnixStream::connect(&socket).is_ok())
        });
        answers.unwrap();
        self.agent = Some(agent);
        // The socket is there before the programs are; the first answer comes after.
        self.run("switcher status");
    }

    /// A command of the README, which has to exit with 0.
    fn run(&self, script: &str) -> Outcome {
        run(&mut self.shell(script.trim_end()), LIMIT)
            .unwrap()
            .expect_code(&[0])
            .unwrap()
    }

    /// What a client gets.
    fn curl(&self) -> Outcome {
        self.lab
            .client()
            .run(&["curl", "-sS", "--max-time", "2", "http://198.51.100.10/"])
            .unwrap()
    }

    /// The same on the host itself.
    fn curl_on_the_host(&self) -> Outcome {
        let mut command = self.lab.cgroup().command(self.lab.host(), "curl");
        command.args(["-sS", "--max-time", "2", "http://198.51.100.10/"]);
        run(&mut command, LIMIT).unwrap()
    }

    fn assert_served_by(&self, version: &str) {
        for number in 0..20 {
            let answer = if number % 4 == 0 {
                self.curl_on_the_host()
            } else {
                self.curl()
            };
            assert_eq!(answer.expect_code(&[0]).unwrap().stdout.trim(), version);
        }
    }

    /// Runs commands in order; `v1` has to serve before the one that upgrades, and `v2` after all.
    fn upgrade_by(&self, commands: &[String]) {
        assert_ne!(self.curl().code, 0, "something answers before anything was switched");
        let upgrades = |command: &String| command.starts_with("switcher upgrade ");
        assert_eq!(commands.iter().filter(|command| upgrades(command)).count(), 1);
        for command in commands {
            if upgrades(command) {
                self.assert_served_by("v1");
            }
            self.run(command);
        }
        self.assert_served_by("v2");
    }
}

/// A process whose mount namespace hides the machine's folders. It ends by itself, should nobody end it.
fn mounts(lab: &Lab) -> Process {
    let ready = lab.dir().join("mounted");
    // In a cgroup namespace the lab's cgroup is the root: the agent serves the processes in it, and not the machine's.
    let script = format!(
        "mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/lib; mount -t bpf bpf /sys/fs/bpf; \
         umount --recursive --lazy /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; \
         : > {}; exec sleep 600",
        ready.display()
    );
    let mut command = lab.cgroup().command(lab.host(), "unshare");
    command
        .args([
            "--mount",
            "--cgroup",
            "--propagation",
            "private",
            "--",
            "sh",
            "-ec",
            &script,
        ])
        .stdin(Stdio::null());
    let mut process = Process::spawn("the host's mounts", &mut command, Signal::SIGTERM).unwrap();
    let mounted = interrupt::wait_for("the host's folders are mounted", LIMIT, || {
        assert!(process.ended()?.is_none(), "the host's folders could not be mounted");
        Ok(ready.exists())
    });
    mounted.unwrap();
    process
}

/// What the machine itself has at the default places.
fn machine() -> [bool; 3] {
    [SOCKET, STATE, "/sys/fs/bpf/switcher"].map(|path| std::fs::exists(path).unwrap())
}

#[test]
fn five_commands_bring_v1_up_and_switch_to_v2() {
    let before = machine();
    let commands = commands("first-use");
    assert_eq!(commands.len(), 5, "{commands:?}");
    let mut host = Host::new();
    let (agent, rest) = commands.split_first().unwrap();
    host.start_agent(agent.trim());
    host.upgrade_by(rest);
    // As the text below the block says.
    host.run("switcher rollback web");
    host.assert_served_by("v1");
    host.run("switcher detach");
    // The kernel lets go of a link some milliseconds after its pin.
    interrupt::wait_for("nothing is switched after detach", LIMIT, || Ok(host.curl().code != 0)).unwrap();
    let mut ended = host.agent.take().unwrap();
    interrupt::wait_for("the agent ends by itself", LIMIT, || Ok(ended.ended()?.is_some())).unwrap();
    assert!(ended.ended().unwrap().unwrap().success(), "the agent ends well");
    host.start_agent(agent.trim());
    host.assert_served_by("v1");
    assert!(
        host.agent.take().unwrap().stop().unwrap().success(),
        "Ctrl-C or SIGTERM is a good end"
    );
    host.assert_served_by("v1");
    assert_eq!(machine(), before, "the machine's own folders are not touched");
}

#[test]
fn the_same_without_a_file() {
    let mut host = Host::new();
    host.start_agent(commands("first-use")[0].trim());
    host.upgrade_by(&commands("by-hand"));
}

#[test]
fn the_stack_file_is_one() {
    let parsed = switcher_user::config::parse(block("stack-file"), "README.md").unwrap();
    assert_eq!(parsed.spec.aliases.len(), 1);
}

#[test]
fn the_table_of_exit_codes_is_that_of_the_command() {
    let help = run(Command::new(binaries::switcher().unwrap()).arg("--help"), LIMIT)
        .unwrap()
        .stdout;
    let (_, codes) = help.split_once("Exit codes:\n").expect("--help lists the exit codes");
    let told: Vec<String> = codes
        .lines()
        .filter_map(|line| line.trim().split_once("  "))
        .map(|(code, meaning)| format!("| {code} | {meaning} |"))
        .collect();
    assert_eq!(told.len(), 8, "{told:?}");
    let table = README
        .lines()
        .filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit());
    let table: Vec<&str> = table.collect();
    assert_eq!(table.len(), told.len(), "{table:?}");
    for (row, told) in table.iter().zip(&told) {
        assert!(
            row.starts_with(told),
            "README.md says {row:?}, the command says {told:?}"
        );
    }
}
