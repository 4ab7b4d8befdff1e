//! A local client that a test leads by the hand; see [`crate::talk`].

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::{Cgroup, Namespace, Process};
use crate::binaries;

/// A process in a cgroup and a namespace. Dropping it ends it.
#[derive(Debug)]
pub struct Talker {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    process: Process,
}

impl Talker {
    /// Starts it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(cgroup: &Cgroup, space: &Namespace) -> Result<Self> {
        Self::start_by(cgroup.command(space, binaries::switcher_lab()?))
    }

    /// Starts it by a command of the lab's binary, wherever that is run.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_by(mut command: Command) -> Result<Self> {
        command.arg("talk").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn("a local client", &mut command, Signal::SIGTERM)?;
        let input = process.child().stdin.take().context("it has no stdin")?;
        let output = process.child().stdout.take().context("it has no stdout")?;
        Ok(Self {
            input,
            output: BufReader::new(output),
            process,
        })
    }

    /// Does a step; what it answered without the `ok`, or the reason why not.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn try_step(&mut self, line: &str) -> Result<Result<String, String>> {
        writeln!(self.input, "{line}")?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        let (word, rest) = answer.trim_end().split_once(' ').unwrap_or((answer.trim_end(), ""));
        match word {
            "ok" => Ok(Ok(rest.to_owned())),
            "error" => Ok(Err(rest.to_owned())),
            _ => anyhow::bail!("the local client ended at {line:?}"),
        }
    }

    /// Does a step that has to succeed.
    ///
    /// # Errors
    /// If it does not.
    pub fn step(&mut self, line: &str) -> Result<String> {
        self.try_step(line)?.map_err(|why| anyhow::anyhow!("{line}: {why}"))
    }

    /// Ends it at once, with all its sockets.
    ///
    /// # Errors
    /// If it does not end.
    pub fn kill(&mut self) -> Result<()> {
        self.process
            .stop_with(Signal::SIGKILL, std::time::Duration::from_secs(5))
            .map(drop)
    }
}
