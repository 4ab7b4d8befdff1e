//! The routes of this namespace: the one a packet to an address would take, and the default ones.

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use rtnetlink::{Error, Handle};

use super::{NetError, ask};

/// The route that a packet to an address would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The interface it leads to.
    pub ifindex: u32,
    /// The address is this host's own.
    pub local: bool,
    /// Straight to the address: no gateway, no tunnel.
    pub on_link: bool,
}

/// The route to `address`, as `ip route get` shows it; `None`: there is none.
pub(super) async fn to(handle: &Handle, address: IpAddr) -> Result<Option<Found>, NetError> {
    let what = format!("the route to {address}");
    let request = handle.route().get(question(address)).execute();
    let answer = async {
        let mut answers = std::pin::pin!(request);
        match answers.try_next().await {
            Ok(Some(message)) => Ok(read(&message)),
            Ok(None) => Err(ask::failed(&what, "an empty answer")),
            Err(Error::NetlinkError(message)) if says_no_route(message.raw_code()) => Ok(None),
            Err(error) => Err(ask::refused(&what, &error)),
        }
    };
    ask::bounded(&what, answer).await
}

fn question(address: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    let (family, prefix_length, destination) = match address {
        IpAddr::V4(v4) => (AddressFamily::Inet, 32, RouteAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(v6)),
    };
    message.header.address_family = family;
    message.header.destination_prefix_length = prefix_length;
    message.attributes.push(RouteAttribute::Destination(destination));
    message
}

/// The errors by which the kernel says that no route leads to an address: none at all (ENETUNREACH), or one of type
/// unreachable (EHOSTUNREACH), prohibit (EACCES), blackhole (EINVAL), or throw in the last table (EAGAIN).
fn says_no_route(code: i32) -> bool {
    [
        libc::ENETUNREACH,
        libc::EHOSTUNREACH,
        libc::EACCES,
        libc::EINVAL,
        libc::EAGAIN,
    ]
    .contains(&-code)
}

fn read(message: &RouteMessage) -> Option<Found> {
    let local = match message.header.kind {
        RouteType::Unicast => false,
        // An anycast address is one that this host answers for.
        RouteType::Local | RouteType::Anycast => true,
        // IPv6 answers for an unreachable address with a route of that type.
        _ => return None,
    };
    let ifindex = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        RouteAttribute::MultiPath(hops) => hops.first().map(|hop| hop.interface_index),
        _ => None,
    })?;
    let detour = |attribute: &RouteAttribute| {
        matches!(
            attribute,
            RouteAttribute::Gateway(_)
                | RouteAttribute::Via(_)
                | RouteAttribute::EncapType(_)
                | RouteAttribute::Encap(_)
                | RouteAttribute::MultiPath(_)
        )
    };
    Some(Found {
        ifindex,
        local,
        on_link: !message.attributes.iter().any(detour),
    })
}

/// Indexes of the interfaces that the main table's default routes lead to, IPv4 first, best metric first, each once.
pub(super) async fn default_interfaces(handle: &Handle) -> Result<Vec<u32>, NetError> {
    let mut indexes = Vec::new();
    for (family, what) in [
        (AddressFamily::Inet, "the IPv4 routes"),
        (AddressFamily::Inet6, "the IPv6 routes"),
    ] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        let request = handle.route().get(message).execute();
        let answer = async {
            request
                .try_collect::<Vec<_>>()
                .await
                .map_err(|error| ask::refused(what, &error))
        };
        let mut routes = ask::bounded(what, answer).await?;
        routes.retain(is_default);
        routes.sort_by_key(metric);
        for index in routes.iter().flat_map(interfaces) {
            if !indexes.contains(&index) {
                indexes.push(index);
            }
        }
    }
    Ok(indexes)
}

fn is_default(route: &RouteMessage) -> bool {
    let table = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    route.header.destination_prefix_length == 0
        && route.header.kind == RouteType::Unicast
        && table.unwrap_or(u32::from(route.header.table)) == u32::from(RouteHeader::RT_TABLE_MAIN)
}

fn metric(route: &RouteMessage) -> u32 {
    let priority = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    priority.unwrap_or(0)
}

fn interfaces(route: &RouteMessage) -> Vec<u32> {
    let of = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Oif(index) => vec![*index],
        RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
        _ => Vec::new(),
    };
    route.attributes.iter().flat_map(of).collect()
}
