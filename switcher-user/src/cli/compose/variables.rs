//! Variables of the environment, and those of the `.env` beside the first file.

use std::collections::BTreeMap;
use std::path::Path;

use super::files::{invalid, read_text, wrong};
use crate::api::ApiError;
use crate::compose::{SourceFile, variables};

/// The environment wins.
#[derive(Debug)]
pub(super) struct Variables {
    from_file: BTreeMap<String, String>,
}

impl Variables {
    /// With the `.env` of a folder, where there is one.
    pub fn of(folder: &Path) -> Result<Self, ApiError> {
        let file = folder.join(".env");
        let name = file.display().to_string();
        let text = read_text(&file).map_err(|why| wrong(format!("{name}: {why}; mend it, or remove it")))?;
        let from_file = match text {
            Some(text) => variables(&SourceFile { name, text }, &of_environment).map_err(invalid)?,
            None => BTreeMap::new(),
        };
        Ok(Self { from_file })
    }

    pub fn get(&self, name: &str) -> Option<String> {
        of_environment(name).or_else(|| self.from_file.get(name).cloned())
    }

    /// One that says something.
    pub fn filled(&self, name: &str) -> Option<String> {
        self.get(name).filter(|value| !value.is_empty())
    }
}

fn of_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
