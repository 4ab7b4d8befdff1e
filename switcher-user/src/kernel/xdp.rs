//! The XDP program on interfaces, by pinned links that outlive the agent as those of TCX do.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{HashMap, MapData, ProgramArray};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use switcher_ebpf::abi::XdpDevice;

use super::abi::Abi;
use super::adopt;
use super::error::{KernelError, NEEDS_RIGHTS, SEE_REASON, step};
use super::pin::{LinkPlace, LinkPlan, Pin};

/// What is attached.
pub(super) const PROGRAM: &str = "switcher_xdp";
/// Those that it calls on the driver path, by their place in the map.
const CALLED: [&str; 2] = ["switcher_send", "switcher_reply"];
const CALLED_MAP: &str = "XDP_PROGRAMS";
const DEVICES: &str = "XDP_DEVICES";
const LINK_SUFFIX: &str = "-xdp";

/// An interface that the XDP program is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// Its link-layer address: frames for others pass.
    pub link_address: [u8; 6],
    /// Packets may come with checksums that hardware was to finish.
    pub partial_sums: bool,
    /// Frames may be sent on from here and to here, past the stack.
    pub sends_on: bool,
}

fn pin(root: &Path, ifindex: u32) -> PathBuf {
    root.join("links").join(format!("{ifindex}{LINK_SUFFIX}"))
}

/// True where clients come in by the XDP program.
pub(super) fn is_on(root: &Path, ifindex: u32) -> bool {
    pin(root, ifindex).exists()
}

/// `BPF_LINK_TYPE_XDP`.
const LINK_TYPE_XDP: u32 = 6;

/// The plan of a link of the XDP program, by its pin's name; `None`: it is none.
pub(super) fn plan_of_pin(name: &str) -> Option<LinkPlan> {
    Some(LinkPlan {
        program: PROGRAM,
        kind: LINK_TYPE_XDP,
        place: LinkPlace::Interface {
            ifindex: name.strip_suffix(LINK_SUFFIX)?.parse().ok()?,
            // Such a link has none, which the kernel leaves at zero.
            attach_type: 0,
        },
    })
}

/// Attaches the program, or replaces an earlier agent's without a gap. In the driver only: the generic mode sits behind the
/// stack's own work and loses large packets. The program is loaded at its first use: verifying it takes a second that hosts
/// without XDP are spared.
pub(super) fn attach(ebpf: &mut Ebpf, device: &Device, root: &Path) -> Result<(), KernelError> {
    let doing = || format!("attaching XDP to {}", device.interface);
    tell(ebpf, device, root)?;
    adopt::ready(ebpf, root, PROGRAM)?;
    install_called(ebpf, root)?;
    let program: &mut Xdp = ebpf
        .program_mut(PROGRAM)
        .ok_or_else(|| super::datapath::missing(PROGRAM))?
        .try_into()
        .map_err(step("finding the XDP program", SEE_REASON))?;
    attach_or_replace(program, device.ifindex, &pin(root, device.ifindex)).map_err(|error| {
        let remedy = remedy(&error);
        step(doing(), remedy)(error)
    })
}

/// Puts this build's programs where the XDP program finds them.
pub(super) fn install_called(ebpf: &mut Ebpf, root: &Path) -> Result<(), KernelError> {
    for (index, name) in (0..).zip(CALLED) {
        install(ebpf, root, index, name)?;
    }
    Ok(())
}

fn install(ebpf: &mut Ebpf, root: &Path, index: u32, name: &str) -> Result<(), KernelError> {
    let doing = || format!("installing the BPF program {name}");
    adopt::ready(ebpf, root, name)?;
    let program = ebpf.program(name).ok_or_else(|| super::datapath::missing(name))?;
    let program = program.fd().map_err(step(doing(), SEE_REASON))?;
    let program = program.try_clone().map_err(step(doing(), SEE_REASON))?;
    let map = ebpf
        .map_mut(CALLED_MAP)
        .ok_or_else(|| super::datapath::missing(CALLED_MAP))?;
    let mut map: ProgramArray<&mut MapData> = map.try_into().map_err(step(doing(), SEE_REASON))?;
    map.set(index, &program, 0).map_err(step(doing(), SEE_REASON))
}

