//! Addresses of this host: which there are, adding and removing one, and whether somebody else has it.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use rtnetlink::Handle;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use tokio::time::Instant;

use super::{Added, NetError, OnLink, Way, ask, link, route};

/// What marks an address as the agent's (`IFA_PROTO`, from Linux 5.18 on); any number that nobody else uses.
const PROTOCOL: AddressProtocol = AddressProtocol::Other(0x53);
/// The kernel asks at once, and again a second later; who has not answered then is not there.
const QUESTION_TIME: Duration = Duration::from_millis(1_300);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const FOREVER: u32 = u32::MAX;

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostAddress {
    /// The address.
    pub address: IpAddr,
    /// The interface's index.
    pub ifindex: u32,
    /// It looks as one that an agent added: mark and shape. Where the kernel keeps no marks, the shape alone.
    pub marked: bool,
}

/// How this host reaches an address.
pub(super) async fn way(handle: &Handle, address: IpAddr) -> Result<Way, NetError> {
    let Some(found) = route::to(handle, address).await? else {
        return Ok(Way::default());
    };
    let on_link = found.on_link && !found.local;
    let arp_ignore = match (on_link, address) {
        (true, IpAddr::V4(_)) => arp_ignore(handle, found.ifindex).await?,
        _ => 0,
    };
    Ok(Way {
        local: found.local,
        on_link: on_link.then_some(OnLink {
            ifindex: found.ifindex,
            arp_ignore,
        }),
    })
}

/// The kernel takes the larger of the two.
async fn arp_ignore(handle: &Handle, ifindex: u32) -> Result<u8, NetError> {
    let links = link::all(handle).await?;
    let name = links.get(&ifindex).map_or("", |link| &*link.interface.name);
    let of = |folder: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{folder}/arp_ignore")).ok()?;
        text.trim().parse().ok()
    };
    Ok(["all", name].into_iter().filter_map(of).max().unwrap_or(0))
}

/// All addresses of this namespace.
pub(super) async fn all(handle: &Handle) -> Result<Vec<HostAddress>, NetError> {
    let what = "the addresses";
    let asked = handle.address().get().execute().try_collect::<Vec<_>>();
    let answer = async { asked.await.map_err(|error| ask::refused(what, &error)) };
    let messages = ask::bounded(what, answer).await?;
    // Where the kernel keeps marks, its own address on `lo` has one.
    let keeps_marks = messages.iter().any(|message| protocol(message).is_some());
    let read = |message: &AddressMessage| {
        let address = link::own_address(message)?;
        let is_marked = protocol(message) == Some(PROTOCOL) || !keeps_marks;
        Some(HostAddress {
            address,
            ifindex: message.header.index,
            marked: is_marked && has_our_shape(message),
        })
    };
    Ok(messages.iter().filter_map(read).collect())
}

fn protocol(message: &AddressMessage) -> Option<AddressProtocol> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Protocol(protocol) => Some(*protocol),
        _ => None,
    })
}

fn has_our_shape(message: &AddressMessage) -> bool {
    match message.header.family {
        AddressFamily::Inet => message.header.prefix_len == 32 && message.header.scope == AddressScope::Host,
        _ => {
            let is_old = |attribute: &AddressAttribute| matches!(attribute, AddressAttribute::CacheInfo(life) if life.ifa_preferred == 0);
            message.header.prefix_len == 128 && message.attributes.iter().any(is_old)
        }
    }
}

/// Adds it, so that no connection of the host itself takes it as its source: of scope host, or deprecated.
pub(super) async fn add(handle: &Handle, address: IpAddr, ifindex: u32) -> Result<Added, NetError> {
    let what = format!("adding {address}");
    let mut request = handle.address().add(ifindex, address, full_length(address));
    *request.message_mut() = message(address, ifindex);
    let answer = async {
        match request.execute().await {
            Ok(()) => Ok(Added::Now),
            Err(rtnetlink::Error::NetlinkError(message)) if message.raw_code() == -libc::EEXIST => Ok(Added::Before),
            Err(error) => Err(ask::refused(&what, &error)),
        }
    };
    ask::bounded(&what, answer).await
}

