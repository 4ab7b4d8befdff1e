//! Which resets ended a connection, and which only answered a packet that came late to one that was over.
//!
//! Two CPUs may carry packets of one connection past each other, on a veth with NAPI (XDP or GRO) more than elsewhere, with and
//! without an agent. When a client's acknowledgement is overtaken by its FIN, the server, which is done by then, acknowledges the FIN once
//! more (RFC 9293, section 3.10.7.4); and the client, whose socket went with the first one, resets what it knows nothing of
//! any more. That takes nothing from anybody. A reset by the server's side is never of this kind, since a host that has
//! lost a flow sends such.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::Packet;

/// The resets of a capture with [`super::ENDS_FILTER`] on the client's own device.
#[derive(Clone, Debug, Default)]
pub struct Resets {
    /// Those of connections that were not over, or not known here.
    pub of_connections: Vec<Packet>,
    /// Those by a client of a connection that both ends had ended by FINs, at a number that it had come to.
    pub after_the_end: usize,
}

/// The FINs of one connection.
#[derive(Default)]
struct Ends {
    /// The number after the client's.
    client: Option<u32>,
    server: bool,
}

impl Resets {
    /// Tells them apart.
    #[must_use]
    pub fn of(packets: &[Packet]) -> Self {
        let mut connections: HashMap<(SocketAddr, SocketAddr), Ends> = HashMap::new();
        let mut resets = Self::default();
        for packet in packets {
            let has = |flag| packet.flags.contains(flag);
            let (sent, back) = ((packet.source, packet.destination), (packet.destination, packet.source));
            if has('R') {
                if connections.get(&sent).is_some_and(|ends| ends.are_over(packet)) {
                    resets.after_the_end += 1;
                } else {
                    resets.of_connections.push(packet.clone());
                }
            } else if has('S') && !has('.') {
                connections.insert(sent, Ends::default());
            } else if has('F') {
                if let Some(ends) = connections.get_mut(&sent) {
                    ends.client = Some(packet.end.wrapping_add(1));
                } else if let Some(ends) = connections.get_mut(&back) {
                    ends.server = true;
                }
            }
        }
        resets
    }
}

impl Ends {
    /// For a reset of the client's.
    fn are_over(&self, reset: &Packet) -> bool {
        let is_answer = reset.flags == "R";
        let reached = |end: u32| end.wrapping_sub(reset.end) < 1 << 31;
        is_answer && self.server && self.client.is_some_and(reached)
    }
}

#[cfg(test)]
mod tests {
    use super::{Packet, Resets};

    const CLIENT: &str = "10.200.0.2:4000";
    const SERVER: &str = "198.51.100.10:80";

    fn packet(from: &str, to: &str, flags: &str, end: u32) -> Packet {
        Packet {
            at_us: 0,
            source: from.parse().unwrap(),
            destination: to.parse().unwrap(),
            flags: flags.to_owned(),
            end,
        }
    }

    fn up(flags: &str, end: u32) -> Packet {
        packet(CLIENT, SERVER, flags, end)
    }

    fn down(flags: &str, end: u32) -> Packet {
        packet(SERVER, CLIENT, flags, end)
    }

    /// How many count, and how many came after the end.
    fn count(last: &[Packet]) -> (usize, usize) {
        let mut packets = vec![up("S", 10), down("S.", 500)];
        packets.extend_from_slice(last);
        let resets = Resets::of(&packets);
        (resets.of_connections.len(), resets.after_the_end)
    }

    #[test]
    fn an_answer_to_a_late_packet_ends_nothing() {
        let over = [down("F.", 700), up("F.", 90)];
        let with = |reset: Packet| count(&[&over[..], &[reset]].concat());
        // At the FIN's number, and at that of an acknowledgement from before it.
        assert_eq!(with(up("R", 91)), (0, 1));
        assert_eq!(with(up("R", 90)), (0, 1));
    }

    #[test]
    fn all_others_count() {
        let over = [down("F.", 700), up("F.", 90)];
        let with = |last: &[Packet]| count(&[&over[..], last].concat());
        assert_eq!(with(&[down("R", 701)]), (1, 0), "by the server's side");
        assert_eq!(with(&[down("R.", 701)]), (1, 0), "by the server's side");
        assert_eq!(
            with(&[up("R", 92)]),
            (1, 0),
            "at a number that the client never came to"
        );
        assert_eq!(with(&[up("R.", 91)]), (1, 0), "a client that gives up");
        assert_eq!(with(&[up("S", 2000), up("R", 91)]), (1, 0), "of the next connection");
        let elsewhere = packet(CLIENT, "10.1.0.2:8080", "R", 91);
        assert_eq!(with(&[elsewhere]), (1, 0), "of an answer that was not translated");
        assert_eq!(count(&[up("R", 11)]), (1, 0), "in the middle");
        assert_eq!(count(&[up("F.", 90), up("R", 91)]), (1, 0), "before the server's end");
        assert_eq!(
            count(&[down("F.", 700), up("R", 90)]),
            (1, 0),
            "before the client's end"
        );
    }
}
