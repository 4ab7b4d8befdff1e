//! The clients beside the one outside: processes of the host, and of containers behind it.

use anyhow::Result;

use super::Switch;
use super::stage::LOAD_SECONDS_MAX;
use crate::lab::{Container, LISTENER_V4, LISTENER_V6, Lab, Namespace};
use crate::traffic::{Generator, LoadPlan, LoadReport, Ping, Plan, Sources, Work};

/// Requests a second of each: enough to meet every moment, and little beside the load from outside.
const RATE_PER_S: u32 = 100;
/// Kept-alive connections of each.
pub(super) const KEPT_ALIVE: usize = 4;

/// The containers of the demo.
pub(super) struct Containers {
    inside: Namespace,
    apart: Namespace,
}

/// A client while it sends.
pub(super) struct Client {
    row: &'static str,
    local: bool,
    of_host: bool,
    pings: bool,
    load: Generator,
}

/// What became of everything that one client sent.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// The kind of client, the name of its check.
    pub name: &'static str,
    /// Asked at connect(), not met by its packets.
    pub local: bool,
    /// Its servers are processes of the host, switched by themselves.
    pub of_host: bool,
    /// It sends pings too.
    pub pinged: bool,
    /// Its requests and pings.
    pub load: LoadReport,
}

impl Containers {
    /// Makes them.
    pub fn new(lab: &Lab) -> Result<Self> {
        Ok(Self {
            inside: lab.container(Container::Inside)?,
            apart: lab.container(Container::Apart)?,
        })
    }

    /// The one that the agent meets by its packets.
    pub fn apart(&self) -> &Namespace {
        &self.apart
    }

    /// The devices by which the agent meets packets of containers.
    pub const INTERFACES: [&'static str; 2] = ["inside", "apart"];

    /// Starts a client of each kind.
    pub fn start(&self, lab: &Lab) -> Result<Vec<Client>> {
        let plan = |run: &str| plan(run, [LISTENER_V4, LISTENER_V6], true);
        Ok(vec![
            Client {
                row: "a local client: asked at connect()",
                local: true,
                of_host: false,
                pings: true,
                load: Generator::load_local(lab, lab.host(), &plan("local")?)?,
            },
            Client {
                row: "a container in the host's cgroups",
                local: true,
                of_host: false,
                pings: true,
                load: Generator::load_local(lab, &self.inside, &plan("inside")?)?,
            },
            Client {
                row: "a container in others: by its packets",
                local: false,
                of_host: false,
                pings: true,
                load: Generator::load_from(lab, &self.apart, &plan("apart")?)?,
            },
        ])
    }
}

impl Client {
    /// One whose servers are processes of the host.
    pub fn of_host(row: &'static str, load: Generator) -> Self {
        Self {
            row,
            local: false,
            of_host: true,
            pings: false,
            load,
        }
    }

    /// The same, with a plan that pings.
    pub fn pinging(self) -> Self {
        Self { pings: true, ..self }
    }

    /// Ends its load.
    pub fn stop(mut self) -> Result<Row> {
        Ok(Row {
            name: self.row,
            local: self.local,
            of_host: self.of_host,
            pinged: self.pings,
            load: self.load.stop()?,
        })
    }
}

/// What a client sends to these listeners.
pub(super) fn plan(run: &str, listeners: [&str; 2], pings: bool) -> Result<Plan> {
    Ok(Plan {
        run: run.to_owned(),
        targets: vec![listeners[0].parse()?, listeners[1].parse()?],
        sources: Sources::default(),
        work: Work::Load(LoadPlan {
            rate_per_s: RATE_PER_S,
            seconds_max: LOAD_SECONDS_MAX,
            kept_alive: KEPT_ALIVE,
            upload: None,
            download: None,
            pings,
        }),
    })
}

/// Connections begun between the return of a command and the next one, and those of them that a version without a share
/// answered.
pub(super) fn new_after(load: &LoadReport, switches: &[Switch]) -> (usize, usize) {
    new_at_old(
        load.fresh_began_us.iter().flat_map(|(version, begun)| {
            let version = version.as_str();
            begun.iter().map(move |&at_us| (version, at_us))
        }),
        switches,
    )
}

/// The same of UDP conversations.
pub(super) fn pings_after(pings: &[Ping], switches: &[Switch]) -> (usize, usize) {
    let fresh = pings.iter().filter(|ping| ping.fresh);
    new_at_old(
        fresh.filter_map(|ping| Some((ping.answer.as_deref()?, ping.sent_us))),
        switches,
    )
}

fn new_at_old<'a>(begun: impl Iterator<Item = (&'a str, u64)>, switches: &[Switch]) -> (usize, usize) {
    let (mut all, mut old) = (0, 0);
    for (version, at_us) in begun {
        let next = switches.partition_point(|switch| switch.began_us <= at_us);
        let Some(last) = next.checked_sub(1).map(|last| &switches[last]) else {
            continue;
        };
        if at_us >= last.ended_us {
            all += 1;
            old += usize::from(!last.serving.contains(&version));
        }
    }
    (all, old)
}
