//! Requests and answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::{ApiError, SCHEMA};
use crate::model::{
    Action, AliasName, BackendAddress, ContainerSource, HealthSpec, Listener, Outcome, PathPolicy, Protocol, Receipt,
    SetFigures, SetName, StackName, StackSpec, UdpPolicy, Weight, Zone,
};

/// `POST /v1/apply`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The stack file.
    pub spec: StackSpec,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Remove what the stack owns and the file omits.
    #[serde(default)]
    pub prune: bool,
    /// Take new listeners also where they take clients from what the host is managed by, and addresses that others answer for.
    #[serde(default)]
    pub force: bool,
    /// Take aliases that are another stack's.
    #[serde(default)]
    pub take_over: bool,
    /// Listeners beside those of the file, at addresses that the agent knows.
    #[serde(default)]
    pub places: BTreeMap<AliasName, Places>,
}

/// Where an alias listens beside the addresses that it names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Places {
    /// At its own address of the agent's pool.
    #[serde(default)]
    pub inside: Vec<PlacePort>,
    /// At the IPv4 addresses of the interfaces where clients come in.
    #[serde(default)]
    pub published: Vec<PlacePort>,
}

/// A port and its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacePort {
    /// The port.
    pub port: NonZeroU16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// `GET /v1/containers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainersDocument {
    /// Version of the document.
    pub schema: u32,
    /// Docker's socket.
    pub socket: String,
    /// Why Docker does not answer; none: it does.
    pub absent: Option<String>,
    /// Where names of aliases are answered; none: nowhere.
    pub dns: Option<IpAddr>,
    /// The zone that they are in.
    #[serde(default)]
    pub zone: Zone,
    /// Where containers are that share the host's network.
    #[serde(default)]
    pub host: Vec<IpAddr>,
    /// Containers that an alias could have to do with, by name.
    pub containers: Vec<ContainerStatus>,
}

/// Which containers, and at which ports they are to take connections: `GET /v1/containers?project=P&service=S&ports=80,443;8080`,
/// one port of each group, groups divided by `;`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainersQuery {
    /// The compose project.
    pub project: StackName,
    /// The service.
    pub service: SetName,
    /// TCP ports; none: those that are known already.
    pub groups: Vec<BTreeSet<u16>>,
}

impl ContainersQuery {
    /// Project and service.
    #[must_use]
    pub fn key(&self) -> (String, String) {
        (self.project.to_string(), self.service.to_string())
    }

    /// The groups as they stand in the query.
    #[must_use]
    pub fn groups_text(&self) -> String {
        let group = |ports: &BTreeSet<u16>| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        self.groups.iter().map(group).collect::<Vec<_>>().join(";")
    }

    /// Reads `80,443;8080`.
    ///
    /// # Errors
    /// The word that is no port.
    pub fn groups_from(text: &str) -> Result<Vec<BTreeSet<u16>>, String> {
        let port = |word: &str| {
            word.parse::<NonZeroU16>()
                .map(NonZeroU16::get)
                .map_err(|_| word.to_owned())
        };
        let groups = text.split(';').filter(|group| !group.is_empty());
        groups.map(|group| group.split(',').map(port).collect()).collect()
    }
}

/// One container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its addresses: those that take connections at the ports that were asked for.
    pub addresses: Vec<IpAddr>,
    /// Other addresses of it take none there.
    #[serde(default)]
    pub partly: bool,
    /// New connections may go to it.
    pub ready: bool,
    /// Its health check has found that it does not work: waiting may not help.
    #[serde(default)]
    pub sick: bool,
    /// Why not; empty: they may.
    pub why: String,
    /// A command asked that it leaves; it serves again when its time is up.
    #[serde(default)]
    pub leaving: bool,
}

/// Most containers that one request names.
pub const CONTAINERS_NAMED_MAX: usize = 4_096;

/// `POST /v1/containers/leave` and `/v1/containers/stay`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainersRequest {
    /// Their ids, at most [`CONTAINERS_NAMED_MAX`].
    pub ids: Vec<String>,
}

