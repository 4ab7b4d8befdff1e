//! The ways that a connection through an alias can take: one table of what is supported. The bench measures each of its
//! rows, and a test holds the agent to it: what is not here has to be refused, with the reason.

use std::fmt;

/// Where the agent meets packets of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Traffic control.
    Tc,
    /// XDP on veths: what it rewrites goes on to the stack.
    Xdp,
    /// XDP on devices whose drivers send on, on both sides of the host: the lab's cables.
    Driver,
}

/// The way of a flow, by the word that `switcher flows` has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Redirected past the host's stack.
    Bypass,
    /// Through the host's stack.
    Stack,
    /// Handed to a listening socket.
    Socket,
    /// Chosen at connect(); no packet of it is touched.
    Local,
}

/// Where the application waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// In a namespace behind the host.
    Behind,
    /// On the host, at an address of its own.
    Own,
    /// On the host, at 127.0.0.1 and ::1.
    Loopback,
}

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// A machine beside the host.
    Outside,
    /// A container whose cgroup the agent does not serve.
    Apart,
    /// A container whose cgroup it serves.
    Inside,
    /// A process of the host.
    Host,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// At the interfaces where clients come in.
    pub hook: Hook,
    /// What its flows are listed with.
    pub path: Path,
    /// Behind the alias.
    pub server: Server,
    /// Before it.
    pub client: Client,
}

const PACKETS: &[Client] = &[Client::Outside, Client::Apart];
const CONNECTS: &[Client] = &[Client::Host, Client::Inside];

const SUPPORTED: &[(Hook, Path, Server, &[Client])] = &[
    (Hook::Tc, Path::Bypass, Server::Behind, PACKETS),
    (Hook::Tc, Path::Stack, Server::Behind, PACKETS),
    (Hook::Tc, Path::Stack, Server::Own, PACKETS),
    // The host's loopback is none of a container's: its connect() is left alone, and its packets are met.
    (
        Hook::Tc,
        Path::Socket,
        Server::Loopback,
        &[Client::Outside, Client::Apart, Client::Inside],
    ),
    (Hook::Tc, Path::Local, Server::Behind, CONNECTS),
    (Hook::Tc, Path::Local, Server::Own, CONNECTS),
    (Hook::Tc, Path::Local, Server::Loopback, &[Client::Host]),
    (Hook::Xdp, Path::Stack, Server::Behind, PACKETS),
    (Hook::Xdp, Path::Stack, Server::Own, PACKETS),
    (Hook::Xdp, Path::Local, Server::Behind, CONNECTS),
    (Hook::Xdp, Path::Local, Server::Own, CONNECTS),
    (Hook::Driver, Path::Bypass, Server::Behind, &[Client::Outside]),
    (Hook::Driver, Path::Stack, Server::Behind, &[Client::Outside]),
    (Hook::Driver, Path::Stack, Server::Own, &[Client::Outside]),
    (Hook::Driver, Path::Local, Server::Behind, &[Client::Host]),
    (Hook::Driver, Path::Local, Server::Own, &[Client::Host]),
];

/// Every way that is supported by this hook, one client each.
#[must_use]
pub fn supported(hook: Hook) -> Vec<Way> {
    let rows = SUPPORTED.iter().filter(|row| row.0 == hook);
    rows.flat_map(|&(hook, path, server, clients)| {
        clients.iter().map(move |&client| Way {
            hook,
            path,
            server,
            client,
        })
    })
    .collect()
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tc, Self::Xdp, Self::Driver];

    /// Who is there to connect: behind a cable there are no containers.
    #[must_use]
    pub fn clients(self) -> &'static [Client] {
        match self {
            Self::Tc | Self::Xdp => &[Client::Outside, Client::Apart, Client::Inside, Client::Host],
            Self::Driver => &[Client::Outside, Client::Host],
        }
    }
}

impl Server {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Behind, Self::Own, Self::Loopback];
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tc => "tc",
            Self::Xdp => "xdp",
            Self::Driver => "driver",
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bypass => "bypass",
            Self::Stack => "stack",
            Self::Socket => "socket",
            Self::Local => "local",
        })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Behind => "namespace",
            Self::Own => "own",
            Self::Loopback => "loopback",
        })
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Outside => "outside",
            Self::Apart => "container",
            Self::Inside => "container-cg",
            Self::Host => "host",
        })
    }
}