/// Removes it. One that is gone already is no error.
pub(super) async fn remove(handle: &Handle, address: IpAddr, ifindex: u32) -> Result<(), NetError> {
    let what = format!("removing {address}");
    let request = handle.address().del(message(address, ifindex));
    let answer = async {
        match request.execute().await {
            Err(rtnetlink::Error::NetlinkError(message)) if is_absence(message.raw_code()) => Ok(()),
            done => done.map_err(|error| ask::refused(&what, &error)),
        }
    };
    ask::bounded(&what, answer).await
}

fn is_absence(code: i32) -> bool {
    [libc::EADDRNOTAVAIL, libc::ENODEV].contains(&-code)
}

const fn full_length(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

fn message(address: IpAddr, ifindex: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = ifindex;
    message.header.prefix_len = full_length(address);
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
        AddressAttribute::Protocol(PROTOCOL),
    ];
    if address.is_ipv4() {
        message.header.family = AddressFamily::Inet;
        message.header.scope = AddressScope::Host;
    } else {
        message.header.family = AddressFamily::Inet6;
        // It was asked for already; the kernel's own question would keep it from working for a second.
        message.header.flags = AddressHeaderFlags::Nodad;
        let mut life = CacheInfo::default();
        (life.ifa_preferred, life.ifa_valid) = (0, FOREVER);
        message.attributes.push(AddressAttribute::CacheInfo(life));
    }
    message
}

/// Asks on the link who has the address (ARP, neighbour discovery), by the kernel, which does it without further rights.
/// `None`: nobody answered in time.
pub(super) async fn holder(handle: &Handle, address: IpAddr, ifindex: u32) -> Result<Option<Vec<u8>>, NetError> {
    if let Some(entry) = entry(handle, address, ifindex).await? {
        // Somebody configured this one by hand.
        if matches!(entry.header.state, NeighbourState::Permanent | NeighbourState::Noarp) {
            return Ok(link_address(&entry));
        }
        // What was known before may be long gone.
        forget(handle, entry).await;
    }
    let what = format!("asking who has {address}");
    let question = handle.neighbours().add(ifindex, address).replace();
    let question = question
        .flags(NeighbourFlags::Use)
        .state(NeighbourState::None)
        .execute();
    let answer = async { question.await.map_err(|error| ask::refused(&what, &error)) };
    ask::bounded(&what, answer).await?;
    let deadline = Instant::now() + QUESTION_TIME;
    let mut found = None;
    while found.is_none() && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
        found = entry(handle, address, ifindex).await?.filter(is_known);
    }
    let holder = found.as_ref().and_then(link_address);
    if let Some(entry) = entry(handle, address, ifindex).await? {
        forget(handle, entry).await;
    }
    Ok(holder)
}

fn is_known(entry: &NeighbourMessage) -> bool {
    use NeighbourState::{Delay, Probe, Reachable, Stale};
    matches!(entry.header.state, Reachable | Stale | Delay | Probe)
}

fn link_address(entry: &NeighbourMessage) -> Option<Vec<u8>> {
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLocalAddress(bytes) => Some(bytes.clone()),
        _ => None,
    })
}

async fn entry(handle: &Handle, address: IpAddr, ifindex: u32) -> Result<Option<NeighbourMessage>, NetError> {
    let what = "the neighbours";
    let asked = handle.neighbours().get().execute().try_collect::<Vec<_>>();
    let answer = async { asked.await.map_err(|error| ask::refused(what, &error)) };
    let wanted = NeighbourAttribute::Destination(match address {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    });
    let entries = ask::bounded(what, answer).await?;
    Ok(entries
        .into_iter()
        .find(|entry| entry.header.ifindex == ifindex && entry.attributes.contains(&wanted)))
}

/// An entry that stays makes no harm: the kernel drops it by itself.
async fn forget(handle: &Handle, entry: NeighbourMessage) {
    let removed = handle.neighbours().del(entry).execute();
    let _ = tokio::time::timeout(LOOK_EVERY, removed).await;
}
