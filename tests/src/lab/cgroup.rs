//! A lab's own cgroup: the agent serves local clients in it and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::Namespace;
use super::namespace::inside;
use super::process::guarded;

/// The kernel lets a cgroup go once its last process has been reaped.
const EMPTY_LIMIT: Duration = Duration::from_secs(20);

/// A cgroup below the root of cgroup2. [`super::tear_down`] removes it.
#[derive(Clone, Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes it.
    pub(super) fn new(name: &str) -> Result<Self> {
        let path = root()?.join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make the cgroup {}", path.display()))?;
        Ok(Self { path })
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command in this cgroup, inside a namespace, that ends with us. The shell moves itself and becomes the program.
    #[must_use]
    pub fn command(&self, space: &Namespace, program: impl AsRef<Path>) -> Command {
        let mut command = inside(guarded("nsenter", Signal::SIGKILL), space.name(), Path::new("sh"));
        command
            .args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec "$@""#])
            .arg(&self.path)
            .arg(program.as_ref());
        command
    }
}

/// Where cgroup2 is mounted.
fn root() -> Result<PathBuf> {
    match mounts("cgroup2")?.pop() {
        Some(root) => Ok(root),
        None => bail!("no cgroup2 is mounted; the lab needs one: mount -t cgroup2 none DIR"),
    }
}

/// Where cgroups of one kind are mounted, the first place last.
fn mounts(kind: &str) -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let lines = mounts
        .lines()
        .rev()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let of_kind = lines.filter(|fields| fields.get(2) == Some(&kind));
    Ok(of_kind.map(|fields| PathBuf::from(fields[1])).collect())
}

/// Every place a lab's cgroup may be: Docker makes one with each controller of cgroup's first version too, and leaves them.
fn every_root() -> Vec<PathBuf> {
    ["cgroup2", "cgroup"]
        .map(mounts)
        .into_iter()
        .flatten()
        .flatten()
        .collect()
}

/// Names of the cgroups below each root.
pub(super) fn names() -> Vec<String> {
    let entries = every_root()
        .into_iter()
        .flat_map(|root| fs::read_dir(root).into_iter().flatten().flatten());
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Ends what is in the cgroup and removes it, below each root. Not there: nothing to do.
///
/// # Errors
/// Of the first that could not be removed; the others are gone.
pub(super) fn remove(name: &str) -> Result<()> {
    let removed = every_root().into_iter().map(|root| remove_one(&root.join(name)));
    removed.fold(Ok(()), Result::and)
}

fn remove_one(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    // Only the lab's own processes are in it.
    let _ = fs::write(path.join("cgroup.kill"), "1");
    let end = Instant::now() + EMPTY_LIMIT;
    loop {
        // Podman leaves the one of its containers' monitors.
        for inner in fs::read_dir(path).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(inner.path());
        }
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= end => {
                return Err(error).with_context(|| format!("cannot remove the cgroup {}", path.display()));
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}
