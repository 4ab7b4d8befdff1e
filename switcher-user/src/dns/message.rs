//! A question in, an answer out: RFC 1035, as much of it as there are names. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// The zone unless told otherwise.
pub const ZONE: &str = "switcher.internal";
/// How long an answer may be kept, in seconds. The address is stable; an alias that is removed is gone after this.
const TTL_SECONDS: u32 = 5;
/// Most addresses in one answer: with these it fits 512 bytes.
const ADDRESSES_MAX: usize = 8;
const HEADER_BYTES: usize = 12;
/// Longest name on the wire.
const NAME_BYTES_MAX: usize = 255;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const TYPE_ANY: u16 = 255;
const CLASS_IN: u16 = 1;
const FLAG_ANSWER: u16 = 0x8000;
const FLAG_AUTHORITATIVE: u16 = 0x0400;
const FLAG_RECURSION_DESIRED: u16 = 0x0100;
const OPCODE_MASK: u16 = 0x7800;
const FORMAT_ERROR: u16 = 1;
const NO_SUCH_NAME: u16 = 3;
const NOT_IMPLEMENTED: u16 = 4;
const REFUSED: u16 = 5;

/// The aliases' addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// By name, in small letters.
    pub addresses: BTreeMap<String, Vec<IpAddr>>,
    /// Names that only one asks by, a container: what its links say, by its own address.
    pub links: BTreeMap<IpAddr, BTreeMap<String, Vec<IpAddr>>>,
}

impl Names {
    /// The addresses of a name as this client knows it.
    fn of(&self, client: IpAddr, name: &str) -> Option<&Vec<IpAddr>> {
        let linked = self.links.get(&client).and_then(|links| links.get(name));
        linked.or_else(|| self.addresses.get(name))
    }
}

/// One question.
struct Question {
    id: u16,
    flags: u16,
    name: String,
    kind: u16,
    class: u16,
    /// As it stands in the packet: name, type, class.
    raw: Vec<u8>,
}

/// The answer to a packet of this client; `None`: it is no question at all.
pub(super) fn answer(packet: &[u8], client: IpAddr, names: &Names) -> Option<Vec<u8>> {
    let id = word(packet, 0)?;
    let flags = word(packet, 2)?;
    if packet.len() < HEADER_BYTES || flags & FLAG_ANSWER != 0 {
        return None;
    }
    if flags & OPCODE_MASK != 0 {
        return Some(reply(id, flags, NOT_IMPLEMENTED, &[], &[]));
    }
    let Some(question) = read(packet, id, flags) else {
        return Some(reply(id, flags, FORMAT_ERROR, &[], &[]));
    };
    Some(found(&question, client, names))
}

fn found(question: &Question, client: IpAddr, names: &Names) -> Vec<u8> {
    let with = |code: u16, addresses: &[IpAddr]| {
        let flags = question.flags | FLAG_AUTHORITATIVE;
        reply(question.id, flags, code, &question.raw, addresses)
    };
    let Some(alias) = alias_of(&question.name, client, names) else {
        return reply(question.id, question.flags, REFUSED, &question.raw, &[]);
    };
    // The zone itself has no address.
    let Some(addresses) = names.of(client, alias) else {
        return with(if alias.is_empty() { 0 } else { NO_SUCH_NAME }, &[]);
    };
    let wanted = |address: &&IpAddr| {
        question.class == CLASS_IN
            && match question.kind {
                TYPE_A => address.is_ipv4(),
                TYPE_AAAA => address.is_ipv6(),
                TYPE_ANY => true,
                _ => false,
            }
    };
    let wanted: Vec<IpAddr> = addresses.iter().filter(wanted).take(ADDRESSES_MAX).copied().collect();
    with(0, &wanted)
}

/// The part of the name that says which alias; `None`: it is none of our names.
fn alias_of<'q>(name: &'q str, client: IpAddr, names: &Names) -> Option<&'q str> {
    if let Some(rest) = name.strip_suffix(ZONE) {
        return if rest.is_empty() {
            Some("")
        } else {
            rest.strip_suffix('.')
        };
    }
    names.of(client, name).is_some().then_some(name)
}

fn word(packet: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?))
}

/// Exactly one question; names in questions are not compressed.
fn read(packet: &[u8], id: u16, flags: u16) -> Option<Question> {
    if word(packet, 4)? != 1 {
        return None;
    }
    let mut at = HEADER_BYTES;
    let mut name = String::new();
    // Each round takes a label; the length check ends it.
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        if length > 63 || at + length - HEADER_BYTES > NAME_BYTES_MAX {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        for byte in packet.get(at..at + length)? {
            // A dot inside a label would look like two labels.
            let printable = byte.is_ascii_graphic() && *byte != b'.';
            name.push(if printable {
                byte.to_ascii_lowercase() as char
            } else {
                '?'
            });
        }
        at += length;
    }
    Some(Question {
        id,
        flags,
        name,
        kind: word(packet, at)?,
        class: word(packet, at + 2)?,
        raw: packet.get(HEADER_BYTES..at + 4)?.to_vec(),
    })
}

