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
const EMPTY_LIMIT: Duration = Duration::from_secs(5);

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
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut lines = mounts.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    match lines.find(|fields| fields.get(2) == Some(&"cgroup2")) {
        Some(fields) => Ok(PathBuf::from(fields[1])),
        None => bail!("no cgroup2 is mounted; the lab needs one: mount -t cgroup2 none DIR"),
    }
}

/// Names of the cgroups below the root.
pub(super) fn names() -> Vec<String> {
    let entries = root().and_then(|root| Ok(fs::read_dir(root)?));
    let entries = entries.into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Ends what is in the cgroup and removes it. Not there: nothing to do.
pub(super) fn remove(name: &str) -> Result<()> {
    let Ok(root) = root() else { return Ok(()) };
    let path = root.join(name);
    if !path.exists() {
        return Ok(());
    }
    // Only the lab's own processes are in it.
    let _ = fs::write(path.join("cgroup.kill"), "1");
    let end = Instant::now() + EMPTY_LIMIT;
    loop {
        match fs::remove_dir(&path) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= end => {
                return Err(error).with_context(|| format!("cannot remove the cgroup {}", path.display()));
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}
