//! What outlives the agent: the desired state and the receipts. Nothing on disk is ever half written.

mod atomic;
mod lock;
mod receipts;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::model::{AddedAddress, Receipt};
use crate::plan::{DESIRED_SCHEMA, Desired};
use lock::Lock;
use receipts::Receipts;

/// Name of the file that holds the desired state.
const DESIRED_FILE: &str = "desired.json";
/// Name of the file that says which addresses agents added to the host; none: none.
const ADDRESSES_FILE: &str = "addresses.json";

/// Why the disk did not do what was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The directory cannot be used.
    #[error("state directory {path}: {cause}; make it writable for the agent, or name another with --state-dir")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Another agent has it.
    #[error(
        "state directory {path} belongs to a running agent (pid {pid}); stop that one first, or name another with --state-dir"
    )]
    Taken {
        /// The directory.
        path: PathBuf,
        /// The other agent's process id; `unknown` where it did not say.
        pid: String,
    },
    /// The file cannot be read.
    #[error(
        "state file {path} cannot be read: {cause}; repair it or restore it from a backup, or, to start with nothing, run `switcher detach` (flows that are switched end) and then move it away"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file is no desired state.
    #[error(
        "state file {path} is damaged: {cause}; restore it from a backup, or, to start with nothing, run `switcher detach` (flows that are switched end) and then move it away; until then the data path goes on as it is"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The record of addresses is none.
    #[error(
        "{path}, the record of addresses that agents added to this host, is damaged: {cause}; look with `ip address` for addresses with proto 0x53, remove those that you do not want, and move the file away"
    )]
    DamagedAddresses {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The receipt cannot be read.
    #[error("receipt {path} cannot be read: {cause}")]
    UnreadableReceipt {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file is no receipt.
    #[error("receipt {path} is damaged: {cause}; nothing else depends on it")]
    DamagedReceipt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The file cannot be written. The old one stands.
    #[error("{path} could not be written: {cause}; make room on the disk and try again")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// It is not known which file a power cut would leave.
    #[error(
        "{path} was written, but the disk did not confirm it and the old one could not be put back: {cause}; check the disk, then run: switcher status"
    )]
    Unsure {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// No such receipt.
    #[error("there is no receipt {id}; list them with: switcher receipt ls")]
    NoReceipt {
        /// Its number.
        id: u64,
    },
}

/// The state directory of one agent.
#[derive(Debug)]
pub struct Store {
    desired: PathBuf,
    addresses: PathBuf,
    receipts: Receipts,
    _lock: Lock,
}

impl Store {
    /// Opens the directory, making it where it is not there, and takes it for this process.
    ///
    /// # Errors
    /// When it cannot be used, or another agent has it.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let failed = |cause| StoreError::Directory {
            path: directory.to_owned(),
            cause,
        };
        fs::create_dir_all(directory).map_err(failed)?;
        let lock = Lock::take(directory)?;
        atomic::remove_leftovers(directory).map_err(failed)?;
        let receipts = Receipts::open(directory.join("receipts"))?;
        Ok(Self {
            desired: directory.join(DESIRED_FILE),
            addresses: directory.join(ADDRESSES_FILE),
            receipts,
            _lock: lock,
        })
    }

    /// The file of the desired state, where there is none yet.
    #[must_use]
    pub fn missing_desired(&self) -> Option<&Path> {
        (!self.desired.exists()).then_some(&*self.desired)
    }

    /// The desired state; the empty one where there is no file yet.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load(&self) -> Result<Desired, StoreError> {
        let path = || self.desired.clone();
        let damaged = |cause: String| StoreError::Damaged { path: path(), cause };
        let bytes = match fs::read(&self.desired) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Desired::default()),
            Err(cause) => return Err(StoreError::Unreadable { path: path(), cause }),
        };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let schema = value.get("schema").and_then(serde_json::Value::as_u64);
        if schema != Some(u64::from(DESIRED_SCHEMA)) {
            return Err(damaged(format!(
                "its schema is not {DESIRED_SCHEMA}, the one this agent knows"
            )));
        }
        let desired: Desired = serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
        desired.check().map_err(|refusal| damaged(refusal.to_string()))?;
        Ok(desired)
    }

    /// Replaces the desired state. Returns once it is on the disk.
    ///
    /// # Errors
    /// When it cannot be written; the old one stands then.
    pub fn save(&self, desired: &Desired) -> Result<(), StoreError> {
        atomic::write_json(&self.desired, desired)
    }

    /// The addresses that agents added to the host.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn addresses(&self) -> Result<Vec<AddedAddress>, StoreError> {
        recorded_addresses(&self.addresses)
    }

    /// Replaces that record. Returns once it is on the disk.
    ///
    /// # Errors
    /// When it cannot be written; the old one stands then.
    pub fn save_addresses(&self, record: &[AddedAddress]) -> Result<(), StoreError> {
        atomic::write_json(&self.addresses, &record)
    }

    /// Gives the receipt its number, unless it has one that it replaces, and writes it. The oldest beyond 1,000 go.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_receipt(&mut self, receipt: &mut Receipt) -> Result<(), StoreError> {
        self.receipts.put(receipt)
    }

    /// The receipt of that number.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn receipt(&self, id: u64) -> Result<Receipt, StoreError> {
        self.receipts.get(id)
    }

    /// The newest receipts, newest first; damaged ones are left out.
    #[must_use]
    pub fn newest_receipts(&self, count: usize) -> Vec<Receipt> {
        self.receipts.newest(count)
    }
}

/// The addresses that agents with this state directory added to the host. Takes nothing, makes nothing.
///
/// # Errors
/// When the record cannot be read or is damaged.
pub fn addresses_of(directory: &Path) -> Result<Vec<AddedAddress>, StoreError> {
    recorded_addresses(&directory.join(ADDRESSES_FILE))
}

fn recorded_addresses(file: &Path) -> Result<Vec<AddedAddress>, StoreError> {
    let path = || file.to_owned();
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| StoreError::DamagedAddresses {
            path: path(),
            cause: error.to_string(),
        }),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(cause) => Err(StoreError::Unreadable { path: path(), cause }),
    }
}

#[cfg(test)]
mod tests;
