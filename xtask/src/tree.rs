//! A copy of the working tree. Only files that differ are written, so that cargo rebuilds no more than a patch touches.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Deeper than any source tree; a loop of links ends here.
const DEEPEST: usize = 32;

/// Makes `copy` equal to `source`, but for git's folder and build folders. Returns how many files were written or removed.
pub fn sync(source: &Path, copy: &Path) -> Result<usize> {
    let wanted = files(source)?;
    let mut changed = 0;
    // First, so that a file can become a folder.
    for file in files(copy)?.difference(&wanted) {
        fs::remove_file(copy.join(file)).with_context(|| format!("cannot remove {}", copy.join(file).display()))?;
        changed += 1;
    }
    for file in &wanted {
        let (from, to) = (source.join(file), copy.join(file));
        let content = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        if fs::read(&to).is_ok_and(|there| there == content) {
            continue;
        }
        if to.is_dir() {
            fs::remove_dir_all(&to)?;
        }
        fs::create_dir_all(to.parent().unwrap_or(copy))?;
        fs::write(&to, content).with_context(|| format!("cannot write {}", to.display()))?;
        fs::set_permissions(&to, fs::metadata(&from)?.permissions())?;
        changed += 1;
    }
    Ok(changed)
}

/// Files below `root`, relative to it.
fn files(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    if root.is_dir() {
        collect(root, Path::new(""), 0, &mut found)?;
    }
    Ok(found)
}

fn collect(root: &Path, folder: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    if depth > DEEPEST {
        bail!("{} is too deep for a source tree", root.join(folder).display());
    }
    let absolute = root.join(folder);
    for entry in fs::read_dir(&absolute).with_context(|| format!("cannot list {}", absolute.display()))? {
        let entry = entry?;
        let name = folder.join(entry.file_name());
        let kind = entry.file_type()?;
        // Cargo marks its build folders so; a worktree's `.git` is a file.
        if entry.file_name() == ".git" || kind.is_dir() && entry.path().join("CACHEDIR.TAG").exists() {
            continue;
        }
        if kind.is_dir() {
            collect(root, &name, depth + 1, found)?;
        } else if kind.is_file() {
            found.insert(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_only_what_differs_and_removes_what_is_gone() {
        let folder = std::env::temp_dir().join(format!("xtask-tree-{}", std::process::id()));
        let (source, copy) = (folder.join("source"), folder.join("copy"));
        for path in ["a/b.rs", "c", ".git/config", "target/CACHEDIR.TAG", "target/object"] {
            fs::create_dir_all(source.join(path).parent().unwrap()).unwrap();
            fs::write(source.join(path), path).unwrap();
        }
        assert_eq!(sync(&source, &copy).unwrap(), 2);
        assert_eq!(sync(&source, &copy).unwrap(), 0);
        fs::write(copy.join("a/b.rs"), "patched").unwrap();
        fs::write(copy.join("new"), "patched").unwrap();
        assert_eq!(sync(&source, &copy).unwrap(), 2);
        assert_eq!(fs::read_to_string(copy.join("a/b.rs")).unwrap(), "a/b.rs");
        fs::remove_file(source.join("c")).unwrap();
        fs::create_dir(source.join("c")).unwrap();
        fs::write(source.join("c/d"), "").unwrap();
        sync(&source, &copy).unwrap();
        let left: Vec<PathBuf> = files(&copy).unwrap().into_iter().collect();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(left, [PathBuf::from("a/b.rs"), PathBuf::from("c/d")]);
    }
}
