//! What can be done to a pinned link without aya.
//!
//! Taking it off its hook at once: removing the pin alone does it too, but a moment later: the kernel frees links in
//! the background, and until then the program still runs.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;

const BPF_LINK_TYPE_CGROUP: u32 = 3;

/// The first words of the syscall's attributes for BPF_OBJ_GET.
#[repr(C)]
struct ObjectAttributes {
    path: u64,
    unused: [u32; 2],
}

/// The first words of the syscall's attributes for BPF_LINK_UPDATE.
#[repr(C)]
struct UpdateAttributes {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// The attributes for BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct InfoAttributes {
    object: u32,
    size: u32,
    info: u64,
}

/// What the kernel tells of a link to a cgroup: the beginning of its `bpf_link_info`.
#[repr(C)]
#[derive(Default)]
struct CgroupLinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    unused: u32,
    cgroup_id: u64,
    attach_type: u32,
    padding: u32,
}

/// Detaches the link that is pinned at `path`.
pub(super) fn detach(path: &Path) -> io::Result<()> {
    let link = open(path)?;
    let detach = link.as_raw_fd() as u32;
    call(BPF_LINK_DETACH, &detach).map(drop)
}

/// Puts another program into the link that is pinned at `path`, without a gap.
pub(super) fn replace(path: &Path, program: BorrowedFd<'_>) -> io::Result<()> {
    let link = open(path)?;
    let update = UpdateAttributes {
        link: link.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        flags: 0,
        old_program: 0,
    };
    call(BPF_LINK_UPDATE, &update).map(drop)
}

/// The number of the cgroup that the pinned link is attached to; 0: it is gone.
pub(super) fn cgroup_of(path: &Path) -> io::Result<u64> {
    let link = open(path)?;
    let mut info = CgroupLinkInfo::default();
    let ask = InfoAttributes {
        object: link.as_raw_fd() as u32,
        size: size_of::<CgroupLinkInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    call(BPF_OBJ_GET_INFO_BY_FD, &ask)?;
    Ok(if info.kind == BPF_LINK_TYPE_CGROUP {
        info.cgroup_id
    } else {
        0
    })
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let get = ObjectAttributes {
        path: path.as_ptr() as u64,
        unused: [0; 2],
    };
    let fd = call(BPF_OBJ_GET, &get)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn call<A>(command: libc::c_long, attributes: &A) -> io::Result<i32> {
    // SAFETY: the attributes are of the size that is told, and what they point to outlives the call.
    let code = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of::<A>()) };
    if code < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(code as i32)
}
