//! Neighbours whose link-layer addresses are used by programs that do not ask for them again.
//!
//! The kernel takes an entry for what it was until a packet of its own stack goes there, and only then asks whether it still holds.
//! A frame that XDP sends on is no such packet. So the agent says that the entry is in use.

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use rtnetlink::Handle;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};

use super::{NetError, ask};

const WHAT: &str = "the neighbours";
/// At one time; the next time it is the others' turn, for those that were asked are no longer stale.
const ASKED_MAX: usize = 256;

/// Has the kernel ask again for each neighbour at these interfaces that it has not heard of for a while.
pub(super) async fn ask_again(handle: &Handle, ifindexes: &[u32]) -> Result<(), NetError> {
    let list = handle.neighbours().get().execute().try_collect::<Vec<_>>();
    let list = async { list.await.map_err(|error| ask::refused(WHAT, &error)) };
    let entries = ask::bounded(WHAT, list).await?;
    let stale = entries
        .iter()
        .filter(|entry| entry.header.state == NeighbourState::Stale && ifindexes.contains(&entry.header.ifindex));
    for (ifindex, address) in stale
        .filter_map(|entry| Some((entry.header.ifindex, address(entry)?)))
        .take(ASKED_MAX)
    {
        let question = handle.neighbours().add(ifindex, address).replace();
        let question = question.flags(NeighbourFlags::Use).state(NeighbourState::None);
        let question = async { question.execute().await.map_err(|error| ask::refused(WHAT, &error)) };
        ask::bounded(WHAT, question).await?;
    }
    Ok(())
}

fn address(entry: &NeighbourMessage) -> Option<IpAddr> {
    entry.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    })
}
