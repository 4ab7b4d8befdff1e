//! Receipts: what a change of a split did, as the kernel saw it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AliasName, Latencies, LeftFlow, SetFailures, SetName};

/// Which command changed the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// `switcher apply` with a changed split.
    Apply,
    /// `switcher split`.
    Split,
    /// `switcher upgrade`.
    Upgrade,
    /// `switcher rollback`.
    Rollback,
}

impl Action {
    /// As it is written.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Split => "split",
            Self::Upgrade => "upgrade",
            Self::Rollback => "rollback",
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Switched; for an upgrade: the old set has no flow left.
    Done,
    /// The split was already so.
    NothingToDo,
    /// Switched, and flows were left at the old set when the drain's time was up.
    FlowsLeft,
    /// Switched, and then switched back.
    RolledBack,
    /// Switched; the agent could not learn how it went on.
    Unknown,
}

impl Outcome {
    /// As it is written.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NothingToDo => "nothing_to_do",
            Self::FlowsLeft => "flows_left",
            Self::RolledBack => "rolled_back",
            Self::Unknown => "unknown",
        }
    }

    /// The exit code of the command.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Done | Self::NothingToDo => 0,
            Self::RolledBack => 3,
            Self::FlowsLeft => 4,
            Self::Unknown => 7,
        }
    }
}

/// Who ran the command, as the kernel says (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Process id, in the agent's pid namespace.
    pub pid: Option<i32>,
}

/// What changed at one alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasChange {
    /// The alias.
    pub alias: AliasName,
    /// The set that gave its share away, of an upgrade.
    pub from: Option<SetName>,
    /// The set that got it, of an upgrade.
    pub to: Option<SetName>,
    /// Weights before.
    pub before: BTreeMap<SetName, u32>,
    /// Weights after.
    pub after: BTreeMap<SetName, u32>,
}

/// When the kernel changed images. The swap lies between the two `_ns`, which are CLOCK_MONOTONIC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlipTime {
    /// Just before the swap was asked for.
    pub before_ns: u64,
    /// No program ran on the old image any more.
    pub after_ns: u64,
    /// `after_ns` on the wall clock, RFC 3339, UTC.
    pub at: String,
}

/// The kernel's figures of one set, since its number was given to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetFigures {
    /// SYNs for which the set was chosen.
    pub flows_opened: u64,
    /// Flows whose handshake completed.
    pub flows_established: u64,
    /// Flows that the backend refused.
    pub flows_refused: u64,
    /// Flows ended by a RST of either side in their handshake, after the backend's answer or by the client before it.
    #[serde(default)]
    pub flows_reset_in_handshake: u64,
    /// Flows whose handshake never completed.
    #[serde(default)]
    pub flows_timed_out: u64,
    /// Flows in their handshake now.
    #[serde(default)]
    pub flows_pending: u64,
    /// SYNs that came again while their handshake was pending.
    #[serde(default)]
    pub syns_retransmitted: u64,
    /// SYNs and datagrams that were held back and would have chosen the set.
    #[serde(default)]
    pub syns_held: u64,
    /// Refusals that the shield kept from clients.
    #[serde(default)]
    pub refusals_hidden: u64,
    /// Flows that the shield sent on to another backend, or there again, and whose handshake completed.
    #[serde(default)]
    pub flows_waited: u64,
    /// Flows ended by FINs of both sides.
    pub flows_finished: u64,
    /// Flows ended by a RST of the client.
    pub flows_reset_by_client: u64,
    /// Flows ended by a RST of the backend.
    pub flows_reset_by_backend: u64,
    /// Flows that the agent ended, at the end of a drain.
    #[serde(default)]
    pub flows_reset_by_drain: u64,
    /// Flows reclaimed after their idle time-out.
    pub flows_expired: u64,
    /// New flows that found no room in the table: served, but not pinned.
    pub flows_unpinned: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients, layer 3.
    pub bytes_in: u64,
    /// Packets from backends.
    pub packets_out: u64,
    /// Bytes from backends, layer 3.
    pub bytes_out: u64,
    /// When a new flow last chose the set, CLOCK_MONOTONIC; 0: never.
    pub last_new_flow_ns: u64,
    /// How long backends and clients took.
    #[serde(default)]
    pub latency: Latencies,
}

impl SetFigures {
    /// What came since an earlier look. `flows_pending` and `last_new_flow_ns` are no sums and stay as they are.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            flows_opened: self.flows_opened.saturating_sub(earlier.flows_opened),
            flows_established: self.flows_established.saturating_sub(earlier.flows_established),
            flows_refused: self.flows_refused.saturating_sub(earlier.flows_refused),
            flows_reset_in_handshake: self
                .flows_reset_in_handshake
                .saturating_sub(earlier.flows_reset_in_handshake),
            flows_timed_out: self.flows_timed_out.saturating_sub(earlier.flows_timed_out),
            flows_pending: self.flows_pending,
            syns_retransmitted: self.syns_retransmitted.saturating_sub(earlier.syns_retransmitted),
            syns_held: self.syns_held.saturating_sub(earlier.syns_held),
            refusals_hidden: self.refusals_hidden.saturating_sub(earlier.refusals_hidden),
            flows_waited: self.flows_waited.saturating_sub(earlier.flows_waited),
            flows_finished: self.flows_finished.saturating_sub(earlier.flows_finished),
            flows_reset_by_client: self.flows_reset_by_client.saturating_sub(earlier.flows_reset_by_client),
            flows_reset_by_backend: self
                .flows_reset_by_backend
                .saturating_sub(earlier.flows_reset_by_backend),
            flows_reset_by_drain: self.flows_reset_by_drain.saturating_sub(earlier.flows_reset_by_drain),
            flows_expired: self.flows_expired.saturating_sub(earlier.flows_expired),
            flows_unpinned: self.flows_unpinned.saturating_sub(earlier.flows_unpinned),
            packets_in: self.packets_in.saturating_sub(earlier.packets_in),
            bytes_in: self.bytes_in.saturating_sub(earlier.bytes_in),
            packets_out: self.packets_out.saturating_sub(earlier.packets_out),
            bytes_out: self.bytes_out.saturating_sub(earlier.bytes_out),
            last_new_flow_ns: self.last_new_flow_ns,
            latency: self.latency.since(&earlier.latency),
        }
    }
}

