//! Children: each is ended by its own process id, and none outlives a killed parent.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{clock, interrupt};

/// How long a child may take to end once asked, before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A command that the kernel ends with `death` when the thread that starts it dies, however it dies. (`setpriv` sets the
/// parent-death signal and becomes the program, so the child's id is the program's.)
#[must_use]
pub fn guarded(program: impl AsRef<Path>, death: Signal) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig").arg(death.as_str().trim_start_matches("SIG"));
    command.arg("--").arg(program.as_ref());
    command
}

/// A child that is stopped when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stop_signal: Signal,
    left: bool,
}

impl Process {
    /// Starts `command` in a process group of its own, so that a terminal's Ctrl-C goes to us alone and we end it in order.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(name: &str, command: &mut Command, stop_signal: Signal) -> Result<Self> {
        interrupt::check()?;
        let child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name} ({command:?})"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            stop_signal,
            left: false,
        })
    }

    /// The child itself, to take its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }

    /// Sends a signal to it.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// If the kernel cannot say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end, at most `limit`; false when it still runs. Not ended by Ctrl-C, because the clean-up waits too.
    fn wait_ended(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Asks it to end, and kills it if it does not.
    ///
    /// # Errors
    /// If it cannot be ended.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.stop_with(self.stop_signal, STOP_LIMIT)
    }

    /// Sends `signal` and waits at most `limit`, then kills.
    ///
    /// # Errors
    /// If it cannot be ended.
    pub fn stop_with(&mut self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal(signal)?;
        if let Some(status) = self.wait_ended(limit)? {
            return Ok(status);
        }
        self.signal(Signal::SIGKILL)?;
        match self.wait_ended(STOP_LIMIT)? {
            Some(status) => Ok(status),
            None => bail!("{} does not end, even killed", self.name),
        }
    }

    /// Lets it run on after this value is gone.
    pub fn leave(&mut self) {
        self.left = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.left
            && let Err(error) = self.stop()
        {
            eprintln!("lab: {error:#}");
        }
    }
}

/// What a finished command did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The command, for messages.
    pub what: String,
    /// Its exit code; 128 + signal when a signal ended it.
    pub code: i32,
    /// All of its stdout.
    pub stdout: String,
    /// All of its stderr.
    pub stderr: String,
    /// When it was started.
    pub began_us: u64,
    /// When it had ended.
    pub ended_us: u64,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Itself if the exit code is one of `codes`.
    ///
    /// # Errors
    /// If it is another one; the error has all that the command wrote.
    pub fn expect_code(self, codes: &[i32]) -> Result<Self> {
        if codes.contains(&self.code) {
            return Ok(self);
        }
        bail!(
            "{}: exit code {}, expected {codes:?}\nstdout: {}\nstderr: {}",
            self.what,
            self.code,
            self.stdout.trim_end(),
            self.stderr.trim_end()
        );
    }
}

/// Runs a command to its end, at most `limit`, and not past a Ctrl-C.
///
/// # Errors
/// If it cannot be started or does not end in time. Its exit code is not judged.
pub fn run(command: &mut Command, limit: Duration) -> Result<Outcome> {
    interrupt::check()?;
    let what = describe(command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let (began_us, began) = (clock::unix_us(), Instant::now());
    let child = command.spawn().with_context(|| format!("cannot start {what}"))?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let output = child.wait_with_output();
        // Nobody listens any more only when the run was given up.
        let _ = sender.send((output, clock::unix_us(), began.elapsed()));
    });
    let end = began + limit;
    loop {
        match receiver.recv_timeout(Duration::from_millis(20)) {
            Ok((output, ended_us, took)) => return outcome(what, output?, began_us, ended_us, took),
            Err(mpsc::RecvTimeoutError::Timeout) if interrupt::pending() || Instant::now() >= end => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("{what}: its waiter is gone"),
        }
    }
    let _ = kill(pid, Signal::SIGKILL);
    let _ = receiver.recv_timeout(STOP_LIMIT);
    interrupt::check()?;
    bail!("{what}: did not end within {:.0} s, killed", limit.as_secs_f64());
}

fn outcome(what: String, output: Output, began_us: u64, ended_us: u64, took: Duration) -> Result<Outcome> {
    use std::os::unix::process::ExitStatusExt;
    let code = output
        .status
        .code()
        .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
    Ok(Outcome {
        what,
        code,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        began_us,
        ended_us,
        took,
    })
}

/// The command as a person would type it, without what the lab puts in front.
fn describe(command: &Command) -> String {
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let start = words.iter().position(|word| word == "--").map_or(0, |at| at + 1);
    words.get(start..).unwrap_or(&words).join(" ")
}

/// The last lines of a log file, for an error message.
#[must_use]
pub fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
