//! All that runs in the demo, in the order in which it has to end.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::clients::Containers;
use super::console::Console;
use super::host::HostProcesses;
use super::{Hook, Options, Path};
use crate::lab::{
    Agent, CLIENT_POOL_V4, CLIENT_POOL_V6, Capture, ENDS_FILTER, LISTENER_V4, LISTENER_V6, Lab, Nginx, SYN_FILTER,
};
use crate::traffic::{Echo, Generator, LoadPlan, Pings, Plan, SamplePlan, Sources, TransferPlan, Work};
use crate::{binaries, clock, interrupt};

/// How long traffic goes on without an agent.
const WITHOUT_AGENT: Duration = Duration::from_millis(500);
/// Kept-alive connections, opened before the first switch.
pub(super) const KEPT_ALIVE: usize = 64;
/// The length of the upload and of the download.
pub(super) const TRANSFER_BYTES: u64 = 50 << 20;
/// The upload's seed.
pub(super) const UPLOAD_SEED: u64 = 0x75_70;
/// The download's seed.
pub(super) const DOWNLOAD_SEED: u64 = 0x64_6f_77_6e;
/// New connections that a share is measured over.
pub(super) const SAMPLE: u32 = 10_000;
/// Both versions answer UDP on the port of their TCP, as a web server does for HTTP/3.
const ECHO_PORT: u16 = 8080;
/// The load ends by itself after this, should nobody stop it.
pub(super) const LOAD_SECONDS_MAX: u32 = 1800;

/// The lab and what runs in it. Fields are dropped in this order: the lab last.
pub(super) struct Stage {
    pub agent: Agent,
    pub v1: Nginx,
    pub v2: Nginx,
    _echoes: [Echo; 2],
    pub host: HostProcesses,
    pub containers: Containers,
    pub lab: Lab,
}

/// An agent in another's place.
#[derive(Clone, Debug)]
pub(super) struct Restart {
    /// When the first was killed, microseconds since 1970.
    pub began_us: u64,
    /// When the next had answered.
    pub ended_us: u64,
    /// The kernel's count of flows before.
    pub opened_before: u64,
    /// And after.
    pub opened_after: u64,
    /// It took the programs over as they ran.
    pub adopted: bool,
}

/// The captures of a run.
pub(super) struct Captures {
    /// SYNs on v1's own device.
    pub v1_syns: Capture,
    /// SYNs on v2's own device.
    pub v2_syns: Capture,
    /// Beginnings and ends on the client's device, either way.
    pub client_ends: Capture,
}

impl Stage {
    /// Builds the lab and starts both versions and the agent.
    pub fn set(options: &Options, console: &mut Console) -> Result<Self> {
        let lab = Lab::build(options.keep)?;
        let v1 = Nginx::start(&lab, lab.v1(), "v1")?;
        let v2 = Nginx::start(&lab, lab.v2(), "v2")?;
        v1.publish("big", TRANSFER_BYTES, DOWNLOAD_SEED)?;
        let echoes = [
            Echo::start(lab.v1(), "v1", ECHO_PORT)?,
            Echo::start(lab.v2(), "v2", ECHO_PORT)?,
        ];
        let containers = Containers::new(&lab)?;
        let host = HostProcesses::start(&lab)?;
        let hook = options.hook.to_string();
        let mut arguments = vec!["--hook", &hook];
        for interface in Containers::INTERFACES {
            arguments.extend(["--interface", interface]);
        }
        let agent = Agent::start_with(&lab, &arguments)?;
        console.line(format!(
            "Lab swt-{}: namespaces client, host, v1, v2 and two containers; nginx as v1 and as v2; \
             the agent on host, path {}, hook {hook}.",
            lab.id(),
            options.path
        ));
        Ok(Self {
            agent,
            v1,
            v2,
            _echoes: echoes,
            host,
            containers,
            lab,
        })
    }

    pub fn capture(&self) -> Result<Captures> {
        Ok(Captures {
            v1_syns: Capture::start(self.lab.v1(), "eth0", SYN_FILTER)?,
            v2_syns: Capture::start(self.lab.v2(), "eth0", SYN_FILTER)?,
            client_ends: Capture::start(self.lab.client(), "eth0", ENDS_FILTER)?,
        })
    }

    /// Starts the load; `seconds` is about how long the switches take, so that both transfers outlast them.
    pub fn load(&self, options: &Options, seconds: u64) -> Result<Generator> {
        let transfer = |path: &str, seed| TransferPlan {
            path: path.to_owned(),
            bytes: TRANSFER_BYTES,
            pace_bytes_per_s: TRANSFER_BYTES / (seconds * 3).max(30),
            seed,
        };
        let work = Work::Load(LoadPlan {
            rate_per_s: options.rate,
            seconds_max: LOAD_SECONDS_MAX,
            kept_alive: KEPT_ALIVE,
            upload: Some(transfer("/uploads/big", UPLOAD_SEED)),
            download: Some(transfer("/files/big", DOWNLOAD_SEED)),
            pings: false,
        });
        Generator::load(&self.lab, &plan("load", work)?)
    }

