//! Files that are replaced whole: written beside, synced, renamed, and the directory synced.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use super::StoreError;

const PREFIX: &str = ".writing-";

/// Replaces the file by the value as JSON.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    replace(path, value).map_err(|cause| StoreError::Unwritable {
        path: path.to_owned(),
        cause,
    })
}

fn replace(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let directory = path.parent().ok_or_else(|| io::Error::other("it has no directory"))?;
    let mut beside = tempfile::Builder::new().prefix(PREFIX).tempfile_in(directory)?;
    {
        let mut writer = BufWriter::new(beside.as_file_mut());
        serde_json::to_writer_pretty(&mut writer, value)?;
        writer.write_all(b"\n")?;
        writer.flush()?;
    }
    beside.as_file().sync_all()?;
    beside.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
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
