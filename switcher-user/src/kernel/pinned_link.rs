//! Takes a pinned link off its hook at once. Removing the pin alone does it too, but a moment later: the kernel frees links in
//! the background, and until then the program still runs.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_DETACH: libc::c_long = 34;

/// The first words of the syscall's attributes for BPF_OBJ_GET.
#[repr(C)]
struct ObjectAttributes {
    path: u64,
    unused: [u32; 2],
}

/// Detaches the link that is pinned at `path`.
pub(super) fn detach(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let get = ObjectAttributes {
        path: path.as_ptr() as u64,
        unused: [0; 2],
    };
    // SAFETY: the attributes are of the size that is told, and the path ends with a zero byte and outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const get, size_of_val(&get)) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    let link = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let detach = link.as_raw_fd() as u32;
    // SAFETY: the attributes are one word, of the size that is told.
    let code = unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, &raw const detach, size_of_val(&detach)) };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
