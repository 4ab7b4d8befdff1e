//! Processes of the host itself as both versions: on its loopback addresses, and on its own ones.

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use super::clients::Client;
use super::stage::Stage;
use crate::lab::{Agent, Lab, Nginx};
use crate::traffic::{Echo, Generator};

/// Both aliases are flipped as one. The host has the listeners of `loop` on `lo`, as a loopback backend needs it.
const STACK: &str = r#"version: 1
stack: host
aliases:
  own:
    listen: ["10.0.0.1:80/tcp", "[fd00:c::1]:80/tcp", "10.0.0.1:80/udp", "[fd00:c::1]:80/udp"]
    split: {v1: 100}
    sets:
      v1: {backends: ["10.0.0.1:8083", "[fd00:c::1]:8083"]}
      v2: {backends: ["10.0.0.1:8084", "[fd00:c::1]:8084"]}
"#;
const LOOP: &str = r#"  loop:
    listen: ["198.51.100.30:80/tcp", "[2001:db8::30]:80/tcp"]
    split: {v1: 100}
    sets:
      v1: {backends: ["127.0.0.1:8081", "[::1]:8081"]}
      v2: {backends: ["127.0.0.1:8082", "[::1]:8082"]}
"#;
const LOOP_ADDRESSES: [&str; 2] = ["198.51.100.30/32", "2001:db8::30/128"];
const LOOP_LISTENERS: [&str; 2] = ["198.51.100.30:80", "[2001:db8::30]:80"];
const OWN_LISTENERS: [&str; 2] = ["10.0.0.1:80", "[fd00:c::1]:80"];

/// The processes, and the aliases that they are behind.
pub(super) struct HostProcesses {
    versions: [Nginx; 4],
    _echoes: Vec<Echo>,
    /// False where clients come in by XDP, which reaches no socket.
    with_loopback: bool,
}

impl HostProcesses {
    /// Starts them.
    pub fn start(lab: &Lab) -> Result<Self> {
        for address in LOOP_ADDRESSES {
            let words = ["ip", "address", "add", address, "dev", "lo"];
            lab.host().run(&words)?.expect_code(&[0])?;
        }
        let mut echoes = Vec::new();
        for (name, port) in [("own-v1", 8083), ("own-v2", 8084)] {
            for listener in OWN_LISTENERS {
                let mut address: SocketAddr = listener.parse()?;
                address.set_port(port);
                echoes.push(Echo::start_at(lab.host(), name, address)?);
            }
        }
        Ok(Self {
            _echoes: echoes,
            versions: [
                Nginx::start_on_loopback(lab, "loop-v1", 8081)?,
                Nginx::start_on_loopback(lab, "loop-v2", 8082)?,
                Nginx::start_on_host(lab, "own-v1", 8083)?,
                Nginx::start_on_host(lab, "own-v2", 8084)?,
            ],
            with_loopback: true,
        })
    }

    /// Applies the aliases. What the agent says it cannot do, with the reason, is left out.
    pub fn apply(&mut self, lab: &Lab, agent: &Agent, hook: &str) -> Result<()> {
        self.with_loopback = hook == "tc";
        let file = lab.dir().join("host.yaml");
        std::fs::write(&file, format!("{STACK}{LOOP}"))?;
        let words = ["apply", "-f", &file.display().to_string()];
        if self.with_loopback {
            agent.cli(&words)?.expect_code(&[0])?;
            return Ok(());
        }
        let refused = agent.cli(&words)?.expect_code(&[1])?;
        ensure!(refused.stderr.contains("whose hook is xdp"), "{}", refused.stderr);
        std::fs::write(&file, STACK)?;
        agent.cli(&words)?.expect_code(&[0])?;
        Ok(())
    }

    /// Lets them run on; what answers datagrams ends with us.
    pub fn leave(&mut self) {
        self.versions.iter_mut().for_each(Nginx::leave);
    }

    /// The command that moves both, and the versions that then have the share.
    pub fn upgrade(&self, to: usize) -> (Vec<&'static str>, [&'static str; 2]) {
        let mut words = vec!["upgrade", "own"];
        if self.with_loopback {
            words.push("loop");
        }
        words.extend(["--to", ["v1", "v2"][to], "--drain-timeout", "0s"]);
        (words, [["own-v1", "loop-v1"], ["own-v2", "loop-v2"]][to])
    }

    /// Starts their clients.
    pub fn load(stage: &Stage) -> Result<Vec<Client>> {
        let lab = &stage.lab;
        let plan = |run| super::clients::plan(run, OWN_LISTENERS, true);
        let mut clients = vec![
            Client::of_host(
                "processes on the host's own addresses",
                Generator::load_from(lab, lab.client(), &plan("own")?)?,
            )
            .pinging(),
            Client::of_host(
                "these, by a local client",
                Generator::load_local(lab, lab.host(), &plan("own-local")?)?,
            )
            .pinging(),
            Client::of_host(
                "these, by a container's packets",
                Generator::load_from(lab, stage.containers.apart(), &plan("own-apart")?)?,
            )
            .pinging(),
        ];
        if stage.host.with_loopback {
            // No datagram can be handed to a socket: these are asked by TCP only.
            let plan = |run| super::clients::plan(run, LOOP_LISTENERS, false);
            clients.push(Client::of_host(
                "processes on loopback addresses",
                Generator::load_from(lab, lab.client(), &plan("loop")?)?,
            ));
            clients.push(Client::of_host(
                "the same, by a local client",
                Generator::load_local(lab, lab.host(), &plan("loop-local")?)?,
            ));
        }
        Ok(clients)
    }
}