/// One set in a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetChange {
    /// The alias.
    pub alias: AliasName,
    /// The set.
    pub set: SetName,
    /// Figures just before the flip.
    pub before: SetFigures,
    /// Figures when the command ended.
    pub after: SetFigures,
}

/// One step of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// Percent of the old set's share that the new one had.
    pub percent: u32,
    /// Epoch of the step's image.
    pub epoch: u64,
    /// When the kernel changed to it; none where an earlier agent did it.
    #[serde(default)]
    pub flip: Option<FlipTime>,
    /// How long it was observed.
    pub observed_ms: u64,
    /// What was made of it: `passed`, or the breach.
    pub judgement: String,
    /// What each set had in it.
    pub sets: Vec<StepSet>,
}

/// What a set had in a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepSet {
    /// The alias.
    pub alias: AliasName,
    /// The set.
    pub set: SetName,
    /// True: it got the share; false: it gave it.
    pub is_new: bool,
    /// The kernel's figures since the step began.
    pub figures: SetFigures,
}

/// The last new flow at a set that has no share any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastNewFlow {
    /// The alias.
    pub alias: AliasName,
    /// The set that lost its share.
    pub set: SetName,
    /// When a new flow last chose it, CLOCK_MONOTONIC; 0: never.
    pub at_ns: u64,
    /// True: not after the flip returned, so the switch was final.
    pub before_flip_end: bool,
}

/// How the drain ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainResult {
    /// The time that it was given.
    pub timeout_ms: u64,
    /// The time that it took.
    pub waited_ms: u64,
    /// Flows of the old sets when they were first counted.
    #[serde(default)]
    pub at_first: u64,
    /// Flows of the old sets still in their handshake at the end.
    pub pending_left: u64,
    /// Established flows of the old sets at the end.
    pub established_left: u64,
    /// Age of the eldest of these, in milliseconds.
    #[serde(default)]
    pub eldest_left_ms: Option<u64>,
    /// Flows that were reset when the time was up.
    #[serde(default)]
    pub reset: u64,
    /// Those of them of which one end had not said what it expects: it is gone, or hears of it when it speaks.
    #[serde(default)]
    pub reset_unanswered: u64,
    /// Flows that were to be reset and were ahead of it each time: they may live.
    #[serde(default)]
    pub reset_failed: u64,
}

impl DrainResult {
    /// Flows left.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.pending_left + self.established_left + self.reset_failed
    }
}

/// What a change of a split did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Version of the document's form: 1.
    pub schema: u32,
    /// Number of the receipt; none where nothing was done.
    pub id: Option<u64>,
    /// The command.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
    /// The command's exit code.
    pub exit_code: u8,
    /// The same as a sentence.
    pub message: String,
    /// Who ran it.
    pub caller: Caller,
    /// That user's name, where the host's own files have it.
    #[serde(default)]
    pub user: Option<String>,
    /// The host's name.
    #[serde(default)]
    pub host: Option<String>,
    /// When the agent took the command, RFC 3339, UTC.
    pub started_at: String,
    /// From there to its end, in microseconds.
    pub command_us: u64,
    /// What changed, alias by alias.
    pub aliases: Vec<AliasChange>,
    /// Epoch before.
    pub epoch_before: u64,
    /// Epoch after.
    pub epoch_after: u64,
    /// The first flip, where there were several: an upgrade's first step.
    #[serde(default)]
    pub first_flip: Option<FlipTime>,
    /// When the kernel changed images; the last of several.
    pub flip: Option<FlipTime>,
    /// When it changed back, after a roll-back.
    pub flip_back: Option<FlipTime>,
    /// The kernel's figures of the sets that had a share before or after.
    pub sets: Vec<SetChange>,
    /// Last new flows at the sets that lost their share.
    pub last_new_flows: Vec<LastNewFlow>,
    /// The drain, of an upgrade.
    pub drain: Option<DrainResult>,
    /// Flows that were left at the old sets, the eldest first; of an upgrade.
    #[serde(default)]
    pub left: Vec<LeftFlow>,
    /// Flows of its sets that failed last, from the first flip on; of an upgrade.
    #[serde(default)]
    pub failures: Vec<SetFailures>,
    /// The steps that were observed, of an upgrade.
    #[serde(default)]
    pub steps: Vec<StepReport>,
    /// Flows of these sets, ever, that the full table could not pin: a switch may have cut them.
    pub unpinned_flows: u64,
    /// What the figures do and do not prove, as sentences.
    pub statements: Vec<String>,
    /// Things that went wrong beside it.
    pub warnings: Vec<String>,
}
