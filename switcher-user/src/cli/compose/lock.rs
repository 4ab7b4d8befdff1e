//! One command at a time for a project: two would remove each other's containers.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use crate::api::{ApiError, ErrorCode};
use crate::model::StackName;

/// As much of the file is read: a process id.
const PID_BYTES_MAX: u64 = 20;

/// Held until the command ends, however it ends.
#[derive(Debug)]
pub(super) struct ProjectLock {
    _file: File,
}

impl ProjectLock {
    /// Takes it; the file stands beside the agent's socket.
    pub(super) fn take(socket: &Path, project: &StackName) -> Result<Self, ApiError> {
        let path = socket.with_file_name(format!("compose-{project}.lock"));
        let failed = |error: std::io::Error| {
            let text = format!("{}: cannot be locked: {error}; nothing was changed", path.display());
            ApiError::new(ErrorCode::HostFailed, text)
        };
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file
            .as_mut()
            .map_err(|error| failed(std::io::Error::from(error.kind())))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = file.take(PID_BYTES_MAX).read_to_string(&mut pid);
                let text = format!(
                    "another 'switcher compose' (pid {}) is at work on project {project}; nothing was changed: wait until it has ended",
                    pid.trim()
                );
                return Err(ApiError::new(ErrorCode::Busy, text));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(failed)?;
        let file = file.try_clone().map_err(failed)?;
        Ok(Self { _file: file })
    }
}
