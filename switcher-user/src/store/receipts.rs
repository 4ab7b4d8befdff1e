//! Receipts: one file each, the newest 1,000.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::atomic;
use crate::model::Receipt;

/// Most receipts that are kept.
const RECEIPTS_MAX: usize = 1_000;

/// The directory of receipts.
#[derive(Debug)]
pub(super) struct Receipts {
    directory: PathBuf,
    ids: BTreeSet<u64>,
}

impl Receipts {
    pub(super) fn open(directory: PathBuf) -> Result<Self, StoreError> {
        let ids = prepare(&directory).map_err(|cause| StoreError::Directory {
            path: directory.clone(),
            cause,
        })?;
        Ok(Self { directory, ids })
    }

    /// Gives the receipt a number, unless it has one: then it replaces the one that was written under it.
    pub(super) fn put(&mut self, receipt: &mut Receipt) -> Result<(), StoreError> {
        let had = receipt.id;
        let id = had.unwrap_or_else(|| self.ids.last().map_or(1, |last| last + 1));
        receipt.id = Some(id);
        // Somebody may have tidied up.
        let written = fs::create_dir_all(&self.directory)
            .map_err(|cause| StoreError::Directory {
                path: self.directory.clone(),
                cause,
            })
            .and_then(|()| atomic::write_json(&self.path(id), receipt));
        if let Err(error) = written {
            receipt.id = had;
            return Err(error);
        }
        self.ids.insert(id);
        while self.ids.len() > RECEIPTS_MAX {
            let Some(oldest) = self.ids.pop_first() else { break };
            if let Err(error) = fs::remove_file(self.path(oldest)) {
                tracing::warn!("old receipt {oldest} could not be removed: {error}");
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, id: u64) -> Result<Receipt, StoreError> {
        if !self.ids.contains(&id) {
            return Err(StoreError::NoReceipt { id });
        }
        let path = self.path(id);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(cause) => return Err(StoreError::UnreadableReceipt { path, cause }),
        };
        serde_json::from_slice(&bytes).map_err(|error| StoreError::DamagedReceipt {
            path,
            cause: error.to_string(),
        })
    }

    pub(super) fn newest(&self, count: usize) -> Vec<Receipt> {
        let read = |id: &u64| {
            self.get(*id)
                .inspect_err(|error| tracing::warn!("receipt {id} is left out: {error}"))
                .ok()
        };
        self.ids.iter().rev().take(count).filter_map(read).collect()
    }

    fn path(&self, id: u64) -> PathBuf {
        self.directory.join(format!("{id:08}.json"))
    }
}

fn prepare(directory: &Path) -> io::Result<BTreeSet<u64>> {
    fs::create_dir_all(directory)?;
    atomic::remove_leftovers(directory)?;
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let id = name
            .to_str()
            .and_then(|name| name.strip_suffix(".json"))
            .and_then(|id| id.parse::<u64>().ok());
        ids.extend(id);
    }
    Ok(ids)
}
