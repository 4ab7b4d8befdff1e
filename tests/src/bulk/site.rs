//! A lab with iperf3 wherever an application can wait, with or without an agent.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path as FilePath;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use nix::sys::signal::Signal;

use super::iperf::{Direction, Family, transfer};
use crate::interrupt;
use crate::lab::{Agent, Container, Lab, Namespace, Outcome, Process, Wires};
use crate::ways::{Client, Hook, Path, Server, Way};

/// At every address of a namespace.
const PORT: &str = "5201";
/// At the host's loopback addresses only.
const LOOPBACK_PORT: &str = "5202";
/// The host has them on `lo`: its stack delivers there what is for a socket.
const ON_LO: [&str; 2] = ["198.51.100.30/32", "2001:db8::30/128"];
const START_LIMIT: Duration = Duration::from_secs(20);

/// The lab and what runs in it. Fields are dropped in this order: the lab last.
pub struct Site {
    agent: Option<Agent>,
    servers: Vec<Process>,
    /// In their place, if anything is.
    idle: Vec<TcpListener>,
    /// In the cgroup that an agent serves, and not in it. Behind cables there are none.
    containers: Option<[Namespace; 2]>,
    lab: Lab,
}

impl Site {
    /// Wired for this hook, without an agent.
    ///
    /// # Errors
    /// If a step fails.
    pub fn bare(hook: Hook) -> Result<Self> {
        let lab = Lab::wired(match hook {
            Hook::Tc | Hook::Xdp => Wires::Veths,
            Hook::Driver => Wires::Cables,
        })?;
        let containers = match hook {
            Hook::Tc | Hook::Xdp => Some([lab.container(Container::Inside)?, lab.container(Container::Apart)?]),
            Hook::Driver => None,
        };
        for address in ON_LO {
            let words = ["ip", "address", "add", address, "dev", "lo"];
            lab.host().run(&words)?.expect_code(&[0])?;
        }
        let mut site = Self {
            agent: None,
            servers: Vec::new(),
            idle: Vec::new(),
            containers,
            lab,
        };
        site.serve()?;
        Ok(site)
    }

    /// With an agent that meets outside clients and containers by this hook, and every alias that it supports there.
    ///
    /// # Errors
    /// If a step fails.
    pub fn with_agent(hook: Hook) -> Result<Self> {
        let mut site = Self::bare(hook)?;
        let words: &[&str] = match hook {
            Hook::Tc => &["--hook", "tc", "--interface", "inside", "--interface", "apart"],
            Hook::Xdp => &["--hook", "xdp", "--interface", "inside", "--interface", "apart"],
            Hook::Driver => &["--hook", "xdp", "--interface", "v1", "--interface", "v2"],
        };
        site.agent = Some(Agent::start_with(&site.lab, words)?);
        let ways = crate::ways::supported(hook);
        let mut aliases = String::new();
        for (path, server) in ALIASES {
            if ways.iter().any(|way| (way.path, way.server) == (path, server)) {
                aliases.push_str(&alias(path, server, &policy(path)));
            }
        }
        site.apply(&aliases)?.expect_code(&[0])?;
        Ok(site)
    }

    /// Applies these aliases, as [`alias`] writes them; the exit code is not judged.
    ///
    /// # Errors
    /// If the command cannot be run.
    pub fn apply(&self, aliases: &str) -> Result<Outcome> {
        let file = self.lab.dir().join("bulk.yaml");
        fs::write(&file, format!("version: 1\nstack: bulk\naliases:\n{aliases}"))?;
        self.agent()?
            .cli(&["apply", "--prune", "-f", &file.display().to_string()])
    }

    /// A server that hangs in a transfer takes no other: all anew.
    fn serve(&mut self) -> Result<()> {
        self.servers.clear();
        for (space, arguments) in [
            (self.lab.v1(), vec!["--port", PORT]),
            (self.lab.host(), vec!["--port", PORT]),
            (
                self.lab.host(),
                vec!["--port", LOOPBACK_PORT, "--bind", "127.0.0.1", "-4"],
            ),
            (self.lab.host(), vec!["--port", LOOPBACK_PORT, "--bind", "::1", "-6"]),
        ] {
            let mut iperf = space.command("iperf3");
            iperf.arg("--server").args(arguments);
            iperf.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            self.servers
                .push(Process::spawn("iperf3", &mut iperf, Signal::SIGTERM)?);
        }
        interrupt::wait_for("iperf3 listens", START_LIMIT, || {
            Ok(listeners(self.lab.v1())? >= 1 && listeners(self.lab.host())? >= 3)
        })
    }

    /// Takes iperf3 away, which closes what it does not expect: connections then stay open until their client ends them.
    ///
    /// # Errors
    /// If a port cannot be bound.
    pub fn idle(&mut self) -> Result<()> {
        self.servers.clear();
        for (space, address, port) in [
            (self.lab.v1(), "[::]", PORT),
            (self.lab.host(), "[::]", PORT),
            (self.lab.host(), "127.0.0.1", LOOPBACK_PORT),
            (self.lab.host(), "[::1]", LOOPBACK_PORT),
        ] {
            let address = format!("{address}:{port}");
            // Nobody accepts: the kernel does all that a client sees.
            let bound = space.spawn(move || Ok(TcpListener::bind(address)?))?;
            self.idle
                .push(bound.join().map_err(|_| anyhow!("a thread that binds died"))??);
        }
        Ok(())
    }

