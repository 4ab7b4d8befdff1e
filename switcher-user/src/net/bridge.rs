//! Ports of bridges: which veth of this host leads into the namespace of a process.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use rtnetlink::Handle;
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};

use super::link::Link;
use super::{BridgePort, NetError, ask};

/// The number that this namespace has for the network namespace of process `pid`; `None`: no such process, or no number
/// yet, which means that no veth leads there.
pub(super) async fn namespace_of(handle: &Handle, pid: u32) -> Result<Option<i32>, NetError> {
    let what = format!("the network namespace of process {pid}");
    let mut question = NsidMessage::default();
    question.attributes.push(NsidAttribute::Pid(pid));
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(question));
    message.header.flags = NLM_F_REQUEST;
    let mut handle = handle.clone();
    let answer = async {
        let mut answers = handle.request(message).map_err(|error| ask::refused(&what, &error))?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(answer)) = answer.payload {
                return Ok(number(&answer));
            }
        }
        Ok(None)
    };
    ask::bounded(&what, answer).await
}

/// -1 stands for no number.
fn number(answer: &NsidMessage) -> Option<i32> {
    answer.attributes.iter().find_map(|attribute| match attribute {
        NsidAttribute::Id(id) if *id >= 0 => Some(*id),
        _ => None,
    })
}

/// The port of bridge `bridge` that leads into the namespace with this number.
pub(super) fn port(links: &BTreeMap<u32, Link>, bridge: u32, namespace: i32) -> Option<BridgePort> {
    let bridge = links.get(&bridge)?;
    let port = links
        .values()
        .find(|link| link.controller == bridge.interface.ifindex && link.peer_namespace == Some(namespace))?;
    Some(BridgePort {
        bridge: bridge.interface.ifindex,
        bridge_name: bridge.interface.name.clone(),
        ifindex: port.interface.ifindex,
        name: port.interface.name.clone(),
    })
}
