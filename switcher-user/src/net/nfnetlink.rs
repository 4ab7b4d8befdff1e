//! The netlink family of netfilter: just enough to ask nftables for lists.

use std::convert::Infallible;
use std::io;

use futures_util::StreamExt as _;
use rtnetlink::packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable, NlasIterator,
};
use rtnetlink::proto::{self, ConnectionHandle};
use rtnetlink::sys::{SocketAddr, protocols::NETLINK_NETFILTER};

use super::{NetError, ask};

/// `NFNL_SUBSYS_NFTABLES`, in the high byte of a message's type.
const SUBSYSTEM_NFTABLES: u16 = 10 << 8;
/// Size of `struct nfgenmsg`: family, version, resource id.
const GENERIC_HEADER_BYTES: usize = 4;
/// Somebody may change the ruleset while it is listed; how often to begin again.
const TRIES_MAX: usize = 3;

/// The open socket.
pub(super) type Handle = ConnectionHandle<Message>;

/// A message as it is: the family, and the attributes unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    kind: u16,
    /// `NFPROTO_*`.
    pub family: u8,
    attributes: Vec<u8>,
}

impl Message {
    /// The value of the first attribute numbered `kind`.
    pub fn attribute(&self, kind: u16) -> Option<&[u8]> {
        attribute(&self.attributes, kind)
    }

    /// An attribute that is a text.
    pub fn text(&self, kind: u16) -> Option<String> {
        let value = self.attribute(kind)?;
        let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
        Some(String::from_utf8_lossy(&value[..end]).into_owned())
    }

    /// An attribute that is a number.
    pub fn number(&self, kind: u16) -> Option<u32> {
        self.attribute(kind)?.try_into().map(u32::from_be_bytes).ok()
    }
}

/// The value of the first of `attributes` numbered `kind`.
pub(super) fn attribute(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut all = NlasIterator::new(attributes).map_while(Result::ok);
    let found = all.find(|attribute| attribute.kind() == kind)?;
    let length = found.value_length();
    Some(&found.into_inner()[4..4 + length])
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        GENERIC_HEADER_BYTES + self.attributes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer[..GENERIC_HEADER_BYTES].copy_from_slice(&[self.family, 0, 0, 0]);
        buffer[GENERIC_HEADER_BYTES..].copy_from_slice(&self.attributes);
    }
}

impl NetlinkDeserializable for Message {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(Self {
            kind: header.message_type,
            family: payload.first().copied().unwrap_or_default(),
            attributes: payload.get(GENERIC_HEADER_BYTES..).unwrap_or_default().to_vec(),
        })
    }
}

impl From<Message> for NetlinkPayload<Message> {
    fn from(message: Message) -> Self {
        Self::InnerMessage(message)
    }
}

/// Opens a socket in the calling thread's network namespace; `None`: the kernel has no netfilter.
pub(super) fn open() -> Result<Option<Handle>, NetError> {
    match proto::new_connection::<Message>(NETLINK_NETFILTER) {
        Ok((connection, handle, _)) => {
            tokio::spawn(connection);
            Ok(Some(handle))
        }
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => Ok(None),
        Err(error) => Err(NetError::Socket {
            family: "netfilter",
            cause: error.to_string(),
        }),
    }
}

/// All objects that `get` (an `NFT_MSG_GET*`) lists, of all families. A kernel without nftables has none.
pub(super) async fn list(handle: &Handle, get: u16, what: &str) -> Result<Vec<Message>, NetError> {
    for _ in 0..TRIES_MAX {
        if let Some(objects) = ask::bounded(what, list_once(handle, get, what)).await? {
            return Ok(objects);
        }
    }
    Err(ask::failed(
        what,
        format!("the ruleset changed during each of {TRIES_MAX} listings"),
    ))
}

/// `None`: the ruleset changed meanwhile.
async fn list_once(handle: &Handle, get: u16, what: &str) -> Result<Option<Vec<Message>>, NetError> {
    let message = Message {
        kind: SUBSYSTEM_NFTABLES | get,
        family: 0,
        attributes: Vec::new(),
    };
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.finalize();
    let mut answers = handle
        .request(request, SocketAddr::new(0, 0))
        .map_err(|_| ask::failed(what, "the socket is closed"))?;
    let mut objects = Vec::new();
    let mut whole = true;
    // Ends with the kernel's list.
    while let Some(answer) = answers.next().await {
        whole &= answer.header.flags & NLM_F_DUMP_INTR == 0;
        match answer.payload {
            NetlinkPayload::InnerMessage(message) => objects.push(message),
            NetlinkPayload::Error(error) if error.code.is_some() => match -error.raw_code() {
                // No such subsystem, or a module that does not load.
                libc::EINVAL | libc::EOPNOTSUPP | libc::ENOENT => return Ok(Some(Vec::new())),
                libc::EINTR => return Ok(None),
                code => return Err(ask::failed(what, io::Error::from_raw_os_error(code))),
            },
            NetlinkPayload::Overrun(_) => return Err(ask::failed(what, "the list is too long for the socket")),
            _ => {}
        }
    }
    Ok(whole.then_some(objects))
}
