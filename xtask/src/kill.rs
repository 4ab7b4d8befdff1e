//! Ends a program and everything it started.
//!
//! Not by a process group of its own: a group in the background gets no Ctrl-C.

use std::collections::HashMap;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::Result;

/// Time to clean up between the two signals: a lab removes its namespaces.
const GRACE: Duration = Duration::from_secs(10);

/// Asks the child and its descendants to end, then kills those that are left.
pub fn end_tree(child: &mut Child) -> Result<()> {
    let tree = descendants(child.id());
    signal("-TERM", &tree);
    let deadline = Instant::now() + GRACE;
    while child.try_wait()?.is_none() || tree.iter().any(|pid| runs(*pid)) {
        if Instant::now() >= deadline {
            signal("-KILL", &tree);
            child.kill()?;
            child.wait()?;
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Signals each; what sudo started belongs to root and is signalled by sudo, which says so if it cannot.
fn signal(name: &str, pids: &[u32]) {
    for pid in pids.iter().filter(|pid| runs(**pid)) {
        let pid = pid.to_string();
        let sent = Command::new("kill")
            .args([name, &pid])
            .output()
            .is_ok_and(|output| output.status.success());
        if !sent && runs(pid.parse().unwrap_or_default()) {
            eprintln!("sudo kill {name} {pid}");
            // Its failure is seen by the caller, who waits for the process.
            let _ = Command::new("sudo").args(["-n", "kill", name, &pid]).status();
        }
    }
}

/// The process and everything below it, parents first.
fn descendants(pid: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some((parent, _)) = parent_and_state(process) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut found = vec![pid];
    let mut next = 0;
    // Bounded: every process has one parent, so each is found at most once.
    while let Some(parent) = found.get(next).copied() {
        found.extend(children.remove(&parent).unwrap_or_default());
        next += 1;
    }
    found
}

/// Whether the process is there and not merely unburied.
pub fn runs(pid: u32) -> bool {
    parent_and_state(pid).is_some_and(|(_, state)| state != "Z")
}

/// From `/proc/PID/stat`: `PID (NAME) STATE PARENT …`; a name may hold spaces and brackets.
fn parent_and_state(pid: u32) -> Option<(u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.to_owned();
    Some((fields.next()?.parse().ok()?, state))
}
