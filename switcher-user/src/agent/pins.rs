//! One agent a bpffs directory, whatever its state directory.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
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
            Err(TryLockError::WouldBlock) => {
                let pid = holder(&file).unwrap_or_else(|| "unknown".to_owned());
                Err(AgentError::PinsTaken { path, pid })
            }
            Err(TryLockError::Error(cause)) => Err(AgentError::Pins { path, cause }),
        }
    }
}

/// The process that holds the lock. A directory can hold no pid, so the kernel's own list of locks has to say.
fn holder(file: &File) -> Option<String> {
    let facts = file.metadata().ok()?;
    let (device, inode) = (facts.dev(), facts.ino());
    let file = format!("{:02x}:{:02x}:{inode}", libc::major(device), libc::minor(device));
    holder_in(&fs::read_to_string("/proc/locks").ok()?, &file)
}

/// Lines are `1: FLOCK  ADVISORY  WRITE 4711 00:2e:12345 0 EOF`; who waits has `->` before its kind.
fn holder_in(locks: &str, wanted: &str) -> Option<String> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [_, "FLOCK", _, "WRITE", pid, file, ..] if file == wanted => Some(pid.to_owned()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::holder_in;

    #[test]
    fn the_holder_is_the_one_with_the_lock_on_that_file() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 00:2e:7 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 00:2f:7 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 13 00:2e:7 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 14 00:2e:7 0 EOF\n";
        assert_eq!(holder_in(locks, "00:2e:7").as_deref(), Some("14"));
        assert_eq!(holder_in(locks, "00:2e:8"), None);
    }
}
