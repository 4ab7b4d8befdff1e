//! This process and its files: rights, bpffs, the state directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Finding, Level, Places};
use crate::kernel::probe;

const AREA: &str = "process";

/// What the agent needs, and what stands for it on kernels' older terms (linux/capability.h).
const CAPABILITIES: [(&str, u32, Option<u32>); 3] = [
    ("CAP_NET_ADMIN", 12, None),
    ("CAP_BPF", 39, Some(CAP_SYS_ADMIN)),
    ("CAP_PERFMON", 38, Some(CAP_SYS_ADMIN)),
];
const CAP_SYS_ADMIN: u32 = 21;

/// What this process may do, and what lies at its places.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The effective capabilities; none: they cannot be read.
    pub(super) capabilities: Option<u64>,
    pub(super) bpffs: PathBuf,
    /// Whether a bpffs is there; an error: nothing is.
    pub(super) is_bpffs: Result<bool, String>,
    pub(super) cgroup2: Option<PathBuf>,
    pub(super) state_dir: PathBuf,
    pub(super) state: State,
}

/// The state directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Writable,
    /// It is not there, and this folder, which is, lets it be made.
    WouldBeMade(PathBuf),
    /// Why not.
    Refused(String),
}

impl Facts {
    pub(super) fn gather(places: &Places) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        Self {
            capabilities: effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()),
            bpffs: places.bpffs.clone(),
            is_bpffs: nearest(&places.bpffs)
                .and_then(|(folder, _)| probe::is_bpffs(&folder))
                .map_err(|error| error.to_string()),
            cgroup2: cgroup2(&mounts),
            state_dir: places.state_dir.clone(),
            state: state(&places.state_dir),
        }
    }

    fn has(&self, number: u32) -> bool {
        self.capabilities.is_some_and(|set| set >> number & 1 == 1)
    }
}

/// The folder itself, or the nearest above it that is there; true: the folder itself.
fn nearest(folder: &Path) -> io::Result<(PathBuf, bool)> {
    for (depth, above) in folder.ancestors().enumerate() {
        match fs::metadata(above) {
            Ok(metadata) if metadata.is_dir() => return Ok((above.to_owned(), depth == 0)),
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// A file without a name shows whether the folder takes files, and leaves nothing.
fn state(folder: &Path) -> State {
    let tried = nearest(folder).and_then(|(there, is_itself)| {
        tempfile::tempfile_in(&there)?;
        Ok(if is_itself {
            State::Writable
        } else {
            State::WouldBeMade(there)
        })
    });
    tried.unwrap_or_else(|error| State::Refused(error.to_string()))
}

fn cgroup2(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (place, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    })
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    vec![capabilities(facts), bpffs(facts), cgroups(facts), state_dir(facts)]
}

fn capabilities(facts: &Facts) -> Finding {
    let lacking: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(_, number, instead)| !facts.has(*number) && !instead.is_some_and(|number| facts.has(number)))
        .map(|(name, ..)| *name)
        .collect();
    if lacking.is_empty() {
        let what = "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are there";
        return Finding::new(AREA, "capabilities", Level::Ok, what);
    }
    Finding::new(
        AREA,
        "capabilities",
        Level::Missing,
        format!(
            "no {}: an agent started like this command could load and attach nothing",
            lacking.join(", no ")
        ),
    )
    .remedy("run the agent (and this command) as root, or give it CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON")
}

fn bpffs(facts: &Facts) -> Finding {
    let place = facts.bpffs.display();
    let named = |level, what: String| Finding::new(AREA, "bpffs", level, what);
    match &facts.is_bpffs {
        Ok(true) => named(Level::Ok, format!("bpffs is mounted at {place}")),
        Ok(false) if facts.has(CAP_SYS_ADMIN) => {
            named(Level::Ok, format!("bpffs is not mounted at {place}")).agent(format!("mounts bpffs at {place}"))
        }
        Ok(false) => named(
            Level::Missing,
            format!("bpffs is not mounted at {place}, and this user may not mount it: nothing could outlive the agent"),
        )
        .remedy(format!("as root: mount -t bpf bpf {place}")),
        Err(cause) => named(Level::Missing, format!("{place} cannot be looked at: {cause}"))
            .remedy("name another directory with --bpffs, or run this command as root"),
    }
}

fn cgroups(facts: &Facts) -> Finding {
    let named = |level, what: String| Finding::new(AREA, "cgroup2", level, what);
    match &facts.cgroup2 {
        Some(place) => named(Level::Ok, format!("cgroup2 is mounted at {}", place.display())),
        None => named(
            Level::Warning,
            "cgroup2 is not mounted: requests made on the host itself cannot be switched".to_owned(),
        )
        .remedy("mount -t cgroup2 none /sys/fs/cgroup, or leave it: clients elsewhere are switched all the same"),
    }
}

fn state_dir(facts: &Facts) -> Finding {
    let place = facts.state_dir.display();
    let named = |level, what: String| Finding::new(AREA, "state-dir", level, what);
    match &facts.state {
        State::Writable => named(Level::Ok, format!("{place} can be written to")),
        State::WouldBeMade(_) => named(Level::Ok, format!("{place} is not there yet")).agent(format!("makes {place}")),
        State::Refused(cause) => named(Level::Missing, format!("{place} cannot be written to: {cause}"))
            .remedy("make it writable for the agent's user, or name another with --state-dir"),
    }
}
