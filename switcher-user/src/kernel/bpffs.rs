//! The place where programs, maps and links outlive the agent.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use switcher_ebpf::abi::ABI_VERSION;

use super::error::{KernelError, NEEDS_RIGHTS, step};

const BPFFS_MAGIC: libc::__fsword_t = 0xcafe_4a11;

/// The folder of this ABI version; two versions never share a map.
pub(super) fn root(bpffs: &Path) -> PathBuf {
    bpffs.join("switcher").join(format!("v{ABI_VERSION}"))
}

/// The folders of all versions that have one.
pub(super) fn roots(bpffs: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(bpffs.join("switcher")).into_iter().flatten().flatten();
    let mut roots: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    roots.sort_unstable();
    roots
}

/// Another version's programs may be on this host's interfaces: its maps cannot be read, and beside it no second data path
/// may be attached.
pub(super) fn refuse_other_versions(bpffs: &Path) -> Result<(), KernelError> {
    let ours = root(bpffs);
    let has_pins =
        |root: &Path, folder: &str| fs::read_dir(root.join(folder)).is_ok_and(|mut pins| pins.next().is_some());
    for path in roots(bpffs) {
        if path != ours && (has_pins(&path, "links") || has_pins(&path, "programs")) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            return Err(KernelError::OtherVersion {
                theirs: name.trim_start_matches('v').to_owned(),
                ours: ABI_VERSION,
                path,
            });
        }
    }
    Ok(())
}

/// Makes the folders, and mounts bpffs where there is none.
pub(super) fn prepare(bpffs: &Path) -> Result<PathBuf, KernelError> {
    let doing = || format!("preparing bpffs at {}", bpffs.display());
    // The usual place lies in sysfs, where no folder can be made before bpffs is mounted.
    let usual = Path::new("/sys/fs/bpf");
    if bpffs.starts_with(usual) && !is_bpffs(usual).map_err(step(doing(), NEEDS_RIGHTS))? {
        mount(usual).map_err(step(doing(), NEEDS_RIGHTS))?;
    }
    fs::create_dir_all(bpffs).map_err(step(doing(), NEEDS_RIGHTS))?;
    if !is_bpffs(bpffs).map_err(step(doing(), NEEDS_RIGHTS))? {
        mount(bpffs).map_err(step(doing(), NEEDS_RIGHTS))?;
    }
    let root = root(bpffs);
    for folder in ["maps", "programs", "links"] {
        fs::create_dir_all(root.join(folder)).map_err(step(doing(), NEEDS_RIGHTS))?;
    }
    Ok(root)
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

pub(super) fn is_bpffs(path: &Path) -> io::Result<bool> {
    let path = c_path(path)?;
    // SAFETY: all zeroes are a valid statfs, which the call overwrites; the path ends with a zero byte.
    let (code, facts) = unsafe {
        let mut facts: libc::statfs = std::mem::zeroed();
        (libc::statfs(path.as_ptr(), &raw mut facts), facts)
    };
    if code == 0 {
        Ok(facts.f_type == BPFFS_MAGIC)
    } else {
        Err(io::Error::last_os_error())
    }
}

fn mount(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: every pointer is to a string that ends with a zero byte, or null where the call allows it.
    let code = unsafe { libc::mount(c"bpf".as_ptr(), path.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