/// Answer to both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeavingDocument {
    /// Version of the document.
    pub schema: u32,
    /// Epoch of the image that the kernel reads now.
    pub epoch: u64,
    /// How long they get no new connection from now on; none: they serve.
    pub for_ms: Option<u64>,
    /// What each of them still holds, in the order they were named.
    pub containers: Vec<HeldFlows>,
}

/// What one container still holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFlows {
    /// Its id.
    pub id: String,
    /// Its name; empty: the agent does not see it.
    pub name: String,
    /// Flows that it holds, of all aliases.
    pub flows: u64,
}

impl LeavingDocument {
    /// Flows that they hold together.
    #[must_use]
    pub fn flows(&self) -> u64 {
        self.containers.iter().map(|one| one.flows).sum()
    }

    /// Flows that one of them holds.
    #[must_use]
    pub fn of(&self, id: &str) -> u64 {
        let own = self.containers.iter().filter(|one| one.id == id);
        own.map(|one| one.flows).sum()
    }
}

/// `PUT /v1/aliases/{alias}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AliasPut {
    /// Where clients find it.
    pub listen: Vec<Listener>,
    /// Which way its packets take.
    #[serde(default)]
    pub path: PathPolicy,
    /// What a switch does to UDP conversations.
    #[serde(default)]
    pub udp: UdpPolicy,
    /// Refusals are kept from clients.
    #[serde(default)]
    pub shield: bool,
    /// Addresses of its listeners that this host does not have are added to it, and taken away with the alias.
    #[serde(default)]
    pub add_addresses: bool,
    /// Take new listeners also where they take clients from what the host is managed by, and addresses that others answer for.
    #[serde(default)]
    pub force: bool,
}

/// `POST /v1/aliases/{alias}/hold`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// How long new flows wait at most: 1 ms to [`crate::model::HOLD_MAX`].
    pub for_ms: u64,
}

/// Answer to `hold` and `release`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldDocument {
    /// Version of the document.
    pub schema: u32,
    /// The alias.
    pub alias: AliasName,
    /// Epoch of the image that the kernel reads now.
    pub epoch: u64,
    /// How long its new flows wait from now on; none: they go.
    pub held_for_ms: Option<u64>,
    /// What was done, as a sentence.
    pub message: String,
}

/// `PUT /v1/aliases/{alias}/sets/{set}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetPut {
    /// The backends.
    pub backends: Vec<BackendAddress>,
    /// How it is found out whether they work; `None`: nobody asks.
    #[serde(default)]
    pub health: Option<HealthSpec>,
    /// The containers whose addresses follow from now on; `None`: the backends stay as they are given.
    #[serde(default)]
    pub containers: Option<ContainerSource>,
}

/// `POST /v1/aliases/{alias}/split`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitRequest {
    /// Weights by set; sets that are not named get 0.
    pub weights: BTreeMap<SetName, Weight>,
}

/// One thing that changed, or would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The field, as `aliases.web.split`.
    pub field: String,
    /// What changed, as a sentence.
    pub what: String,
}

/// Answer to `apply`, `alias put|rm`, `set put|rm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesDocument {
    /// Version of the document.
    pub schema: u32,
    /// True: nothing was done, this is what would change.
    pub dry_run: bool,
    /// Epoch of the image that the kernel reads now.
    pub epoch: u64,
    /// What changed; empty: it was so already.
    pub changes: Vec<Change>,
    /// The receipt, where a split changed.
    pub receipt: Option<Receipt>,
    /// What somebody should know about it, as sentences.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl ChangesDocument {
    /// Nothing was to be done.
    #[must_use]
    pub const fn nothing(epoch: u64) -> Self {
        Self {
            schema: SCHEMA,
            dry_run: false,
            epoch,
            changes: Vec::new(),
            receipt: None,
            warnings: Vec::new(),
        }
    }
}

