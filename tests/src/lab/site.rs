//! A lab from its building to its end.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::network::{Four, add_container, build};
use super::teardown::{KEEP_MARK, sweep, tear_down};
use super::{Cable, Cgroup, Namespace, teardown};
use crate::interrupt;

const ADOPT_LIMIT: Duration = Duration::from_secs(10);
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Four wired namespaces and a folder. Dropping it removes them; drop what runs in it first.
#[derive(Debug)]
pub struct Lab {
    id: String,
    dir: PathBuf,
    keep: bool,
    client: Namespace,
    host: Namespace,
    v1: Namespace,
    v2: Namespace,
    cgroup: Cgroup,
    cables: Vec<Cable>,
}

/// What a lab's namespaces are wired with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wires {
    /// Pairs of veths.
    Veths,
    /// Cables, as between machines.
    Cables,
}

/// A container that a lab can have; the host's device to it has its name in small letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// For processes in the lab's cgroup: local clients to the agent.
    Inside,
    /// For processes that are not in it: the agent sees their packets only.
    Apart,
}

impl Lab {
    /// Builds a lab that goes away with this value. First removes what labs of dead processes left.
    ///
    /// # Errors
    /// If we are not root or a step fails; then nothing is left behind.
    pub fn new() -> Result<Self> {
        Self::build(false)
    }

    /// The same, wired so.
    ///
    /// # Errors
    /// If we are not root or a step fails; then nothing is left behind.
    pub fn wired(wires: Wires) -> Result<Self> {
        Self::build_with(false, wires)
    }

    /// Builds a lab; with `keep`, it and its servers stay after this process.
    ///
    /// # Errors
    /// If we are not root or a step fails; then nothing is left behind.
    pub fn build(keep: bool) -> Result<Self> {
        Self::build_with(keep, Wires::Veths)
    }

    fn build_with(keep: bool, wires: Wires) -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            bail!("the lab makes network namespaces, which needs root; run it with sudo");
        }
        interrupt::check()?;
        sweep();
        let id = format!("{}-{}", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let dir = env::temp_dir().join(format!("{}{id}", teardown::PREFIX));
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let space = |role| Namespace::new(format!("{}{id}-{role}", teardown::PREFIX), keep);
        let cgroup = Cgroup::new(&format!("{}{id}", teardown::PREFIX)).inspect_err(|_| drop(fs::remove_dir(&dir)))?;
        let (client, host, v1, v2) = (space("client"), space("host"), space("v1"), space("v2"));
        // From here on Drop cleans up, also when a step below fails.
        let mut lab = Self {
            id,
            dir,
            keep: false,
            client,
            host,
            v1,
            v2,
            cgroup,
            cables: Vec::new(),
        };
        let four = Four {
            client: &lab.client,
            host: &lab.host,
            v1: &lab.v1,
            v2: &lab.v2,
        };
        lab.cables = build(&lab.dir, &four, wires).context("cannot build the lab")?;
        lab.keep = keep;
        Ok(lab)
    }

    /// Its id, part of every name it has.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether it stays after this process.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.keep
    }

    /// The client's namespace.
    #[must_use]
    pub fn client(&self) -> &Namespace {
        &self.client
    }

    /// The host's namespace.
    #[must_use]
    pub fn host(&self) -> &Namespace {
        &self.host
    }

    /// The namespace of `v1`.
    #[must_use]
    pub fn v1(&self) -> &Namespace {
        &self.v1
    }

    /// The namespace of `v2`.
    #[must_use]
    pub fn v2(&self) -> &Namespace {
        &self.v2
    }

    /// Makes a namespace as a container has it, with a veth of its own to the host. It goes with the lab.
    ///
    /// # Errors
    /// If a step fails.
    pub fn container(&self, container: Container) -> Result<Namespace> {
        let (role, ends) = match container {
            Container::Inside => ("inside", ["10.2.0", "fd00:2"]),
            Container::Apart => ("apart", ["10.3.0", "fd00:3"]),
        };
        self.behind(&self.host, role, ends)
    }

    /// Makes a namespace with a veth of its own to another one of the lab, where the device has the new one's name: at
    /// `ENDS[0].2` and `ENDS[1]::2`, and all its traffic goes there. It goes with the lab.
    ///
    /// # Errors
    /// If a step fails.
    pub fn behind(&self, other: &Namespace, role: &str, ends: [&str; 2]) -> Result<Namespace> {
        let space = Namespace::new(format!("{}{}-{role}", teardown::PREFIX, self.id), self.keep);
        add_container(&self.dir, other, &space, role, ends)
            .with_context(|| format!("cannot make the namespace {role}"))?;
        Ok(space)
    }

    /// The cgroup whose processes are local clients.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Gives the network namespace of a process a name in the lab, so that commands can run there. `role`: `inside` or
    /// `served`.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn adopt(&self, role: &str, pid: u32) -> Result<Namespace> {
        let name = format!("{}{}-{role}", teardown::PREFIX, self.id);
        let mut ip = process::Command::new("ip");
        ip.args(["netns", "attach", &name, &pid.to_string()]);
        super::process::run(&mut ip, ADOPT_LIMIT)?.expect_code(&[0])?;
        Ok(Namespace::new(name, false))
    }

    /// Makes the lab stay after this process.
    ///
    /// # Errors
    /// If the mark cannot be written.
    pub fn leave(&mut self) -> Result<()> {
        fs::write(self.dir.join(KEEP_MARK), "").context("cannot mark the lab as kept")?;
        self.keep = true;
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.cables.clear();
        let left = self.keep && self.dir.join(KEEP_MARK).exists();
        if !left && let Err(error) = tear_down(&self.id) {
            eprintln!("lab: {error:#}");
        }
    }
}
