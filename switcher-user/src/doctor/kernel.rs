//! The kernel: its version, and what of BPF it has.

use std::fs;

use super::{Finding, Level};
use crate::kernel::probe::{self, Feature, Need};

const AREA: &str = "kernel";
/// The oldest that the programs were seen to load on.
const OLDEST: (u32, u32) = (6, 1);

/// What the kernel is.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// As `uname -r` says.
    pub(super) release: String,
    pub(super) features: Vec<Feature>,
    /// `net.core.bpf_jit_enable`; none: it cannot be read.
    pub(super) jit: Option<String>,
    pub(super) has_btf: bool,
}

impl Facts {
    pub(super) fn gather() -> Self {
        let read = |path| fs::read_to_string(path).map(|text| text.trim().to_owned());
        Self {
            release: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
            features: probe::features(),
            jit: read("/proc/sys/net/core/bpf_jit_enable").ok(),
            has_btf: fs::exists("/sys/kernel/btf/vmlinux").unwrap_or(false),
        }
    }
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![version(&facts.release)];
    findings.extend(facts.features.iter().map(feature));
    findings.push(jit(facts.jit.as_deref()));
    findings.push(if facts.has_btf {
        Finding::new(AREA, "btf", Level::Ok, "the kernel tells its types (BTF)")
    } else {
        let what = "the kernel does not tell its types (BTF); the agent does not need them, tools that debug BPF do";
        Finding::new(AREA, "btf", Level::Ok, what)
    });
    findings
}

fn version(release: &str) -> Finding {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = numbers.next().zip(numbers.next());
    match version {
        Some(version) if version >= OLDEST => Finding::new(AREA, "version", Level::Ok, format!("Linux {release}")),
        Some(_) => Finding::new(
            AREA,
            "version",
            Level::Warning,
            format!(
                "Linux {release}; {}.{} is the oldest that Switcher was tried on",
                OLDEST.0, OLDEST.1
            ),
        )
        .remedy("see whether anything below is missing, and whether the agent starts; else take a newer kernel"),
        None => Finding::new(AREA, "version", Level::Warning, "the kernel's version cannot be read")
            .remedy("look whether /proc is mounted"),
    }
}

fn feature(feature: &Feature) -> Finding {
    let named = |level, what: String| Finding::new(AREA, feature.name, level, what);
    match (&feature.answer, feature.need) {
        (Ok(true), _) => named(Level::Ok, feature.what.to_owned()),
        (Ok(false), Need::Always) => named(Level::Missing, format!("this kernel lacks: {}", feature.what))
            .remedy("take a kernel that has it: Linux 6.1 or newer, with CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_ACT"),
        (Ok(false), Need::Sometimes(without)) => named(
            Level::Warning,
            format!("this kernel lacks: {}; {without}", feature.what),
        ),
        (Err(cause), _) => named(
            Level::Warning,
            format!("not known whether the kernel has: {} ({cause})", feature.what),
        )
        .remedy("run `switcher doctor` as root"),
    }
}

fn jit(value: Option<&str>) -> Finding {
    match value {
        Some("0") => Finding::new(
            AREA,
            "jit",
            Level::Warning,
            "BPF programs are interpreted, which makes each packet several times as dear",
        )
        .remedy("sysctl -w net.core.bpf_jit_enable=1"),
        Some(_) => Finding::new(AREA, "jit", Level::Ok, "BPF programs are compiled (JIT)"),
        // A kernel that always compiles them has no such switch outside of the first namespace.
        None => Finding::new(
            AREA,
            "jit",
            Level::Ok,
            "whether BPF programs are compiled is not shown here",
        ),
    }
}
