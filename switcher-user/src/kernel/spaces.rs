//! The network namespaces of this host's processes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;

/// Namespaces that are looked at; containers on one host are some hundreds.
const SPACES_MAX: usize = 4_096;

/// Network namespaces of running processes but the agent's own, by their inode numbers.
pub(super) fn others() -> BTreeMap<u64, File> {
    let mut spaces = BTreeMap::new();
    let Ok(own) = fs::metadata("/proc/self/ns/net").map(|own| own.ino()) else {
        return spaces;
    };
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = process.path().join("ns/net");
        if spaces.len() >= SPACES_MAX {
            break;
        }
        if let Ok(number) = fs::metadata(&path).map(|space| space.ino())
            && number != own
            && !spaces.contains_key(&number)
            && let Ok(file) = File::open(Path::new(&path))
        {
            spaces.insert(number, file);
        }
    }
    spaces
}

/// Does the work in a namespace: on a thread of its own, that ends with it. A socket or a file of `/proc` that it opens
/// belongs to the namespace.
pub(super) fn within<R: Send + 'static>(
    space: File,
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> io::Result<R> {
    let enter = move || {
        // SAFETY: a descriptor that is open; only this thread changes its namespace.
        if unsafe { libc::setns(space.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(io::Error::last_os_error());
        }
        work()
    };
    let done = thread::Builder::new().spawn(enter)?.join();
    done.unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}
