//! Which compiler and linker build the BPF programs. Used by `cargo xtask setup` and by `switcher-user/build.rs`, so that
//! both mean the same.

use std::env;
use std::path::{Path, PathBuf};

/// Names a toolchain as `rustup run` takes it; wins over every search.
pub const TOOLCHAIN_VARIABLE: &str = "EBPF_TOOLCHAIN";

/// The BPF linker's program.
pub const LINKER: &str = "bpf-linker";

/// The standard library's sources below a toolchain: `core` is built from them for the BPF target.
const LIBRARY_LOCK: &str = "lib/rustlib/src/rust/library/Cargo.lock";

/// The toolchain to build with: `$EBPF_TOOLCHAIN`; a rustup toolchain with the standard library's sources, nightly first;
/// Debian's compiler in `/usr` (packages rustc-web, cargo-web, rust-web-src).
pub fn find() -> Option<String> {
    if let Some(named) = env::var(TOOLCHAIN_VARIABLE).ok().filter(|name| !name.is_empty()) {
        return Some(named);
    }
    let installed = rustup_home()
        .map(|home| toolchains_with_sources(&home))
        .unwrap_or_default();
    installed.into_iter().next().or_else(|| {
        Path::new("/usr")
            .join(LIBRARY_LOCK)
            .is_file()
            .then(|| "/usr".to_owned())
    })
}

/// Where `bpf-linker` is: on the search path or where cargo installs programs.
pub fn find_linker() -> Option<PathBuf> {
    let searched = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&searched)
        .chain(cargo_bin())
        .map(|folder| folder.join(LINKER))
        .find(|program| program.is_file())
}

/// The folder `cargo install` writes programs to.
pub fn cargo_bin() -> Option<PathBuf> {
    home_of("CARGO_HOME", ".cargo").map(|home| home.join("bin"))
}

fn rustup_home() -> Option<PathBuf> {
    home_of("RUSTUP_HOME", ".rustup")
}

fn home_of(variable: &str, below_home: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(below_home)))
}

/// Rustup's toolchains that have the standard library's sources: nightly ones, then the others, newest name first.
fn toolchains_with_sources(rustup_home: &Path) -> Vec<String> {
    let Ok(entries) = rustup_home.join("toolchains").read_dir() else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join(LIBRARY_LOCK).is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_by_key(|name| std::cmp::Reverse((name.starts_with("nightly"), name.clone())));
    names
}
