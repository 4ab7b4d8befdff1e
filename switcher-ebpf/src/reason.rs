//! The numbered table of verdict reasons: the kernel counts by it, the command line and the docs print from it.

macro_rules! reasons {
    ($($number:literal $name:ident $text:literal $what:literal;)*) => {
        /// Why a packet was passed, rewritten or dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Reason {
            $(#[doc = $what] $name = $number,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The reason's name for people and scripts.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }
        }
    };
}

// Numbers are part of the ABI: append, never renumber.
reasons! {
    0 NotIp "not_ip" "Passed: neither IPv4 nor IPv6.";
    1 NotCarried "not_carried" "Passed: a protocol that Switcher does not carry.";
    2 Malformed "malformed" "Passed: the headers are cut short or contradict themselves.";
    3 Fragment "fragment" "Passed: a fragment; only whole packets are switched.";
    4 VlanTagged "vlan_tagged" "Passed: the packet carries a VLAN tag.";
    5 MappedAddress "mapped_address" "Passed: an IPv6 packet with an IPv4-mapped address.";
    6 NoFlow "no_flow" "Passed: no flow, and nothing that could open one.";
    7 NoListener "no_listener" "Passed: a SYN or datagram to an address and port that no alias listens on.";
    8 NoImage "no_image" "Passed: no image is installed.";
    9 NoShare "no_share" "Passed: the alias has no set with a share, or no backend of this family.";
    10 OtherHook "other_hook" "Passed: a packet of a flow whose rewriting is another hook's work.";
    11 OpenedBypass "opened_bypass" "Rewritten: a SYN or datagram opened a flow on the bypass path.";
    12 OpenedStack "opened_stack" "Rewritten: a SYN or datagram opened a flow on the stack path.";
    13 ForwardBypass "forward_bypass" "Rewritten: client to backend, past the host's stack.";
    14 ForwardStack "forward_stack" "Rewritten: client to backend, through the host's stack.";
    15 ReplyBypass "reply_bypass" "Rewritten: backend to client, past the host's stack.";
    16 ReplyStack "reply_stack" "Rewritten: backend to client, through the host's stack.";
    17 BypassTooBig "bypass_too_big" "Passed: to the stack: too big for the way past it; the stack answers.";
    18 BypassNoRoute "bypass_no_route" "Passed: to the stack: no way past it; the stack decides.";
    19 BypassTtl "bypass_ttl" "Passed: to the stack: its time to live ends here; the stack answers.";
    20 RewriteFailed "rewrite_failed" "Dropped: the packet could not be rewritten whole.";
    21 DuplicateSyn "duplicate_syn" "Dropped: a copy of a SYN that another CPU was deciding at the same moment.";
    22 SourcePortsUsed "source_ports_used" "Dropped: the backend has this client's port in use by another alias, and no other was free.";
    23 TableFailed "table_failed" "Dropped: the flow index had no room for a new flow.";
    24 IcmpError "icmp_error" "Rewritten: an ICMP error about a switched flow.";
    25 NotForHost "not_for_host" "Passed: a frame for another machine, or for many.";
    26 Held "held" "Dropped: a SYN or datagram to an alias that holds its new flows; the client sends it again.";
    27 Shielded "shielded" "Dropped: a refusal that a shielded alias keeps from its client.";
    28 OpenedSocket "opened_socket" "Passed: a SYN opened a flow to a listening socket of this host.";
    29 ForwardSocket "forward_socket" "Passed: client to a process of this host, whose connection the host's own TCP has.";
    30 ReplySocket "reply_socket" "Passed: a process of this host to client.";
    31 SocketRefused "socket_refused" "Rewritten: into a RST to the client: no socket of this host listens where the backend should.";
    32 SocketTaken "socket_taken" "Passed: a SYN on a connection that this host has without a flow.";
    33 SocketEnded "socket_ended" "Rewritten: a SYN repeated after a switch ends the handshake that the old set's socket had; the next one is decided anew.";
    34 SocketFailed "socket_failed" "Dropped: the program of the socket path could not be called, or a switch came between it and its caller; the client tries again.";
}

const _: () = assert!(Reason::ALL.len() < crate::abi::VERDICTS_MAX as usize);
