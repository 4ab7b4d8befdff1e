//! What this build's programs are, in one number: two agents with the same one would load the very same programs.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::OnceLock;

use aya::EbpfLoader;
use aya::util::KernelVersion;

/// `BPF_F_IPV6` of `bpf_l4_csum_replace`.
const SUM_FLAG_IPV6: u64 = 1 << 7;

/// The global settings of the programs: their names in the object, and their values on this kernel.
#[derive(Clone, Debug)]
pub(super) struct Settings(Vec<(&'static str, u64)>);

impl Settings {
    /// Those for the kernel that runs.
    pub(super) fn of_this_kernel() -> Self {
        let is_new = KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 16, 0));
        Self(vec![("IPV6_SUM_FLAG", if is_new { SUM_FLAG_IPV6 } else { 0 })])
    }

    /// Hands them to the loader.
    pub(super) fn give<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        for (name, value) in &self.0 {
            loader.override_global(name, value, true);
        }
    }
}

/// The number, as it stands in the names of pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Build(u64);

impl Build {
    /// That of this agent on this kernel.
    pub(super) fn ours() -> Self {
        static OURS: OnceLock<Build> = OnceLock::new();
        *OURS.get_or_init(|| Self::of(super::OBJECT, &Settings::of_this_kernel()))
    }

    /// Of an object with its settings.
    fn of(object: &[u8], settings: &Settings) -> Self {
        let mut hasher = DefaultHasher::new();
        object.hash(&mut hasher);
        settings.0.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// The name of a program's pin.
    pub(super) fn pin_name(self, program: &str) -> String {
        format!("{program}-{self}")
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The program whose pin has this name, of whatever build.
pub(super) fn program_of_pin(name: &str) -> Option<&str> {
    let (program, build) = name.rsplit_once('-')?;
    let is_build = build.len() == 16 && build.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_build.then_some(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_object_or_setting_is_another_build() {
        let old = Settings(vec![("A", 0)]);
        let build = Build::of(b"object", &old);
        assert_eq!(build, Build::of(b"object", &old));
        assert_ne!(build, Build::of(b"Object", &old));
        assert_ne!(build, Build::of(b"object", &Settings(vec![("A", 1)])));
    }

    #[test]
    fn a_pins_name_tells_its_program() {
        let build = Build::of(b"object", &Settings(Vec::new()));
        assert_eq!(program_of_pin(&build.pin_name("egress")), Some("egress"));
        for foreign in ["egress", "egress-", "egress-0123", "egress-0123456789abcdex", ""] {
            assert_eq!(program_of_pin(foreign), None, "{foreign}");
        }
    }
}
