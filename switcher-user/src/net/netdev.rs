//! The generic netlink family `netdev`: what drivers can do with XDP, without trying it.
//!
//! The kernel answers while the question is sent, so nothing here waits. Its list comes without the flag that says a message
//! is one of many, which the library for the other families goes by; so messages are taken apart here.

use std::collections::BTreeMap;
use std::io;

use rtnetlink::sys::protocols::NETLINK_GENERIC;
use rtnetlink::sys::{Socket, SocketAddr};

use super::nfnetlink::attribute;
use super::{NetError, XdpFeatures, ask};

const WHAT: &str = "what the drivers can do with XDP";

/// `struct nlmsghdr`: length, type, flags, sequence number, port.
const HEADER_BYTES: usize = 16;
/// `struct genlmsghdr`: command, version, two bytes unused.
const GENERIC_HEADER_BYTES: usize = 4;
const VERSION: u8 = 1;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// As much as the kernel puts into one message buffer, and more.
const BUFFER_BYTES: usize = 64 * 1024;
/// Buffers of one list: some hundred interfaces stand in each.
const BUFFERS_MAX: u32 = 1_000;

/// The family that knows the numbers of the others: `GENL_ID_CTRL`.
const CONTROLLER: u16 = 0x10;
/// `CTRL_CMD_GETFAMILY`
const GET_FAMILY: u8 = 3;
/// `CTRL_ATTR_FAMILY_ID`
const FAMILY_ID: u16 = 1;
/// `CTRL_ATTR_FAMILY_NAME` and "netdev" with its final zero, padded to four bytes.
const FAMILY_NETDEV: [u8; 12] = [11, 0, 2, 0, b'n', b'e', b't', b'd', b'e', b'v', 0, 0];

/// `NETDEV_CMD_DEV_GET`
const GET_DEVICE: u8 = 1;
/// `NETDEV_A_DEV_IFINDEX`
const IFINDEX: u16 = 1;
/// `NETDEV_A_DEV_XDP_FEATURES`
const XDP_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_BASIC`: a program may pass, drop and send back.
const BASIC: u64 = 1;
/// `NETDEV_XDP_ACT_REDIRECT`: a program may send on by another device.
const REDIRECT: u64 = 2;
/// `NETDEV_XDP_ACT_NDO_XMIT`: takes frames that another driver's program sends.
const NDO_XMIT: u64 = 4;

/// What each interface's driver can do, by index. Empty: a kernel before Linux 6.3, which does not say.
pub(super) fn features() -> Result<BTreeMap<u32, XdpFeatures>, NetError> {
    let socket = open().map_err(|error| NetError::Socket {
        family: "generic",
        cause: error.to_string(),
    })?;
    read(&socket).map_err(|error| ask::failed(WHAT, error))
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

fn read(socket: &Socket) -> io::Result<BTreeMap<u32, XdpFeatures>> {
    let mut family = None;
    request(
        socket,
        CONTROLLER,
        GET_FAMILY,
        NLM_F_REQUEST,
        &FAMILY_NETDEV,
        &mut |found| {
            let id = attribute(found, FAMILY_ID).and_then(|id| id.try_into().ok());
            family = id.map(u16::from_ne_bytes);
        },
    )?;
    let mut devices = BTreeMap::new();
    if let Some(family) = family {
        request(
            socket,
            family,
            GET_DEVICE,
            NLM_F_REQUEST | NLM_F_DUMP,
            &[],
            &mut |found| {
                devices.extend(device(found));
            },
        )?;
    }
    Ok(devices)
}

fn device(attributes: &[u8]) -> Option<(u32, XdpFeatures)> {
    let ifindex = u32::from_ne_bytes(attribute(attributes, IFINDEX)?.try_into().ok()?);
    let features = u64::from_ne_bytes(attribute(attributes, XDP_FEATURES)?.try_into().ok()?);
    let has = |bits| features & bits == bits;
    let able = XdpFeatures {
        runs: has(BASIC),
        sends_on: has(BASIC | REDIRECT | NDO_XMIT),
    };
    Some((ifindex, able))
}

/// Asks, and hands each answer's attributes to `take`. A family or command that the kernel does not know has no answers.
fn request(
    socket: &Socket,
    family: u16,
    command: u8,
    flags: u16,
    attributes: &[u8],
    take: &mut dyn FnMut(&[u8]),
) -> io::Result<()> {
    let length = (HEADER_BYTES + GENERIC_HEADER_BYTES + attributes.len()) as u32;
    let mut message = Vec::from(length.to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // The only question on this socket that waits for an answer, so it needs no number.
    message.extend([0; 8]);
    message.extend([command, VERSION, 0, 0]);
    message.extend(attributes);
    socket.send_to(&message, &SocketAddr::new(0, 0), 0)?;
    for _ in 0..BUFFERS_MAX {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        socket.recv(&mut buffer, 0)?;
        if !take_messages(&buffer, take)? || flags & NLM_F_DUMP == 0 {
            break;
        }
    }
    Ok(())
}

/// False after the last one.
fn take_messages(mut buffer: &[u8], take: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "an answer that is cut short");
    while let Some((header, _)) = buffer.split_first_chunk::<HEADER_BYTES>() {
        let [l0, l1, l2, l3, t0, t1, ..] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let body = buffer.get(HEADER_BYTES..length).ok_or_else(broken)?;
        match u16::from_ne_bytes([t0, t1]) {
            NLMSG_DONE => return Ok(false),
            NLMSG_ERROR => {
                let code = body.first_chunk().copied().map(i32::from_ne_bytes).ok_or_else(broken)?;
                return match -code {
                    0 | libc::ENOENT | libc::EOPNOTSUPP => Ok(false),
                    code => Err(io::Error::from_raw_os_error(code)),
                };
            }
            _ => take(body.get(GENERIC_HEADER_BYTES..).ok_or_else(broken)?),
        }
        buffer = buffer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_cut_short_is_an_error() {
        let mut message = Vec::from(24_u32.to_ne_bytes());
        message.extend([20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        message.extend([1, 1, 0, 0, 9, 9, 9, 9]);
        let mut seen = Vec::new();
        assert!(take_messages(&message, &mut |body| seen.extend_from_slice(body)).unwrap());
        assert_eq!(seen, [9; 4]);
        for length in HEADER_BYTES..message.len() {
            assert!(take_messages(&message[..length], &mut |_| ()).is_err(), "{length}");
        }
    }

    #[test]
    fn an_unknown_family_has_no_answers() {
        let error = |code: i32| {
            let mut message = Vec::from(36_u32.to_ne_bytes());
            message.extend([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            message.extend((-code).to_ne_bytes());
            message.extend([0; 16]);
            take_messages(&message, &mut |_| unreachable!("it is no answer"))
        };
        assert!(!error(libc::ENOENT).unwrap());
        assert!(error(libc::EPERM).is_err());
    }
}
