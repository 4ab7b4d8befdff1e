//! What this kernel and its devices have. Loads programs and maps for a moment, and keeps none.

use std::ffi::CString;
use std::io;
use std::path::Path;

use aya::maps::MapType;
use aya::programs::{ProgramError, ProgramType, SchedClassifier, TcAttachType};
use aya::sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported};

use super::bpffs;

/// What goes without a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Always,
    /// Most things: what does not, as a sentence.
    Sometimes(&'static str),
}

/// A feature of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// A short name that does not change.
    pub name: &'static str,
    /// What it is for.
    pub what: &'static str,
    /// What goes without it.
    pub need: Need,
    /// Whether the kernel has it, or why that is not known.
    pub answer: Result<bool, String>,
}

const STACK_ONLY: &str = "packets take the stack, never the bypass";

/// Asks the kernel for each.
#[must_use]
pub fn features() -> Vec<Feature> {
    let mut all = base().to_vec();
    all.extend(host());
    all.extend(bypass());
    all
}

const fn feature(name: &'static str, what: &'static str, need: Need, answer: Result<bool, String>) -> Feature {
    Feature {
        name,
        what,
        need,
        answer,
    }
}

fn base() -> [Feature; 5] {
    let tc = program(ProgramType::SchedClassifier);
    let clock = helper(BpfHelper::BPF_FUNC_ktime_get_coarse_ns);
    let clsact = Need::Sometimes("clsact filters are used instead");
    [
        feature("tc", "BPF programs at tc", Need::Always, tc),
        feature("tcx", "links at tc (TCX)", clsact, tcx()),
        feature(
            "maps-of-maps",
            "images, by maps in a map",
            Need::Always,
            map(MapType::ArrayOfMaps),
        ),
        feature(
            "per-cpu-maps",
            "counters of each CPU",
            Need::Always,
            map(MapType::PerCpuArray),
        ),
        feature("clock", "a coarse clock for programs", Need::Always, clock),
    ]
}

/// For clients and backends on the host itself.
fn host() -> [Feature; 2] {
    let no_clients = Need::Sometimes("requests made on the host itself are not switched");
    let no_backends = Need::Sometimes("processes that listen on a loopback address cannot be backends");
    let connect = program(ProgramType::CgroupSockAddr);
    let assign = helper(BpfHelper::BPF_FUNC_sk_assign);
    [
        feature(
            "cgroup-connect",
            "programs at connect() and sendmsg()",
            no_clients,
            connect,
        ),
        feature(
            "sk-assign",
            "handing a packet to a listening socket",
            no_backends,
            assign,
        ),
    ]
}

fn bypass() -> [Feature; 4] {
    let of = |name, what, id| feature(name, what, Need::Sometimes(STACK_ONLY), helper(id));
    [
        of(
            "redirect-peer",
            "the bypass into a backend's namespace",
            BpfHelper::BPF_FUNC_redirect_peer,
        ),
        of(
            "redirect-neigh",
            "the bypass back to the client",
            BpfHelper::BPF_FUNC_redirect_neigh,
        ),
        of(
            "fib-lookup",
            "the bypass's way by the routes",
            BpfHelper::BPF_FUNC_fib_lookup,
        ),
        of(
            "check-mtu",
            "the bypass's look at packet sizes",
            BpfHelper::BPF_FUNC_check_mtu,
        ),
    ]
}

fn program(kind: ProgramType) -> Result<bool, String> {
    is_program_supported(kind).map_err(|error| told(&error))
}

fn helper(helper: BpfHelper) -> Result<bool, String> {
    is_helper_supported(ProgramType::SchedClassifier, helper).map_err(|error| told(&error))
}

fn map(kind: MapType) -> Result<bool, String> {
    is_map_supported(kind).map_err(|error| error.io_error.to_string())
}

/// Asks the loopback device of this namespace what is attached to it: a kernel without TCX does not know the question.
fn tcx() -> Result<bool, String> {
    match SchedClassifier::query_tcx("lo", TcAttachType::Ingress) {
        Ok(_) => Ok(true),
        Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(told(&error)),
    }
}

fn told(error: &ProgramError) -> String {
    match error {
        ProgramError::SyscallError(error) => error.io_error.to_string(),
        other => other.to_string(),
    }
}

/// Whether the folder lies on bpffs.
///
/// # Errors
/// When it cannot be looked at.
pub fn is_bpffs(folder: &Path) -> io::Result<bool> {
    bpffs::is_bpffs(folder)
}

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 3;

/// `struct ethtool_drvinfo` of linux/ethtool.h: of its texts only the first is read.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

const _: () = assert!(size_of::<DriverInfo>() == 196);

/// Name of an interface's driver. Not from sysfs: what is mounted at /sys may show another namespace's interfaces.
///
/// # Errors
/// When the interface is not there, or its driver does not say.
pub fn driver(interface: &str) -> io::Result<String> {
    let name = CString::new(interface).map_err(io::Error::other)?;
    let name = name.as_bytes_with_nul();
    let mut info = DriverInfo {
        command: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        rest: [0; 160],
    };
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").or_else(|_| std::net::UdpSocket::bind("[::1]:0"))?;
    // SAFETY: all zeroes are a valid request; name and data are set below.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() > request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    // SAFETY: the request names an interface and points to a driver info of the size that this command writes; both live
    // through the call.
    let code = unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), SIOCETHTOOL, &raw mut request) };
    if code != 0 {
        return Err(io::Error::last_os_error());
    }
    let end = info
        .driver
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(info.driver.len());
    Ok(String::from_utf8_lossy(&info.driver[..end]).into_owned())
}
