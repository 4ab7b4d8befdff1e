//! Root: the data path is the kernel's. As a user, only the built binaries (and `apt-get` in setup) run through sudo.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, Result, bail};

/// Variables that the built binaries may use, and that sudo would drop.
const KEPT: &str = "SWITCHER_BIN,SWITCHER_LAB_BIN,SWITCHER_ROLLOUTS,SWITCHER_RATE,SWITCHER_INTERVAL_MS,RUST_BACKTRACE,RUST_TEST_THREADS,RUST_LOG,CARGO_MANIFEST_DIR,PROPTEST_CASES,NO_COLOR,CI";

/// Whether we are root already.
pub fn is_root() -> Result<bool> {
    let owner = fs::metadata("/proc/self").context("/proc is not mounted")?.uid();
    Ok(owner == 0)
}

/// The words to put before a built binary: none for root.
pub fn prefix() -> Result<Vec<OsString>> {
    if is_root()? {
        return Ok(Vec::new());
    }
    let mut words = vec![OsString::from("sudo")];
    if !std::io::stdin().is_terminal() {
        words.push("-n".into());
    }
    words.push(format!("--preserve-env={KEPT}").into());
    Ok(words)
}

/// The variable that makes cargo run test binaries as root; none for root.
pub fn cargo_runner() -> Result<Option<(String, OsString)>> {
    let words = prefix()?;
    if words.is_empty() {
        return Ok(None);
    }
    let name = format!(
        "CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER",
        env::consts::ARCH.to_uppercase()
    );
    Ok(Some((name, words.join(" ".as_ref()))))
}

/// Fails unless root can be had; says for what sudo is used. May ask for the password.
pub fn require(purpose: &str) -> Result<()> {
    if is_root()? {
        return Ok(());
    }
    eprintln!("{purpose} needs root: the built binaries, and only they, are run with sudo.");
    let mut sudo = Command::new("sudo");
    if !std::io::stdin().is_terminal() {
        sudo.arg("-n");
    }
    match sudo.arg("-v").stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => bail!("{purpose} needs root and sudo refused; run it as root, or let this user use sudo"),
        Err(error) => bail!("{purpose} needs root and sudo cannot be started ({error}); run it as root"),
    }
}
