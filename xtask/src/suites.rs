//! The integration suites of the workspace's crates, and how they are run.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::root;

/// A test target: `cargo test --package PACKAGE --test NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    /// Its crate.
    pub package: &'static str,
    /// Its name.
    pub name: String,
}

/// A crate that has suites, and its folder.
const CRATES: &[(&str, &str)] = &[
    ("switcher-ebpf", "switcher-ebpf"),
    ("switcher-user", "switcher-user"),
    ("switcher-tests", "tests"),
];

impl Suite {
    /// Arguments of `cargo test`.
    pub fn args(&self) -> [&str; 4] {
        ["--package", self.package, "--test", &self.name]
    }

    /// Whether it needs no root: the crate of the packet logic is tested natively.
    pub fn is_native(&self) -> bool {
        self.package == "switcher-ebpf"
    }

    /// Whether it feeds packets to the kernel's programs; these suites run before the end-to-end ones.
    pub fn is_kernel_table(&self) -> bool {
        self.package == "switcher-user" || self.name.starts_with("packets")
    }
}

/// All suites, native ones first, then the kernel's tables, then end to end; in each, by name.
pub fn all(root: &Path) -> Result<Vec<Suite>> {
    let mut suites = Vec::new();
    for (package, folder) in CRATES {
        let names = targets(&root.join(folder).join("tests"))?;
        suites.extend(names.into_iter().map(|name| Suite { package, name }));
    }
    suites.sort_by_key(|suite| (!suite.is_native(), !suite.is_kernel_table(), suite.name.clone()));
    Ok(suites)
}

/// Names of cargo's test targets in a folder: `NAME.rs` and `NAME/main.rs`.
fn targets(folder: &Path) -> Result<Vec<String>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let is_target = path.extension().is_some_and(|end| end == "rs") || path.join("main.rs").is_file();
        if let Some(name) = path.file_stem().and_then(|name| name.to_str()).filter(|_| is_target) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Variables of a suite that needs the agent's binary, and root.
pub fn variables(agent: &Path) -> Result<Vec<(String, OsString)>> {
    let mut variables = vec![("SWITCHER_BIN".to_owned(), agent.as_os_str().to_owned())];
    variables.extend(root::cargo_runner()?);
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_targets_as_cargo_does() {
        let folder = std::env::temp_dir().join(format!("xtask-suites-{}", std::process::id()));
        for path in [
            "tests/tests/upgrade/main.rs",
            "tests/tests/packets.rs",
            "tests/tests/common/mod.rs",
            "switcher-ebpf/tests/a.rs",
        ] {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = all(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let names: Vec<&str> = found.iter().map(|suite| suite.name.as_str()).collect();
        assert_eq!(names, ["a", "packets", "upgrade"]);
    }
}
