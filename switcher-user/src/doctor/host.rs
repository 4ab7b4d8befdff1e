//! What of Switcher is here already: an agent, and what agents pinned.

use std::fs;
use std::path::Path;

use switcher_ebpf::abi::ABI_VERSION;

use super::{Agent, Finding, Level};

const AREA: &str = "host";

/// Versions of kernel maps that are pinned.
pub(super) fn pinned(bpffs: &Path) -> Vec<u32> {
    let folders = fs::read_dir(bpffs.join("switcher")).into_iter().flatten().flatten();
    let mut versions: Vec<u32> = folders
        .filter_map(|folder| folder.file_name().to_str()?.strip_prefix('v')?.parse().ok())
        .collect();
    versions.sort_unstable();
    versions
}

pub(super) fn judge(agent: &Agent, pinned: &[u32]) -> Vec<Finding> {
    let mut findings = vec![self::agent(agent, pinned.contains(&ABI_VERSION))];
    let others: Vec<String> = pinned
        .iter()
        .filter(|version| **version != ABI_VERSION)
        .map(|version| format!("v{version}"))
        .collect();
    if !others.is_empty() {
        let what = format!(
            "an agent of another version left its data path pinned ({}); this version shares none of its flows",
            others.join(", ")
        );
        findings.push(
            Finding::new(AREA, "pins", Level::Warning, what)
                .remedy("run `switcher detach` of that version once its flows have ended"),
        );
    }
    findings
}

fn agent(agent: &Agent, has_pins: bool) -> Finding {
    let named = |level, what: String| Finding::new(AREA, "agent", level, what);
    match agent {
        Agent::Runs { version, pid } if version == env!("CARGO_PKG_VERSION") => {
            named(Level::Ok, format!("agent {version} runs (pid {pid})"))
        }
        Agent::Runs { version, pid } => named(
            Level::Warning,
            format!(
                "agent {version} runs (pid {pid}), and this command is {}",
                env!("CARGO_PKG_VERSION")
            ),
        )
        .remedy("restart the agent: flows stay where they are"),
        Agent::None if has_pins => named(
            Level::Warning,
            "no agent runs; the kernel goes on by the image that it has".to_owned(),
        )
        .agent("takes over what is pinned")
        .remedy("start it: switcher agent (or, to end it all: switcher detach)"),
        Agent::None => named(Level::Ok, "no agent runs".to_owned()),
        Agent::Unclear(why) => named(Level::Warning, why.clone()),
    }
}
