//! One network namespace by its name under `/run/netns`.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;

use super::process::{Outcome, guarded, run};

/// How long an everyday command may take.
const RUN_LIMIT: Duration = Duration::from_secs(60);

/// A network namespace that the lab made.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    /// Commands outlive their parent: a lab that is kept.
    keep: bool,
}

impl Namespace {
    pub(super) fn new(name: String, keep: bool) -> Self {
        Self { name, keep }
    }

    /// Its name, as `ip netns` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command inside it that ends with us. `nsenter`, because `ip netns exec` remounts /sys and hides the bpffs.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        inside(guarded("nsenter", Signal::SIGKILL), &self.name, program.as_ref())
    }

    /// A server inside it: it gets SIGTERM when we die, so that it can end its own children; it stays if the lab is kept.
    #[must_use]
    pub fn server(&self, program: impl AsRef<Path>) -> Command {
        let nsenter = if self.keep {
            Command::new("nsenter")
        } else {
            guarded("nsenter", Signal::SIGTERM)
        };
        inside(nsenter, &self.name, program.as_ref())
    }

    /// Runs a command inside it to its end, at most a minute; the exit code is not judged.
    ///
    /// # Errors
    /// If it cannot be started or does not end in time.
    pub fn run<S: AsRef<str>>(&self, words: &[S]) -> Result<Outcome> {
        let (program, arguments) = words.split_first().expect("a command has a program");
        let mut command = self.command(program.as_ref());
        command.args(arguments.iter().map(AsRef::as_ref));
        run(&mut command, RUN_LIMIT)
    }

    /// Does the work inside it, on a thread of its own: sockets that the work opens belong to it.
    ///
    /// # Errors
    /// If the namespace is gone; if it cannot be entered, the work is not done and the thread's result says so.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let path = format!("/run/netns/{}", self.name);
        let namespace = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        Ok(thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {path}"))?;
            work()
        }))
    }
}

pub(super) fn inside(mut nsenter: Command, namespace: &str, program: &Path) -> Command {
    nsenter
        .arg(format!("--net=/run/netns/{namespace}"))
        .arg("--")
        .arg(program);
    nsenter
}