fn reply(id: u16, flags: u16, code: u16, question: &[u8], addresses: &[IpAddr]) -> Vec<u8> {
    let kept = flags & (FLAG_RECURSION_DESIRED | FLAG_AUTHORITATIVE | OPCODE_MASK);
    let mut out = Vec::with_capacity(512);
    let questions = u16::from(!question.is_empty());
    let answers = u16::try_from(addresses.len()).unwrap_or(0);
    for number in [id, FLAG_ANSWER | kept | code, questions, answers, 0, 0] {
        out.extend(number.to_be_bytes());
    }
    out.extend(question);
    for address in addresses {
        // The name: a pointer to the question's.
        out.extend([0xc0, 12]);
        let (kind, bytes): (u16, Vec<u8>) = match address {
            IpAddr::V4(v4) => (TYPE_A, v4.octets().to_vec()),
            IpAddr::V6(v6) => (TYPE_AAAA, v6.octets().to_vec()),
        };
        out.extend(kind.to_be_bytes());
        out.extend(CLASS_IN.to_be_bytes());
        out.extend(TTL_SECONDS.to_be_bytes());
        out.extend(u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
        out.extend(bytes);
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(172, 17, 0, 2));

    pub(in super::super) fn names() -> Names {
        let addresses = vec!["198.18.255.2".parse().unwrap(), "fd00::5".parse().unwrap()];
        Names {
            addresses: BTreeMap::from([("web".to_owned(), addresses), ("a.b".to_owned(), Vec::new())]),
            links: BTreeMap::new(),
        }
    }

    pub(in super::super) fn question(name: &str, kind: u16) -> Vec<u8> {
        let mut packet = vec![0xab, 0xcd, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.').filter(|label| !label.is_empty()) {
            packet.push(u8::try_from(label.len()).unwrap());
            packet.extend(label.as_bytes());
        }
        packet.push(0);
        packet.extend(kind.to_be_bytes());
        packet.extend(CLASS_IN.to_be_bytes());
        packet
    }

    #[test]
    fn a_links_name_is_the_askers_own() {
        let (mut names, address) = (names(), vec!["172.17.0.9".parse().unwrap()]);
        let links = BTreeMap::from([("db".to_owned(), address.clone()), ("web".to_owned(), address)]);
        names.links.insert(CLIENT, links);
        let other = "172.17.0.3".parse().unwrap();
        for (client, name, code, last) in [
            (CLIENT, "db", 0, 9),
            (CLIENT, "DB.switcher.internal", 0, 9),
            (CLIENT, "web", 0, 9),
            (other, "web", 0, 2),
            (other, "db.switcher.internal", NO_SUCH_NAME, 1),
            (other, "db", REFUSED, 1),
        ] {
            let answer = answer(&question(name, TYPE_A), client, &names).unwrap();
            let said = (word(&answer, 2).unwrap() & 15, answer[answer.len() - 1]);
            assert_eq!(said, (code, last), "{client} {name}");
        }
    }

    /// Code, answers, and the last bytes.
    fn ask(name: &str, kind: u16) -> (u16, u16, Vec<u8>) {
        let answer = answer(&question(name, kind), CLIENT, &names()).unwrap();
        assert_eq!(&answer[..2], [0xab, 0xcd]);
        let length = if kind == TYPE_AAAA { 16 } else { 4 };
        let end = answer[answer.len() - length..].to_vec();
        (word(&answer, 2).unwrap() & 15, word(&answer, 6).unwrap(), end)
    }

    #[test]
    fn an_alias_answers_with_its_own_address() {
        for name in ["web.switcher.internal", "WEB.Switcher.internal", "web"] {
            let (code, answers, end) = ask(name, TYPE_A);
            assert_eq!((code, answers, end), (0, 1, vec![198, 18, 255, 2]), "{name}");
            let (code, answers, end) = ask(name, TYPE_AAAA);
            assert_eq!((code, answers, end[15]), (0, 1, 5), "{name}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_apart_from_what_is_not_ours() {
        let rows = [
            ("other.switcher.internal", NO_SUCH_NAME, 0),
            ("switcher.internal", 0, 0),
            ("xswitcher.internal", REFUSED, 0),
            ("example.com", REFUSED, 0),
            ("other", REFUSED, 0),
            ("", REFUSED, 0),
        ];
        for (name, code, answers) in rows {
            let (got, count, _) = ask(name, TYPE_A);
            assert_eq!((got, count), (code, answers), "{name}");
        }
        // A name that is there has no MX: no error, no answer.
        assert_eq!(ask("web", 15).0, 0);
        assert_eq!(ask("web", 15).1, 0);
    }

    #[test]
    fn broken_questions_are_answered_as_such_and_answers_never() {
        let mut two = question("web", TYPE_A);
        two[5] = 2;
        assert_eq!(
            word(&answer(&two, CLIENT, &names()).unwrap(), 2).unwrap() & 15,
            FORMAT_ERROR
        );
        let mut reply = question("web", TYPE_A);
        reply[2] |= 0x80;
        assert_eq!(answer(&reply, CLIENT, &names()), None);
        let mut update = question("web", TYPE_A);
        update[2] |= 5 << 3;
        assert_eq!(
            word(&answer(&update, CLIENT, &names()).unwrap(), 2).unwrap() & 15,
            NOT_IMPLEMENTED
        );
    }

    proptest::proptest! {
        #[test]
        fn no_packet_makes_it_panic_or_answer_long(packet in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            if let Some(answer) = answer(&packet, CLIENT, &names()) {
                assert!(answer.len() <= 512);
            }
        }
    }
}
