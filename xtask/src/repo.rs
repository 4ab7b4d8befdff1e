//! Where things are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The repository and its build folder.
pub struct Repo {
    /// The folder of the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// `$CARGO_TARGET_DIR`, or `target` in the repository.
    pub target: PathBuf,
}

impl Repo {
    /// Finds both from cargo's variables.
    pub fn find() -> Result<Self> {
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest_dir)
            .parent()
            .context("xtask's folder has no parent: it is not in the repository")?;
        let root = root
            .canonicalize()
            .with_context(|| format!("the repository {} cannot be opened", root.display()))?;
        let target = match env::var_os("CARGO_TARGET_DIR") {
            // Relative to where cargo was called, as cargo takes it.
            Some(target) => std::path::absolute(target)?,
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// A binary of a profile: `debug` or `release`.
    pub fn binary(&self, profile: &str, name: &str) -> PathBuf {
        self.target.join(profile).join(name)
    }
}
