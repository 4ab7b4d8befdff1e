//! Puts packets into the data path, as if they came in by an interface or left by it.
//!
//! `switcher_inject` is run on each, and sends a copy of it. No socket does that: what a socket sends meets the host's
//! firewall as a new connection of the host's own, and never the program that clients' packets meet.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd as _;

use aya::Ebpf;
use aya::programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions};
use switcher_ebpf::abi::{INJECT_NO_NEIGHBOUR, INJECT_RECEIVED, INJECT_SENT};

use super::frame::Segment;
use crate::kernel::error::{KernelError, NEEDS_RIGHTS, SEE_REASON, step};

const PROGRAM: &str = "switcher_inject";
/// Where `cb` begins in `struct __sk_buff`, which may be told in part.
const CONTROL_BLOCK: usize = 48;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It has come in by the interface.
    Received,
    /// It leaves by it, to the next hop of its destination.
    Sent,
}

/// Whether it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Yes,
    /// The next hop's link-layer address is not known at this moment.
    NoNeighbour,
    /// The interface is gone, or down.
    No,
}

/// The program, ready to run.
pub(super) struct Injector<'a> {
    program: &'a SchedClassifier,
    /// Link-layer addresses of interfaces.
    addresses: BTreeMap<u32, Option<[u8; 6]>>,
}

impl<'a> Injector<'a> {
    /// Loads the program at its first use.
    pub(super) fn new(ebpf: &'a mut Ebpf) -> Result<Self, KernelError> {
        let program: &mut SchedClassifier = ebpf
            .program_mut(PROGRAM)
            .ok_or_else(|| crate::kernel::datapath::missing(PROGRAM))?
            .try_into()
            .map_err(step("finding the BPF program that ends flows", SEE_REASON))?;
        if matches!(program.fd(), Err(ProgramError::NotLoaded)) {
            program
                .load()
                .map_err(step("loading the BPF program that ends flows", NEEDS_RIGHTS))?;
        }
        Ok(Self {
            program,
            addresses: BTreeMap::new(),
        })
    }

    /// Sends one.
    pub(super) fn send(&mut self, segment: &Segment, ifindex: u32, way: Way) -> Result<Sent, KernelError> {
        let to = match way {
            Way::Sent => [0; 6],
            Way::Received => match self.address(ifindex) {
                Some(address) => address,
                None => return Ok(Sent::No),
            },
        };
        let frame = segment.frame(to);
        let mut context = [0_u8; CONTROL_BLOCK + 8];
        let way = if way == Way::Received {
            INJECT_RECEIVED
        } else {
            INJECT_SENT
        };
        context[CONTROL_BLOCK..CONTROL_BLOCK + 4].copy_from_slice(&ifindex.to_ne_bytes());
        context[CONTROL_BLOCK + 4..].copy_from_slice(&way.to_ne_bytes());
        let run = TestRunOptions {
            data_in: Some(&frame),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        let ran = self
            .program
            .test_run(run)
            .map_err(step("sending a packet to end a flow", NEEDS_RIGHTS))?;
        Ok(match ran.return_value.cast_signed() {
            0 => Sent::Yes,
            INJECT_NO_NEIGHBOUR => Sent::NoNeighbour,
            _ => Sent::No,
        })
    }

    fn address(&mut self, ifindex: u32) -> Option<[u8; 6]> {
        *self
            .addresses
            .entry(ifindex)
            .or_insert_with(|| link_address(ifindex).ok())
    }
}

/// The link-layer address of an interface of this namespace; zeroes where it has none.
fn link_address(ifindex: u32) -> io::Result<[u8; 6]> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: all zeroes are a valid request; its name is set by the next call.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: the name has room for as much as the call writes (`IF_NAMESIZE`).
    if unsafe { libc::if_indextoname(ifindex, request.ifr_name.as_mut_ptr()) }.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the request names an interface, and lives through the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR as libc::Ioctl, &raw mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: this command has filled in the address.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr }.sa_data;
    Ok(std::array::from_fn(|at| address[at].cast_unsigned()))
}
