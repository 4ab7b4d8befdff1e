//! The end of a lab, its own or one that a killed process left behind.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroup;

/// What the names of all labs begin with.
pub(super) const PREFIX: &str = "swt-";
/// The file in a lab's folder that says it stays without its process.
pub(super) const KEEP_MARK: &str = "keep";

/// The lab's own four, three that may be a container's, and two behind a router.
const ROLES: [&str; 9] = [
    "client", "host", "v1", "v2", "inside", "served", "apart", "asker", "beyond",
];
const END_LIMIT: Duration = Duration::from_secs(3);
/// More mounts than one agent makes.
const MOUNTS_MAX: usize = 64;

/// Removes a lab: its processes, mounts, cgroup, namespaces and folder. Goes on past a failed step and reports the first.
///
/// # Errors
/// If something could not be removed.
pub fn tear_down(id: &str) -> Result<()> {
    let mut first: Result<()> = Ok(());
    let mut keep_first = |step: Result<()>| {
        if first.is_ok() && step.is_err() {
            first = step;
        }
    };
    let dir = folder(id);
    end_processes(id);
    keep_first(unmount_below(&dir));
    keep_first(cgroup::remove(&format!("{PREFIX}{id}")));
    for role in ROLES {
        let name = format!("{PREFIX}{id}-{role}");
        if Path::new("/run/netns").join(&name).exists() {
            keep_first(ip(&["netns", "del", &name]).map(drop));
        }
    }
    if dir.exists() {
        keep_first(fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display())));
    }
    first
}

/// Removes the labs of processes that are gone and did not ask to keep them. Best effort: another process may do the same.
pub fn sweep() {
    for id in known_ids() {
        let owner = id.split('-').next().unwrap_or_default();
        let alive = Path::new("/proc").join(owner).exists();
        if !alive && !folder(&id).join(KEEP_MARK).exists() {
            eprintln!("lab: removing {PREFIX}{id}, left by a process that is gone");
            let _ = tear_down(&id);
        }
    }
}

fn folder(id: &str) -> PathBuf {
    env::temp_dir().join(format!("{PREFIX}{id}"))
}

/// The ids of all labs that have a folder, a namespace or a cgroup.
fn known_ids() -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for place in [env::temp_dir(), PathBuf::from("/run/netns")] {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            if let Some(id) = entry.file_name().to_str().and_then(id_of) {
                ids.insert(id);
            }
        }
    }
    ids.extend(cgroup::names().iter().filter_map(|name| id_of(name)));
    ids
}

/// `swt-12-3` and `swt-12-3-host` are both of lab `12-3`; other names are not ours.
fn id_of(name: &str) -> Option<String> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-');
    let (process, counter) = (parts.next()?, parts.next()?);
    let numbers = [process, counter].iter().all(|part| part.parse::<u32>().is_ok());
    let role_known = parts.next().is_none_or(|role| ROLES.contains(&role));
    (numbers && role_known && parts.next().is_none()).then(|| format!("{process}-{counter}"))
}

/// Ends whatever still runs inside the lab's namespaces; only the lab starts processes there.
fn end_processes(id: &str) {
    for (signal, limit) in [(Signal::SIGTERM, END_LIMIT), (Signal::SIGKILL, END_LIMIT)] {
        let end = Instant::now() + limit;
        let mut asked = BTreeSet::new();
        loop {
            let mut pids: Vec<i32> = ROLES.iter().flat_map(|role| processes_in(id, role)).collect();
            pids.extend(contained(id));
            if pids.is_empty() {
                return;
            }
            for pid in pids {
                if asked.insert(pid) {
                    let _ = kill(Pid::from_raw(pid), signal);
                }
            }
            if Instant::now() >= end {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn processes_in(id: &str, role: &str) -> Vec<i32> {
    let name = format!("{PREFIX}{id}-{role}");
    if !Path::new("/run/netns").join(&name).exists() {
        return Vec::new();
    }
    let pids = ip(&["netns", "pids", &name]).unwrap_or_default();
    pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Processes of the containers that a Docker of the lab left: it was told to keep them in the lab's own cgroup.
fn contained(id: &str) -> Vec<i32> {
    let roots = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
    let groups = roots.iter().map(|root| Path::new(root).join(format!("{PREFIX}{id}")));
    let containers = groups.flat_map(|group| fs::read_dir(group).into_iter().flatten().flatten());
    let lists = containers.filter_map(|entry| fs::read_to_string(entry.path().join("cgroup.procs")).ok());
    let mut pids: Vec<i32> = lists
        .flat_map(|list| list.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    pids.dedup();
    pids
}

/// Unmounts everything below `dir`, deepest first: the agent mounts its own bpffs there.
fn unmount_below(dir: &Path) -> Result<()> {
    for _ in 0..MOUNTS_MAX {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let deepest = mounts
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1))
            .map(Path::new)
            .filter(|point| point.starts_with(dir))
            .max_by_key(|point| point.components().count());
        let Some(point) = deepest else { return Ok(()) };
        umount2(point, MntFlags::MNT_DETACH).with_context(|| format!("cannot unmount {}", point.display()))?;
    }
    Ok(())
}

/// Runs `ip` even when the run was interrupted: this is the clean-up.
fn ip(words: &[&str]) -> Result<String> {
    let output = Command::new("ip")
        .args(words)
        .stdin(Stdio::null())
        .output()
        .context("cannot run ip")?;
    anyhow::ensure!(
        output.status.success(),
        "ip {}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::id_of;

    #[test]
    fn names_of_labs() {
        assert_eq!(id_of("swt-12-3").as_deref(), Some("12-3"));
        assert_eq!(id_of("swt-12-3-host").as_deref(), Some("12-3"));
        for other in [
            "swt-12",
            "swt-a-3",
            "swt-12-3-other",
            "swt-12-3-host-x",
            "x-12-3",
            "swt-kernel-test",
        ] {
            assert_eq!(id_of(other), None, "{other}");
        }
    }
}
