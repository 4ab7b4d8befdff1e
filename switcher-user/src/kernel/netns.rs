//! The network namespace that the agent is in.

use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

/// Of Linux 5.14; the C library's headers do not have it everywhere.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The cookie of this thread's network namespace; 0 where the kernel does not tell.
pub(super) fn own_cookie() -> u64 {
    let Ok(socket) = UdpSocket::bind("0.0.0.0:0") else {
        return 0;
    };
    let mut cookie = 0_u64;
    let mut size = size_of::<u64>() as libc::socklen_t;
    // SAFETY: a descriptor that is open, and room for as many bytes as are told.
    let code = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    if code == 0 { cookie } else { 0 }
}
