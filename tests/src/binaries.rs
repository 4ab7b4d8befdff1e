//! Where the binaries are that the lab starts.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, bail};

/// The `switcher` binary: `$SWITCHER_BIN`, or the one next to this executable.
///
/// # Errors
/// If neither exists.
pub fn switcher() -> Result<PathBuf> {
    find("switcher", "SWITCHER_BIN")
}

/// The `switcher-lab` binary: `$SWITCHER_LAB_BIN`, or the one next to this executable.
///
/// # Errors
/// If neither exists.
pub fn switcher_lab() -> Result<PathBuf> {
    find("switcher-lab", "SWITCHER_LAB_BIN")
}

fn find(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(path) = env::var_os(variable) {
        let path = PathBuf::from(path);
        if path.is_file() {
            return Ok(path);
        }
        bail!(
            "{variable} is {}, which is no file; point it at the {name} binary",
            path.display()
        );
    }
    let own = env::current_exe()?;
    // A test's executable lies one folder deeper (`deps/`) than the binaries.
    for folder in own.ancestors().skip(1).take(2) {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!(
        "no {name} next to {}; build it, or set {variable} to its path",
        own.display()
    );
}
