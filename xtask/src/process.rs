//! Runs other programs: shown as they can be typed, and never for longer than their limit.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::kill;

/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(50);

/// A program to run in the repository.
#[derive(Clone, Debug)]
pub struct Invocation {
    program: OsString,
    args: Vec<OsString>,
    variables: Vec<(String, OsString)>,
    folder: PathBuf,
    output_to_errors: bool,
}

/// How a program ended.
#[derive(Clone, Copy, Debug)]
pub enum Ended {
    /// By itself.
    Itself(ExitStatus),
    /// By us, at its limit.
    TimedOut,
}

impl Invocation {
    /// `program` in `folder`.
    pub fn new(program: impl AsRef<OsStr>, folder: &Path) -> Self {
        let program = program.as_ref().to_owned();
        Self {
            program,
            args: Vec::new(),
            variables: Vec::new(),
            folder: folder.to_owned(),
            output_to_errors: false,
        }
    }

    /// Cargo in `folder`.
    pub fn cargo(folder: &Path) -> Self {
        Self::new("cargo", folder)
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: impl Into<String>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Sets several variables.
    pub fn envs(mut self, variables: &[(String, OsString)]) -> Self {
        self.variables.extend_from_slice(variables);
        self
    }

    /// Its output goes where errors go: our own output is left to what comes after, which may be one JSON document.
    pub fn output_to_errors(mut self) -> Self {
        self.output_to_errors = true;
        self
    }

    /// The command of the standard library, without input.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.folder).stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if self.output_to_errors {
            command.stdout(io::stderr());
        }
        command
    }

    /// Runs with our own output; anything but success within `limit` is an error that says how to repeat it.
    pub fn run(&self, limit: Duration) -> Result<()> {
        let child = self
            .command()
            .spawn()
            .with_context(|| format!("cannot start `{self}`"))?;
        match wait(child, limit)? {
            Ended::Itself(status) if status.success() => Ok(()),
            Ended::Itself(status) => bail!("failed ({status}); to repeat it: {self}"),
            Ended::TimedOut => bail!(
                "did not end within {} s and was stopped; to repeat it: {self}",
                limit.as_secs()
            ),
        }
    }

    /// Runs with output and errors written to files.
    pub fn run_logged(&self, limit: Duration, output: &Path, errors: &Path) -> Result<Ended> {
        let create = |path: &Path| File::create(path).with_context(|| format!("cannot write {}", path.display()));
        let mut command = self.command();
        command.stdout(create(output)?).stderr(create(errors)?);
        wait(
            command.spawn().with_context(|| format!("cannot start `{self}`"))?,
            limit,
        )
    }

    /// What it prints, if it succeeds.
    pub fn output(&self) -> Result<String> {
        let output = self
            .command()
            .output()
            .with_context(|| format!("cannot start `{self}`"))?;
        if !output.status.success() {
            bail!(
                "`{self}` failed ({}): {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl fmt::Display for Invocation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.variables {
            write!(out, "{name}={} ", quoted(value))?;
        }
        write!(out, "{}", quoted(&self.program))?;
        self.args.iter().try_for_each(|arg| write!(out, " {}", quoted(arg)))
    }
}

/// Waits for the child; at the limit it and all it started are ended.
fn wait(mut child: Child, limit: Duration) -> Result<Ended> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended::Itself(status));
        }
        if Instant::now() >= deadline {
            kill::end_tree(&mut child)?;
            return Ok(Ended::TimedOut);
        }
        std::thread::sleep(POLL);
    }
}

/// As a shell takes it.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_can_be_typed() {
        let shown = Invocation::cargo(Path::new("/"))
            .args(["test", "--", "it's"])
            .env("RUNNER", "sudo -n")
            .to_string();
        assert_eq!(shown, r"RUNNER='sudo -n' cargo test -- 'it'\''s'");
    }

    #[test]
    fn ends_what_overruns_its_limit_and_its_children() {
        let started = Instant::now();
        // The inner shell is a grandchild; its pid proves that it was ended too.
        let folder = std::env::temp_dir().join(format!("xtask-limit-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let overrun = Invocation::new("sh", &folder).args(["-c", "sh -c 'echo $$; exec sleep 30'; true"]);
        let ended = overrun
            .run_logged(Duration::from_millis(500), &folder.join("out"), &folder.join("err"))
            .unwrap();
        let grandchild = std::fs::read_to_string(folder.join("out")).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(matches!(ended, Ended::TimedOut), "{ended:?}");
        assert!(started.elapsed() < Duration::from_secs(10));
        assert!(
            !kill::runs(grandchild.trim().parse().unwrap()),
            "process {grandchild} still runs"
        );
    }
}