/// One alias in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasSummary {
    /// Its name.
    pub name: AliasName,
    /// The stack that owns it.
    pub stack: Option<StackName>,
    /// Where clients find it.
    pub listen: Vec<Listener>,
    /// Which way its packets take.
    pub path: PathPolicy,
    /// Who gets new flows.
    pub split: BTreeMap<SetName, u32>,
    /// Its sets.
    pub sets: Vec<SetName>,
}

/// `GET /v1/aliases`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasesDocument {
    /// Version of the document.
    pub schema: u32,
    /// The aliases by name.
    pub aliases: Vec<AliasSummary>,
}

/// One receipt in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptSummary {
    /// Its number.
    pub id: u64,
    /// The command.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began, RFC 3339, UTC.
    pub started_at: String,
    /// The aliases.
    pub aliases: Vec<AliasName>,
    /// How it ended, as a sentence.
    pub message: String,
}

/// `GET /v1/receipts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptsDocument {
    /// Version of the document.
    pub schema: u32,
    /// The newest first.
    pub receipts: Vec<ReceiptSummary>,
}

/// `POST /v1/detach`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetachedDocument {
    /// Version of the document.
    pub schema: u32,
    /// What was removed, each as a line.
    pub removed: Vec<String>,
}

/// One set while a step is observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetProgress {
    /// The alias.
    pub alias: AliasName,
    /// The set.
    pub set: SetName,
    /// True: it gets the share; false: it gives it.
    pub is_new: bool,
    /// The kernel's figures since the step began.
    pub figures: SetFigures,
}

/// How far an upgrade is; a line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Progress {
    /// Nothing has changed; the new set is not proven by its health check yet.
    Checking {
        /// Version of the document.
        schema: u32,
        /// What is waited for, as a sentence.
        what: String,
    },
    /// The end: nothing has changed.
    Refused {
        /// Version of the document.
        schema: u32,
        /// Why.
        error: Box<ApiError>,
    },
    /// A step has its share, and is observed.
    Observing {
        /// Version of the document.
        schema: u32,
        /// Epoch of the step's image.
        epoch: u64,
        /// Which step, from 1.
        step: usize,
        /// Steps in all.
        steps: usize,
        /// Percent of FROM's share that TO has.
        percent: u32,
        /// What is left of the step's interval.
        left_ms: u64,
        /// How long the step has been observed.
        #[serde(default)]
        observed_ms: u64,
        /// Both sets of each alias.
        sets: Vec<SetProgress>,
    },
    /// New flows go to TO; flows of FROM are waited for.
    Draining {
        /// Version of the document.
        schema: u32,
        /// Epoch of the new image.
        epoch: u64,
        /// Flows of FROM in their handshake.
        pending: u64,
        /// Established flows of FROM.
        established: u64,
        /// How many there were when they were first counted.
        #[serde(default)]
        at_first: u64,
        /// Age of the eldest of them.
        #[serde(default)]
        eldest_ms: Option<u64>,
        /// At the pace of the last ten seconds it takes so long yet; none where no flow has ended in them.
        #[serde(default)]
        estimate_ms: Option<u64>,
        /// What is left of the drain's time.
        left_ms: u64,
        /// Both sets of each alias, since the last step began.
        #[serde(default)]
        sets: Vec<SetProgress>,
    },
    /// The time of this command, which attached to one that ran, is up; the upgrade itself goes on.
    StillRunning {
        /// Version of the document.
        schema: u32,
    },
    /// The end.
    Finished {
        /// Version of the document.
        schema: u32,
        /// What it did.
        receipt: Box<Receipt>,
    },
}

impl Progress {
    /// Nothing comes after it.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        matches!(self, Self::Finished { .. } | Self::Refused { .. })
    }

    /// The end.
    #[must_use]
    pub fn finished(receipt: Receipt) -> Self {
        Self::Finished {
            schema: SCHEMA,
            receipt: Box::new(receipt),
        }
    }
}
