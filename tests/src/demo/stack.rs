//! The stack files of the demo: those in `docs/examples/`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::Path;
use crate::lab::Lab;

/// One example.
#[derive(Clone, Copy, Debug)]
pub(super) struct Example {
    /// Its name in `docs/examples/`.
    pub name: &'static str,
    text: &'static str,
}

/// All on v1.
pub(super) const V1: Example = Example {
    name: "shop-v1.yaml",
    text: include_str!("../../../docs/examples/shop-v1.yaml"),
};
/// Both, 50/50.
pub(super) const CANARY: Example = Example {
    name: "shop-canary.yaml",
    text: include_str!("../../../docs/examples/shop-canary.yaml"),
};

impl Example {
    /// Writes it into the lab; with a path other than `auto`, the alias gets its `path:` line.
    pub fn place(&self, lab: &Lab, path: Path) -> Result<PathBuf> {
        const ALIAS: &str = "  web:\n";
        let text = match path {
            Path::Auto => self.text.to_owned(),
            chosen => {
                anyhow::ensure!(self.text.contains(ALIAS), "{} has no alias web", self.name);
                self.text.replacen(ALIAS, &format!("{ALIAS}    path: {chosen}\n"), 1)
            }
        };
        let file = lab.dir().join(self.name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}
