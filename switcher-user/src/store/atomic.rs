//! Files that are replaced whole: written beside, synced, renamed, and the directory synced.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use super::StoreError;

const PREFIX: &str = ".writing-";

/// Replaces the file by the value as JSON.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    write_json_with(path, value, |directory| File::open(directory)?.sync_all())
}

/// As [`write_json`], with the directory synced by `sync`.
pub(super) fn write_json_with(
    path: &Path,
    value: &impl Serialize,
    sync: impl Fn(&Path) -> io::Result<()>,
) -> Result<(), StoreError> {
    let path_of = || path.to_owned();
    let unwritable = |cause| StoreError::Unwritable { path: path_of(), cause };
    let directory = path
        .parent()
        .ok_or_else(|| unwritable(io::Error::other("it has no directory")))?;
    let old = match fs::read(path) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(cause) => return Err(unwritable(cause)),
    };
    replace(directory, path, |writer| {
        Ok(serde_json::to_writer_pretty(writer, value)?)
    })
    .map_err(unwritable)?;
    let Err(cause) = sync(directory) else { return Ok(()) };
    // The new file is in place already, and nobody will act on it: the old one goes back.
    let back = match old {
        Some(old) => replace(directory, path, |writer| writer.write_all(old.trim_ascii_end())),
        None => fs::remove_file(path),
    };
    match back {
        Ok(()) => Err(unwritable(cause)),
        Err(_) => Err(StoreError::Unsure { path: path_of(), cause }),
    }
}

fn replace(directory: &Path, path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut beside = tempfile::Builder::new().prefix(PREFIX).tempfile_in(directory)?;
    {
        let mut writer = BufWriter::new(beside.as_file_mut());
        write(&mut writer)?;
        writer.write_all(b"\n")?;
        writer.flush()?;
    }
    beside.as_file().sync_all()?;
    beside.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Removes what a killed agent left beside its files.
pub(super) fn remove_leftovers(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
