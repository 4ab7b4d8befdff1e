//! TCP segments without data to speak of, as frames.

use switcher_ebpf::abi::Address;

const ETHERNET: usize = 14;
const TCP: usize = 20;
const HOP_LIMIT: u8 = 64;
const PROTOCOL_TCP: u8 = 6;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What a segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flags {
    /// An acknowledgement.
    Old,
    /// One with a byte of data.
    OldByte,
    /// The end.
    Reset,
}

/// A segment; ports in network byte order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) source: Address,
    pub(super) destination: Address,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) sequence: u32,
    pub(super) acknowledged: u32,
    pub(super) flags: Flags,
}

impl Segment {
    /// The frame, for this link-layer address.
    pub(super) fn frame(&self, to: [u8; 6]) -> Vec<u8> {
        let tcp = self.tcp();
        let mut frame = Vec::with_capacity(ETHERNET + 40 + tcp.len());
        frame.extend(to);
        frame.extend([0; 6]);
        if self.source.is_v4() {
            frame.extend(0x0800_u16.to_be_bytes());
            frame.extend(self.ipv4(tcp.len()));
        } else {
            frame.extend(0x86dd_u16.to_be_bytes());
            frame.extend(self.ipv6(tcp.len()));
        }
        frame.extend(tcp);
        frame
    }

    fn ipv4(&self, payload: usize) -> Vec<u8> {
        let length = (20 + payload) as u16;
        let mut header = vec![0x45, 0];
        header.extend(length.to_be_bytes());
        // No identification, not to be fragmented.
        header.extend([0, 0, 0x40, 0, HOP_LIMIT, PROTOCOL_TCP, 0, 0]);
        header.extend(v4(&self.source));
        header.extend(v4(&self.destination));
        let sum = folded(sum(&header));
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }

    fn ipv6(&self, payload: usize) -> Vec<u8> {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend((payload as u16).to_be_bytes());
        header.extend([PROTOCOL_TCP, HOP_LIMIT]);
        header.extend(v6(&self.source));
        header.extend(v6(&self.destination));
        header
    }

    fn tcp(&self) -> Vec<u8> {
        let mut segment = Vec::with_capacity(TCP + 1);
        segment.extend(self.source_port.to_ne_bytes());
        segment.extend(self.destination_port.to_ne_bytes());
        segment.extend(self.sequence.to_be_bytes());
        segment.extend(self.acknowledged.to_be_bytes());
        let flags = if self.flags == Flags::Reset { RST | ACK } else { ACK };
        segment.extend([(TCP as u8 / 4) << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        if self.flags == Flags::OldByte {
            segment.push(0);
        }
        let addresses = if self.source.is_v4() {
            sum(&v4(&self.source)) + sum(&v4(&self.destination))
        } else {
            sum(&v6(&self.source)) + sum(&v6(&self.destination))
        };
        let all = addresses + u32::from(PROTOCOL_TCP) + segment.len() as u32 + sum(&segment);
        segment[16..18].copy_from_slice(&folded(all).to_be_bytes());
        segment
    }
}

fn v6(address: &Address) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(address.0) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

const fn v4(address: &Address) -> [u8; 4] {
    address.0[3].to_ne_bytes()
}

/// The words of a header added up (RFC 1071).
fn sum(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    bytes.chunks(2).map(word).sum()
}

const fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use switcher_ebpf::native::MemoryPacket;
    use switcher_ebpf::parse::{Content, parse};

    use super::*;

    #[test]
    fn frames_are_what_the_data_path_reads() {
        let addresses = [
            (Address::v4([192, 0, 2, 1]), Address::v4([198, 51, 100, 10])),
            (Address([1_u32.to_be(), 2, 3, 4]), Address([5_u32.to_be(), 6, 7, 8])),
        ];
        for (source, destination) in addresses {
            for flags in [Flags::Old, Flags::OldByte, Flags::Reset] {
                let segment = Segment {
                    source,
                    destination,
                    source_port: 4_000_u16.to_be(),
                    destination_port: 80_u16.to_be(),
                    sequence: 0xffff_fffe,
                    acknowledged: 7,
                    flags,
                };
                let frame = segment.frame([2, 0, 0, 0, 0, 1]);
                let l4 = if source.is_v4() { ETHERNET + 20 } else { ETHERNET + 40 };
                let pseudo = sum(&frame[l4 - if source.is_v4() { 8 } else { 32 }..l4]);
                let whole = pseudo + 6 + (frame.len() - l4) as u32 + sum(&frame[l4..]);
                assert_eq!(folded(whole), 0, "the sum is right");
                let packet = MemoryPacket::new(frame, 1);
                let Ok(Content::Segment(parsed)) = parse(&packet) else {
                    panic!("it is a segment");
                };
                assert_eq!((parsed.key.source, parsed.key.destination), (source, destination));
                let switcher_ebpf::parse::Transport::Tcp(tcp) = parsed.transport else {
                    panic!("of TCP");
                };
                assert_eq!((tcp.sequence, tcp.acknowledged), (0xffff_fffe, 7));
                assert_eq!(tcp.is_reset(), flags == Flags::Reset);
                assert_eq!(tcp.payload, u32::from(flags == Flags::OldByte));
            }
        }
    }
}