fn attach_or_replace(program: &mut Xdp, ifindex: u32, pin: &Path) -> Result<(), ProgramError> {
    if let Ok(link) = Pin::open(pin) {
        if link.link_facts().map_err(ProgramError::IOError)?.ifindex == ifindex {
            let fd = program.fd()?;
            return link.replace_program(fd.as_fd()).map_err(ProgramError::IOError);
        }
        // The interface is gone, and the link with it.
        let _ = fs::remove_file(pin);
    }
    let id = program.attach_to_if_index(ifindex, XdpMode::Driver)?;
    let link = FdLink::try_from(program.take_link(id)?).map_err(other)?;
    link.pin(pin).map(drop).map_err(other)
}

/// Takes the program off an interface; true when it was there.
pub(super) fn detach(ebpf: &mut Ebpf, ifindex: u32, root: &Path) -> Result<bool, KernelError> {
    let pin = pin(root, ifindex);
    let Ok(link) = Pin::open(&pin) else {
        return Ok(false);
    };
    // A link whose interface is gone cannot be detached, and need not be.
    let _ = link.detach_link();
    fs::remove_file(&pin).map_err(step("removing the pinned link of XDP", SEE_REASON))?;
    // Nobody asks for the entry any more.
    let _ = devices(ebpf)?.remove(&ifindex);
    Ok(true)
}

type Devices<'a> = HashMap<&'a mut MapData, u32, Abi<[u64; 2]>>;

fn devices(ebpf: &mut Ebpf) -> Result<Devices<'_>, KernelError> {
    let map = ebpf.map_mut(DEVICES).ok_or_else(|| super::datapath::missing(DEVICES))?;
    map.try_into()
        .map_err(step("opening the map of XDP devices", SEE_REASON))
}

/// Tells the program of the interface, before it runs there, and forgets those that are gone.
fn tell(ebpf: &mut Ebpf, device: &Device, root: &Path) -> Result<(), KernelError> {
    let doing = || format!("telling the XDP program of {}", device.interface);
    let mut map = devices(ebpf)?;
    let known: Vec<u32> = map.keys().filter_map(Result::ok).collect();
    for ifindex in known {
        if ifindex != device.ifindex && !pin(root, ifindex).exists() {
            let _ = map.remove(&ifindex);
        }
    }
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    let flags = flag(device.partial_sums, XdpDevice::PARTIAL_SUMS) | flag(device.sends_on, XdpDevice::SENDS_ON);
    let words = XdpDevice::words(device.link_address, flags);
    map.insert(device.ifindex, Abi(words), 0)
        .map_err(step(doing(), SEE_REASON))
}

fn other<E: std::error::Error + Send + Sync + 'static>(error: E) -> ProgramError {
    ProgramError::IOError(io::Error::other(error))
}

/// What to do about the kernel's refusal, which is a number only.
fn remedy(error: &ProgramError) -> &'static str {
    let ProgramError::SyscallError(error) = error else {
        return "start the agent with --hook tc";
    };
    match error.io_error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => {
            "another XDP program is on this interface: take it off (ip link set dev IF xdp off), or start the agent with --hook tc"
        }
        Some(libc::EOPNOTSUPP) => "its driver has no native XDP: start the agent with --hook tc",
        Some(libc::ENOSPC) => {
            "it has fewer receive queues than its other end has transmit queues: make them as many (ethtool -L IF rx N), or start the agent with --hook tc"
        }
        Some(libc::ERANGE) => {
            "the MTU is too large for XDP in this driver: make it smaller (ip link set dev IF mtu N; for a veth at both ends), or start the agent with --hook tc"
        }
        Some(libc::EPERM) => NEEDS_RIGHTS,
        _ => "start the agent with --hook tc",
    }
}

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;

    use super::*;

    #[test]
    fn each_refusal_says_what_to_do() {
        for (code, words) in [
            (libc::EBUSY, "xdp off"),
            (libc::EEXIST, "xdp off"),
            (libc::EOPNOTSUPP, "no native XDP"),
            (libc::ENOSPC, "ethtool -L"),
            (libc::ERANGE, "mtu"),
            (libc::EINVAL, "--hook tc"),
        ] {
            let io_error = io::Error::from_raw_os_error(code);
            let error = SyscallError {
                call: "bpf_link_create",
                io_error,
            };
            let remedy = remedy(&error.into());
            assert!(
                remedy.contains(words) && remedy.contains("--hook tc"),
                "{code}: {remedy}"
            );
        }
    }
}