    /// One transfer to the server's own address: bits a second, 0 if it stalls.
    ///
    /// # Errors
    /// If it could not be made.
    pub fn direct(&mut self, way: Way, family: Family, direction: Direction, megabytes: u32) -> Result<f64> {
        self.transfer(way.client, direct(way, family), direction, megabytes)
    }

    /// The same through the alias.
    ///
    /// # Errors
    /// If it could not be made.
    pub fn by_alias(&mut self, way: Way, family: Family, direction: Direction, megabytes: u32) -> Result<f64> {
        self.transfer(way.client, listener(way, family), direction, megabytes)
    }

    fn transfer(&mut self, client: Client, to: SocketAddr, direction: Direction, megabytes: u32) -> Result<f64> {
        let speed = transfer(|program| self.command(client, program), to, direction, megabytes)?;
        if speed <= 0.0 {
            self.serve()?;
        }
        Ok(speed)
    }

    /// A program that this client runs.
    ///
    /// # Errors
    /// If this site has no such client.
    pub fn command(&self, client: Client, program: impl AsRef<FilePath>) -> Result<Command> {
        let containers = || {
            self.containers
                .as_ref()
                .context("behind cables there are no containers")
        };
        let cgroup = self.lab.cgroup();
        Ok(match client {
            Client::Outside => self.lab.client().command(program),
            Client::Inside => cgroup.command(&containers()?[0], program),
            Client::Apart => containers()?[1].command(program),
            Client::Host => cgroup.command(self.lab.host(), program),
        })
    }

    /// The agent.
    ///
    /// # Errors
    /// If there is none.
    pub fn agent(&self) -> Result<&Agent> {
        self.agent.as_ref().context("this site has no agent")
    }

    /// The lab.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// What the kernel counted for the way's alias.
    pub(super) fn flows_opened(&self, way: Way) -> Result<u64> {
        let status = self
            .agent()?
            .cli(&["status", name(way), "--json"])?
            .expect_code(&[0])?
            .stdout;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        status["aliases"][0]["sets"][0]["counters"]["flows_opened"]
            .as_u64()
            .with_context(|| format!("status counts no flows: {status}"))
    }
}

/// Sockets that listen in a namespace.
fn listeners(space: &Namespace) -> Result<usize> {
    let outcome = space.run(&["ss", "--tcp", "--listening", "--no-header"])?;
    Ok(outcome.expect_code(&[0])?.stdout.lines().count())
}

/// Local clients have none of their own: they use these.
const ALIASES: [(Path, Server); 4] = [
    (Path::Bypass, Server::Behind),
    (Path::Stack, Server::Behind),
    (Path::Stack, Server::Own),
    (Path::Socket, Server::Loopback),
];

/// The alias's name.
#[must_use]
pub fn name(way: Way) -> &'static str {
    match (way.path, way.server) {
        (Path::Bypass, Server::Behind) => "bypass",
        (_, Server::Behind) => "stack",
        (_, Server::Own) => "own",
        (_, Server::Loopback) => "loop",
    }
}

/// What `path:` says of it.
fn policy(path: Path) -> String {
    match path {
        Path::Bypass | Path::Stack => path.to_string(),
        Path::Socket | Path::Local => "auto".to_owned(),
    }
}

/// The alias in a stack file.
#[must_use]
pub fn alias(path: Path, server: Server, policy: &str) -> String {
    let way = Way {
        hook: Hook::Tc,
        path,
        server,
        client: Client::Outside,
    };
    let [v4, v6] = Family::ALL.map(|family| listener(way, family));
    let backends = match server {
        Server::Behind => format!(r#""10.1.0.2:{PORT}", "[fd00::2]:{PORT}""#),
        Server::Own => format!(r#""10.0.0.1:{PORT}", "[fd00:c::1]:{PORT}""#),
        Server::Loopback => format!(r#""127.0.0.1:{LOOPBACK_PORT}", "[::1]:{LOOPBACK_PORT}""#),
    };
    format!(
        "  {}:\n    listen: [\"{v4}/tcp\", \"{v6}/tcp\"]\n    path: {policy}\n    split: {{v1: 100}}\n    \
         sets: {{v1: {{backends: [{backends}]}}}}\n",
        name(way)
    )
}

/// Where clients find the alias.
#[must_use]
pub fn listener(way: Way, family: Family) -> SocketAddr {
    let both = match (way.path, way.server) {
        (Path::Bypass, Server::Behind) => ["198.51.100.11:80", "[2001:db8::11]:80"],
        (_, Server::Behind) => ["198.51.100.12:80", "[2001:db8::12]:80"],
        (_, Server::Own) => ["10.0.0.1:80", "[fd00:c::1]:80"],
        (_, Server::Loopback) => ["198.51.100.30:80", "[2001:db8::30]:80"],
    };
    of_family(both, family)
}

/// The same application without Switcher. Nobody but the host reaches its loopback: others go to its address there.
fn direct(way: Way, family: Family) -> SocketAddr {
    let both = match (way.server, way.client) {
        (Server::Behind, _) => ["10.1.0.2:5201", "[fd00::2]:5201"],
        (Server::Own, _) => ["10.0.0.1:5201", "[fd00:c::1]:5201"],
        (Server::Loopback, Client::Host) => ["127.0.0.1:5202", "[::1]:5202"],
        (Server::Loopback, _) => ["198.51.100.30:5201", "[2001:db8::30]:5201"],
    };
    of_family(both, family)
}

fn of_family([v4, v6]: [&str; 2], family: Family) -> SocketAddr {
    let address = match family {
        Family::V4 => v4,
        Family::V6 => v6,
    };
    address.parse().expect("addresses of this file are addresses")
}
