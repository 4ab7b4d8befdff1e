//! One agent a bpffs directory, whatever its state directory.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::AgentError;

/// Held as long as the agent lives.
#[derive(Debug)]
pub(crate) struct PinsLock {
    _directory: File,
}

impl PinsLock {
    /// Takes the directory for this process.
    pub(crate) fn take(directory: &Path) -> Result<Self, AgentError> {
        let path = directory.to_owned();
        let file = File::open(directory).map_err(|cause| AgentError::Pins {
            path: path.clone(),
            cause,
        })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _directory: file }),
            Err(TryLockError::WouldBlock) => Err(AgentError::PinsTaken { path }),
            Err(TryLockError::Error(cause)) => Err(AgentError::Pins { path, cause }),
        }
    }
}
