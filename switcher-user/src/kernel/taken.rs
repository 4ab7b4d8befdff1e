//! Whether another agent's data path is on an interface. Two would take each other's traffic: the one that comes first
//! rewrites, and the other finds no flow.

use std::fs;
use std::path::Path;

use aya::programs::{ProgramError, SchedClassifier};

use super::error::{KernelError, SEE_REASON, step};
use super::hooks::{Direction, Place};

/// How the kernel's names of our programs begin.
const OURS: &str = "switcher_";

/// Refuses where a program of Switcher's is there that is not by a link of ours. Kernels before 6.6 do not say.
pub(super) fn refuse(interface: &str, ifindex: u32, directions: &[Direction], root: &Path) -> Result<(), KernelError> {
    for direction in directions {
        let place = Place {
            interface,
            ifindex,
            direction: *direction,
        };
        if place.is_pinned(root) {
            continue;
        }
        if let Some(program_id) = other(&place)? {
            return Err(KernelError::Taken {
                interface: interface.to_owned(),
                program_id,
                holder: holder(program_id),
            });
        }
    }
    Ok(())
}

fn other(place: &Place<'_>) -> Result<Option<u32>, KernelError> {
    let found = match SchedClassifier::query_tcx(place.interface, place.direction.attach_type()) {
        Ok((_, found)) => found,
        // No TCX in this kernel.
        Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::EINVAL) => {
            return Ok(None);
        }
        Err(error) => {
            let doing = format!("asking what is attached to {}", place.interface);
            return Err(step(doing, SEE_REASON)(error));
        }
    };
    let is_ours = |name: Option<&str>| name.is_some_and(|name| name.starts_with(OURS));
    let ours = found.iter().find(|program| is_ours(program.name_as_str()));
    Ok(ours.map(aya::programs::ProgramInfo::id))
}

/// The process that has the program open: the agent that attached it, where it runs.
fn holder(program_id: u32) -> Option<u32> {
    let wanted = program_id.to_string();
    let has = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fdinfo"));
        files.into_iter().flatten().flatten().any(|file| {
            let facts = fs::read_to_string(file.path()).unwrap_or_default();
            let mut ids = facts.lines().filter_map(|line| line.strip_prefix("prog_id:"));
            ids.any(|id| id.trim() == wanted)
        })
    };
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|one| one.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id()).find(has)
}
