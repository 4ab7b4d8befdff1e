//! What surrounds the files: variables, and the folder that their paths begin in.

use std::path::{Component, Path, PathBuf};

/// What stands in a file; `None`: there is none.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> Result<Option<String>, String>;

/// What the files' words are read with. The reader itself does no I/O.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// What `${NAME}` stands for.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a file that `env_file` names.
    pub file: ReadFile<'a>,
    /// The folder of the first file, absolute.
    pub folder: &'a Path,
}

impl Surroundings<'_> {
    /// Nothing is set, no file is there.
    #[cfg(test)]
    pub(crate) fn none() -> Surroundings<'static> {
        Surroundings {
            variable: &|_| None,
            file: &|_| Ok(None),
            folder: Path::new("/"),
        }
    }

    /// A path of the host as the files write it: relative ones begin in their folder, `~` is the user's.
    ///
    /// # Errors
    /// A sentence, where `~` is nobody's.
    pub(super) fn path(&self, text: &str) -> Result<PathBuf, String> {
        let whole = match text.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                let home = (self.variable)("HOME").filter(|home| home.starts_with('/'));
                let home = home.ok_or("begins with '~', and HOME names no folder; write the folder out")?;
                PathBuf::from(format!("{home}{rest}"))
            }
            Some(_) => return Err("names another user's folder with '~'; write the folder out".to_owned()),
            None => self.folder.join(text),
        };
        Ok(without_dots(&whole))
    }

    /// Whether a service with these profiles runs.
    pub(super) fn runs(&self, profiles: &[String]) -> bool {
        let active = (self.variable)("COMPOSE_PROFILES").unwrap_or_default();
        let mut active = active.split(',').map(str::trim);
        profiles.is_empty() || active.any(|one| one == "*" || profiles.iter().any(|own| own == one))
    }
}

/// As compose writes paths: Docker is given none with `..`.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}
