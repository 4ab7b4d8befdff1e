//! Builds the BPF object of `switcher-ebpf` into `$OUT_DIR/switcher`, which the `kernel` module includes.
//!
//! `AYA_BUILD_SKIP=1` writes an empty object instead, so that `cargo check` and clippy need no BPF toolchain.

#[path = "../xtask/src/bpf_toolchain.rs"]
mod bpf_toolchain;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};

use bpf_toolchain::{LINKER, TOOLCHAIN_VARIABLE};

/// Set for the child that runs the BPF build; its value is the toolchain.
const CHILD: &str = "SWITCHER_BPF_BUILD_WITH";

/// Name of the BPF binary and of the file in `OUT_DIR`.
const OBJECT: &str = "switcher";

fn main() -> Result<()> {
    if let Ok(toolchain) = env::var(CHILD) {
        return build(&toolchain);
    }
    for file in [
        "build.rs",
        "../xtask/src/bpf_toolchain.rs",
        "../Cargo.toml",
        "../Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={file}");
    }
    for variable in [TOOLCHAIN_VARIABLE, "AYA_BUILD_SKIP"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    if env::var_os("AYA_BUILD_SKIP").is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true")) {
        return write_stub();
    }
    // `cargo::error` fails the build with this one line, without a dump of the script's output.
    if let Err(reason) = build_in_child() {
        println!("cargo::error={reason}");
    }
    Ok(())
}

/// Runs this script once more with the environment that only the BPF build may see: `RUSTC_BOOTSTRAP` (a stable compiler
/// then builds `core`, and only for this target), the linker on the search path, and a quiet cargo, whose progress lines
/// would come out as warnings.
fn build_in_child() -> Result<(), String> {
    const FIX: &str = "run `cargo xtask setup`";
    let toolchain = bpf_toolchain::find().ok_or_else(|| {
        format!("no Rust toolchain with the standard library's sources can build the BPF programs: {FIX}")
    })?;
    let linker = bpf_toolchain::find_linker()
        .ok_or_else(|| format!("{LINKER}, which links the BPF programs, is not installed: {FIX}"))?;
    let searched = env::var_os("PATH").unwrap_or_default();
    let folders = linker
        .parent()
        .map(PathBuf::from)
        .into_iter()
        .chain(env::split_paths(&searched));
    let search_path = env::join_paths(folders).map_err(|error| format!("PATH cannot be extended: {error}"))?;
    let this = env::current_exe().map_err(|error| format!("this build script cannot be found: {error}"))?;
    let child = Command::new(this)
        .env(CHILD, &toolchain)
        .env("PATH", search_path)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TERM_QUIET", "true")
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::inherit())
        .output()
        .map_err(|error| format!("the BPF build cannot be started: {error}"))?;
    if !child.status.success() {
        for line in String::from_utf8_lossy(&child.stderr).lines() {
            println!("cargo::warning={line}");
        }
        return Err(format!(
            "the BPF programs did not build with toolchain `{toolchain}`; the reason is in the lines before"
        ));
    }
    Ok(())
}

fn build(toolchain: &str) -> Result<()> {
    let package = Package {
        name: "switcher-ebpf",
        root_dir: "../switcher-ebpf",
        no_default_features: false,
        features: &["bpf"],
    };
    aya_build::build_ebpf([package], Toolchain::Custom(toolchain))
}

fn write_stub() -> Result<()> {
    let out_dir = env::var_os("OUT_DIR").context("cargo did not set OUT_DIR")?;
    let stub = PathBuf::from(out_dir).join(OBJECT);
    fs::write(&stub, []).with_context(|| format!("cannot write {}", stub.display()))
}
