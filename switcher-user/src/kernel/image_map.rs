//! An image as a map of its own: made, filled, frozen, and then put in place by one update.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use aya::maps::MapData;
use switcher_ebpf::abi::Row;

use super::error::{KernelError, NEEDS_RIGHTS, SEE_REASON, step};
use super::mapped::{Access, Mapped};

const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_F_MMAPABLE: u32 = 0x400;
const BPF_F_INNER_MAP: u32 = 0x1000;
const BPF_MAP_FREEZE: libc::c_long = 22;

/// Makes a frozen map of rows.
pub(super) fn create(rows: &[Row]) -> Result<MapData, KernelError> {
    let shape = aya_obj::Map::new_from_params(
        BPF_MAP_TYPE_ARRAY,
        size_of::<u32>() as u32,
        size_of::<Row>() as u32,
        rows.len() as u32,
        BPF_F_MMAPABLE | BPF_F_INNER_MAP,
    );
    let map = MapData::create(shape, "image", None).map_err(step("making the map of an image", NEEDS_RIGHTS))?;
    Mapped::new(map.fd().as_fd(), rows.len(), Access::Write)
        .map_err(step("mapping an image", SEE_REASON))?
        .fill(rows);
    freeze(map.fd().as_fd()).map_err(step("freezing an image", SEE_REASON))?;
    Ok(map)
}

/// Nobody writes it any more from outside the kernel; only the unmapped map can be frozen.
fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    // The syscall's attributes are a union; freezing reads its first word.
    let attributes: [u32; 32] = std::array::from_fn(|i| if i == 0 { map.as_raw_fd() as u32 } else { 0 });
    // SAFETY: the pointer and the size are those of the array above.
    let code = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_FREEZE,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
