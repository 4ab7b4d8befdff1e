//! Ends connections of processes on this host by their sockets: the kernel's own TCP sends the RST (`SOCK_DESTROY`).
//!
//! Local clients have no packets that the data path sees. Their sockets may be in any network namespace: those of running
//! processes are asked, one after the other, by the socket's cookie, which is no other socket's.

use std::io;
use std::time::{Duration, Instant};

use rtnetlink::sys::{Socket, SocketAddr};
use switcher_ebpf::abi::{Address, FlowIdentity};

use super::super::spaces;

const NETLINK_SOCK_DIAG: isize = 4;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST_ACK: u16 = 0x01 | 0x04;
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = 56;
/// The kernel answers a question with the code and the question's header, and perhaps more.
const ANSWER_BYTES_MAX: usize = 4_096;
/// Namespaces are looked for again after so long.
const FRESH: Duration = Duration::from_secs(1);

/// How the kernel answered.
#[derive(Debug)]
pub(super) enum Destroyed {
    Yes,
    /// No namespace that could be asked has it.
    NotFound,
    /// The kernel does not do that, or not for this process.
    Refused(io::Error),
}

/// A way to ask each network namespace of this host.
#[derive(Default)]
pub(in crate::kernel) struct Sockets {
    /// By the namespace's inode number; the agent's own comes first.
    spaces: Vec<Socket>,
    looked: Option<Instant>,
}

impl Sockets {
    /// Ends one. `cookie`: the socket's.
    pub(super) fn destroy(&mut self, id: &FlowIdentity, cookie: u64) -> Destroyed {
        let request = request(id, cookie);
        let mut refused = None;
        if self.looked.is_none_or(|at| at.elapsed() >= FRESH) {
            self.look();
        }
        for space in &self.spaces {
            match ask(space, &request) {
                Ok(()) => return Destroyed::Yes,
                // Not here, or here is another with the same addresses.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => {}
                Err(error) => refused = Some(error),
            }
        }
        refused.map_or(Destroyed::NotFound, Destroyed::Refused)
    }

    fn look(&mut self) {
        self.spaces.clear();
        self.spaces.extend(Socket::new(NETLINK_SOCK_DIAG));
        self.spaces.extend(
            spaces::others()
                .into_values()
                .filter_map(|space| spaces::within(space, || Socket::new(NETLINK_SOCK_DIAG)).ok()),
        );
        self.looked = Some(Instant::now());
    }
}

/// `struct inet_diag_req_v2`, behind a netlink header.
fn request(id: &FlowIdentity, cookie: u64) -> Vec<u8> {
    let is_v4 = id.client.is_v4();
    let family = if is_v4 { libc::AF_INET } else { libc::AF_INET6 };
    let mut bytes = Vec::with_capacity(HEADER_BYTES + REQUEST_BYTES);
    bytes.extend(((HEADER_BYTES + REQUEST_BYTES) as u32).to_ne_bytes());
    bytes.extend(SOCK_DESTROY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family as u8, id.protocol, 0, 0]);
    // Every state.
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(id.client_port.to_ne_bytes());
    bytes.extend(id.backend_port.to_ne_bytes());
    for address in [&id.client, &id.backend] {
        bytes.extend(words(address, is_v4).into_iter().flat_map(u32::to_ne_bytes));
    }
    // Whatever interface.
    bytes.extend([0; 4]);
    bytes.extend((cookie as u32).to_ne_bytes());
    bytes.extend(((cookie >> 32) as u32).to_ne_bytes());
    bytes
}

const fn words(address: &Address, is_v4: bool) -> [u32; 4] {
    if is_v4 { [address.0[3], 0, 0, 0] } else { address.0 }
}

fn ask(space: &Socket, request: &[u8]) -> io::Result<()> {
    space.send_to(request, &SocketAddr::new(0, 0), 0)?;
    let mut answer = Vec::with_capacity(ANSWER_BYTES_MAX);
    space.recv_from(&mut answer, 0)?;
    let word = |at: usize| answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok());
    match (kind.map(u16::from_ne_bytes), word(HEADER_BYTES).map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::Error::other("the kernel's answer cannot be read")),
    }
}
