//! Packets, built by etherparse from what they are to say: never recorded from our own output.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv4Options, Ipv6Extensions, Ipv6Header, Ipv6RawExtHeader,
    PacketBuilder,
};

/// One TCP packet in words.
#[derive(Clone, Debug)]
pub struct Tcp {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub flags: &'static str,
    pub seq: u32,
    pub ack: u32,
    pub ttl: u8,
    pub payload: Vec<u8>,
    /// IPv4 options, or an IPv6 hop-by-hop header.
    pub with_options: bool,
}

pub fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A packet with these flags: S, A, F, R.
pub fn tcp(from: &str, to: &str, flags: &'static str) -> Tcp {
    Tcp {
        from: socket(from),
        to: socket(to),
        flags,
        seq: 1_000,
        ack: if flags.contains('A') { 5_000 } else { 0 },
        ttl: 64,
        payload: Vec::new(),
        with_options: false,
    }
}

impl Tcp {
    pub fn seq(mut self, seq: u32) -> Self {
        self.seq = seq;
        self
    }

    pub fn ack(mut self, ack: u32) -> Self {
        self.ack = ack;
        self
    }

    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub fn with_options(mut self) -> Self {
        self.with_options = true;
        self
    }

    /// The same packet with another destination.
    pub fn sent_to(mut self, to: &str) -> Self {
        self.to = socket(to);
        self
    }

    /// The same packet with another source.
    pub fn sent_from(mut self, from: &str) -> Self {
        self.from = socket(from);
        self
    }

    /// The same packet after a router.
    pub fn hop(mut self) -> Self {
        self.ttl -= 1;
        self
    }

    fn headers(&self) -> IpHeaders {
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut header = Ipv4Header::new(0, self.ttl, IpNumber::TCP, from.octets(), to.octets()).unwrap();
                if self.with_options {
                    // Router alert, RFC 2113.
                    header.options = Ipv4Options::try_from(&[148, 4, 0, 0][..]).unwrap();
                }
                IpHeaders::Ipv4(header, Ipv4Extensions::default())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let header = Ipv6Header {
                    hop_limit: self.ttl,
                    source: from.octets(),
                    destination: to.octets(),
                    ..Ipv6Header::default()
                };
                let mut extensions = Ipv6Extensions::default();
                if self.with_options {
                    // PadN of four bytes, RFC 8200 section 4.2.
                    let padding = [1, 4, 0, 0, 0, 0];
                    extensions.hop_by_hop_options = Some(Ipv6RawExtHeader::new_raw(IpNumber::TCP, &padding).unwrap());
                }
                IpHeaders::Ipv6(header, extensions)
            }
            other => panic!("two families in one packet: {other:?}"),
        }
    }

    /// The frame's bytes, checksums complete.
    pub fn frame(&self) -> Vec<u8> {
        let mut builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [0; 6])
            .ip(self.headers())
            .tcp(self.from.port(), self.to.port(), self.seq, 64_000);
        for flag in self.flags.chars() {
            builder = match flag {
                'S' => builder.syn(),
                'A' => builder.ack(self.ack),
                'F' => builder.fin(),
                'R' => builder.rst(),
                other => panic!("no flag {other}"),
            };
        }
        let mut frame = Vec::new();
        builder.write(&mut frame, &self.payload).unwrap();
        frame
    }
}