    /// Starts the UDP pings.
    pub fn pings(&self) -> Result<Pings> {
        Pings::start(self.lab.client(), &[LISTENER_V4.parse()?, LISTENER_V6.parse()?])
    }

    /// Measures who answers new connections.
    pub fn sample(&self) -> Result<crate::traffic::SampleReport> {
        let work = Work::Sample(SamplePlan {
            connections: SAMPLE,
            concurrency: 32,
        });
        Generator::sample(&self.lab, &plan("share", work)?)
    }

    /// Leaves everything up and says how to play with it.
    pub fn leave(mut self, console: &mut Console) -> Result<()> {
        self.lab.leave()?;
        self.agent.leave();
        self.v1.leave();
        self.v2.leave();
        self.host.leave();
        let id = self.lab.id();
        let switcher = binaries::switcher()?;
        let lab = binaries::switcher_lab()?;
        let client = format!("nsenter --net=/run/netns/swt-{id}-client");
        for line in [
            String::new(),
            format!("The lab swt-{id} stays up. Play with it:"),
            format!("  export SWITCHER_HOST=unix://{}", self.agent.socket().display()),
            format!("  {} status", switcher.display()),
            format!("  {client} curl -s http://{}/", LISTENER_V4.trim_end_matches(":80")),
            format!("  {client} curl -sg http://{}/", LISTENER_V6.trim_end_matches(":80")),
            format!("  {} upgrade web --to v2", switcher.display()),
            format!("  {} rollback web", switcher.display()),
            format!("  {} down {id}     (removes the lab)", lab.display()),
        ] {
            console.line(line);
        }
        Ok(())
    }

    /// The hook that `status` names for the client's interface must be the one asked for.
    pub fn check_hook(&self, hook: Hook) -> Result<String> {
        let status = self.status()?;
        let attached = status["attached"].as_array().into_iter().flatten();
        let taken = attached
            .filter(|one| one["interface"] == "client" && one["role"] == "edge")
            .find_map(|one| one["hook"].as_str())
            .map(str::to_owned);
        let taken =
            taken.with_context(|| format!("status --json names no hook of the client's interface: {status}"))?;
        ensure!(
            hook == Hook::Auto || taken == hook.to_string(),
            "hook {hook} was asked for, status says {taken}"
        );
        Ok(taken)
    }

    fn status(&self) -> Result<serde_json::Value> {
        let status = self.agent.cli(&["status", "--json"])?.expect_code(&[0])?;
        Ok(serde_json::from_str(&status.stdout)?)
    }

    /// The agent dies as by `kill -9`, traffic goes on without one, and another takes over.
    pub fn replace_agent(&mut self) -> Result<Restart> {
        let (opened_before, began_us) = (self.flows_opened()?, clock::unix_us());
        self.agent.kill()?;
        interrupt::sleep(WITHOUT_AGENT)?;
        self.agent.launch()?;
        let opened_after = self.flows_opened()?;
        let log = std::fs::read_to_string(self.agent.log())?;
        Ok(Restart {
            began_us,
            ended_us: clock::unix_us(),
            opened_before,
            opened_after,
            adopted: log.contains("adopted as they run"),
        })
    }

    /// Flows opened by `web` in all, as the kernel counted them.
    pub fn flows_opened(&self) -> Result<u64> {
        let status = self.status()?;
        let sets = status["aliases"].as_array().into_iter().flatten();
        let sets = sets.filter(|alias| alias["name"] == "web");
        let sets = sets.flat_map(|alias| alias["sets"].as_array().into_iter().flatten());
        Ok(sets.filter_map(|set| set["counters"]["flows_opened"].as_u64()).sum())
    }

    /// The kernel's own word for the way of each backend's flows must be the one asked for.
    pub fn check_path(&self, path: Path) -> Result<Vec<String>> {
        let status = self.status()?;
        let mut paths: Vec<String> = status["aliases"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|alias| alias["name"] == "web")
            .flat_map(|alias| alias["sets"].as_array().into_iter().flatten())
            .flat_map(|set| set["backends"].as_array().into_iter().flatten())
            .filter_map(|backend| backend["path"].as_str().map(str::to_owned))
            .collect();
        ensure!(!paths.is_empty(), "status --json names no backend's path: {status}");
        paths.sort_unstable();
        paths.dedup();
        let wanted = path.to_string();
        ensure!(
            path == Path::Auto || paths == [wanted],
            "path {path} was asked for, status says {paths:?}"
        );
        Ok(paths)
    }
}

fn plan(run: &str, work: Work) -> Result<Plan> {
    Ok(Plan {
        run: run.to_owned(),
        targets: vec![LISTENER_V4.parse()?, LISTENER_V6.parse()?],
        sources: Sources {
            v4: Some(CLIENT_POOL_V4),
            v6: Some(CLIENT_POOL_V6),
        },
        work,
    })
}
