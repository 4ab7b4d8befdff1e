//! The agent on the lab's host, and the command line that talks to it.

use std::fs::{self, OpenOptions};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::process::{Outcome, Process, guarded, run, tail};
use super::{Lab, Namespace};
use crate::{binaries, interrupt};

const START_LIMIT: Duration = Duration::from_secs(20);
const CLI_LIMIT: Duration = Duration::from_secs(330);
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A `switcher agent` in the lab's host namespace. Dropping it stops the agent, not what it pinned.
#[derive(Debug)]
pub struct Agent {
    binary: PathBuf,
    host: Namespace,
    dir: PathBuf,
    cgroup: PathBuf,
    arguments: Vec<String>,
    process: Option<Process>,
}

impl Agent {
    /// Starts the agent and returns once its socket answers.
    ///
    /// # Errors
    /// If it cannot be started or does not answer in time.
    pub fn start(lab: &Lab) -> Result<Self> {
        Self::start_with(lab, &[])
    }

    /// Starts the agent with more arguments.
    ///
    /// # Errors
    /// If it cannot be started or does not answer in time.
    pub fn start_with(lab: &Lab, arguments: &[&str]) -> Result<Self> {
        let mut agent = Self {
            binary: binaries::switcher()?,
            host: lab.host().clone(),
            dir: lab.dir().to_path_buf(),
            cgroup: lab.cgroup().path().to_path_buf(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            process: None,
        };
        for folder in ["state", "bpffs"] {
            fs::create_dir_all(agent.dir.join(folder))?;
        }
        agent.launch()?;
        Ok(agent)
    }

    /// Starts it again after [`Agent::kill`] or [`Agent::stop`], over the same state and pins.
    ///
    /// # Errors
    /// If it still runs, cannot be started or does not answer in time.
    pub fn launch(&mut self) -> Result<()> {
        if self.process.is_some() {
            bail!("the agent runs already");
        }
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = self.host.server(&self.binary);
        command.arg("agent").arg("--state-dir").arg(self.dir.join("state"));
        command
            .arg("--bpffs")
            .arg(self.dir.join("bpffs"))
            .arg("--socket")
            .arg(self.socket());
        command.args(["--interface", "client"]);
        // Never the machine's own cgroup.
        if !self.arguments.iter().any(|argument| argument == "--cgroup") {
            command.arg("--cgroup").arg(&self.cgroup);
        }
        command.args(&self.arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut process = Process::spawn("the agent", &mut command, Signal::SIGTERM)?;
        interrupt::wait_for("the agent's socket answers", START_LIMIT, || {
            if let Some(status) = process.ended()? {
                bail!(
                    "the agent ended at its start ({status}); its log ends:\n{}",
                    tail(&self.log())
                );
            }
            Ok(UnixStream::connect(self.socket()).is_ok())
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// The same, with other arguments than before.
    ///
    /// # Errors
    /// As for [`Agent::launch`].
    pub fn launch_with(&mut self, arguments: &[&str]) -> Result<()> {
        self.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self.launch()
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("switcher.sock")
    }

    /// Where its log goes.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("agent.log")
    }

    /// Its process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.process.as_ref().map(Process::pid)
    }

    /// `switcher WORDS`, to its end; the exit code is not judged. The command runs in our own network namespace: only the
    /// socket's path leads to the agent.
    ///
    /// # Errors
    /// If it cannot be started or does not end.
    pub fn cli<S: AsRef<str>>(&self, words: &[S]) -> Result<Outcome> {
        cli(&self.binary, &self.socket(), words)
    }

    /// Stops it as `systemctl stop` would.
    ///
    /// # Errors
    /// If it does not end.
    pub fn stop(&mut self) -> Result<Option<ExitStatus>> {
        match self.process.take() {
            Some(mut process) => process.stop_with(Signal::SIGTERM, STOP_LIMIT).map(Some),
            None => Ok(None),
        }
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// If it does not end.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.stop_with(Signal::SIGKILL, STOP_LIMIT)?;
        }
        Ok(())
    }

    /// Lets it run on after this value is gone.
    pub fn leave(&mut self) {
        if let Some(process) = &mut self.process {
            process.leave();
        }
    }
}

fn cli<S: AsRef<str>>(binary: &Path, socket: &Path, words: &[S]) -> Result<Outcome> {
    let mut command = guarded(binary, Signal::SIGKILL);
    command.env("SWITCHER_HOST", format!("unix://{}", socket.display()));
    command.args(words.iter().map(AsRef::as_ref));
    run(&mut command, CLI_LIMIT)
}
