//! The families, in the order of the page. Labels are names of aliases and sets, both bounded by the model, and words of
//! this file; never an address.

use std::fmt;

use prometheus_client::registry::Unit;
use switcher_ebpf::abi::{ABI_VERSION, ESTABLISHED_SLOTS, LOCAL_SLOTS, PENDING_SLOTS};
use switcher_ebpf::reason::Reason;

use super::render::{About, Labels, Writer};
use crate::api::{AliasStatus, FlowCounts, NO_HOOK, SetStatus, StatusDocument};

/// Writes all families of a snapshot.
pub(super) fn write(to: &mut Writer<'_, '_>, status: &StatusDocument) -> fmt::Result {
    agent(to, status)?;
    flow_table(to, status)?;
    verdicts(to, status)?;
    aliases(to, status)?;
    shares(to, status)?;
    flows(to, status)?;
    shield(to, status)?;
    latencies(to, status)?;
    traffic(to, status)
}

const fn about(name: &'static str, help: &'static str) -> About {
    About { name, unit: None, help }
}

const fn seconds(name: &'static str, help: &'static str) -> About {
    About {
        name,
        unit: Some(Unit::Seconds),
        help,
    }
}

fn agent(to: &mut Writer<'_, '_>, status: &StatusDocument) -> fmt::Result {
    let abi = ABI_VERSION.to_string();
    let build: Labels<'_, 2> = [("version", &status.version), ("abi_version", &abi)];
    to.info(
        &about("switcher_build", "The agent, and the version of its kernel maps."),
        &build,
    )?;
    to.gauges(
        &about("switcher_epoch", "Number of the image that the kernel reads."),
        one(status.epoch),
    )?;
    let flip = status.last_flip.iter();
    to.gauges(
        &seconds(
            "switcher_last_flip_timestamp",
            "When the kernel last changed images, for whatever reason.",
        ),
        flip.map(|flip| (NONE, status.clock.unix_seconds(flip.after_ns))),
    )?;
    let with_role = |role: &'static str| {
        let count = status
            .attached
            .iter()
            .filter(|one| one.role == role && one.hook != NO_HOOK)
            .count();
        ([("role", role)], count)
    };
    to.gauges(
        &about("switcher_attached_interfaces", "Interfaces that have the programs."),
        ["edge", "backend"].into_iter().map(with_role),
    )?;
    to.gauges(
        &about(
            "switcher_notes",
            "Things that are not as wanted; `status` has them as sentences.",
        ),
        one(status.notes.len()),
    )
}

const NONE: Labels<'_, 0> = [];

fn one<V>(value: V) -> impl Iterator<Item = (Labels<'static, 0>, V)> {
    std::iter::once((NONE, value))
}

fn by_state(counts: &FlowCounts) -> [(&'static str, u64); 3] {
    [
        ("pending", counts.pending),
        ("established", counts.established),
        ("closing", counts.closing),
    ]
}

fn flow_table(to: &mut Writer<'_, '_>, status: &StatusDocument) -> fmt::Result {
    let table = &status.flow_table;
    to.gauges(
        &about(
            "switcher_flow_table_flows",
            "Flows in the table, those of removed sets too.",
        ),
        by_state(&table.flows)
            .into_iter()
            .map(|(state, count)| ([("state", state)], count)),
    )?;
    to.gauges(
        &about(
            "switcher_flow_table_orphaned_flows",
            "Of these, flows of sets that were removed.",
        ),
        one(table.of_removed_sets),
    )?;
    let capacities = [
        ("pending", PENDING_SLOTS),
        ("established", ESTABLISHED_SLOTS),
        ("local", LOCAL_SLOTS),
    ];
    to.gauges(
        &about(
            "switcher_flow_table_capacity",
            "Most flows the table holds: in their handshake, after it, and of local clients.",
        ),
        capacities
            .into_iter()
            .map(|(slots, capacity)| ([("slots", slots)], capacity)),
    )
}

fn verdicts(to: &mut Writer<'_, '_>, status: &StatusDocument) -> fmt::Result {
    let samples = status.reasons.iter().map(|one| {
        let labels: Labels<'_, 2> = [("reason", &one.reason), ("action", action(&one.reason))];
        (labels, one.packets)
    });
    to.counters(
        &about(
            "switcher_verdict_packets",
            "Packets by what became of them and why; a large send counts once.",
        ),
        samples,
    )
}

/// What became of a packet: the first word of the reason's meaning.
fn action(name: &str) -> &'static str {
    let reason = Reason::ALL.iter().find(|reason| reason.name() == name);
    let word = reason.and_then(|reason| reason.meaning().split(':').next());
    match word {
        Some("Passed") => "passed",
        Some("Rewritten") => "rewritten",
        Some("Dropped") => "dropped",
        _ => "unknown",
    }
}

fn label(alias: &AliasStatus) -> Labels<'_, 1> {
    [("alias", alias.name.as_str())]
}

fn aliases(to: &mut Writer<'_, '_>, status: &StatusDocument) -> fmt::Result {
    let switched = status.aliases.iter().filter_map(|alias| {
        let flip = alias.switched.as_ref()?;
        Some((label(alias), status.clock.unix_seconds(flip.after_ns)))
    });
    to.gauges(
        &seconds(
            "switcher_alias_switched_timestamp",
            "When the last change of the alias's split was final.",
        ),
        switched,
    )?;
    let running = status
        .aliases
        .iter()
        .map(|alias| (label(alias), u32::from(alias.running.is_some())));
    to.gauges(
        &about(
            "switcher_alias_upgrade_running",
            "1 while an upgrade of the alias runs.",
        ),
        running,
    )?;
    last_changes(to, status)
}

/// What the newest receipt of each alias says.
fn last_changes(to: &mut Writer<'_, '_>, status: &StatusDocument) -> fmt::Result {
    let changes = || {
        let aliases = status.aliases.iter();
        aliases.filter_map(|alias| Some((alias.name.as_str(), alias.last_change?)))
    };
    let outcomes = changes().map(|(alias, change)| {
        let (action, outcome) = (change.action.text(), change.outcome.text());
        ([("alias", alias), ("action", action), ("outcome", outcome)], 1_u32)
    });
    to.gauges(
        &about(
            "switcher_alias_last_change",
            "1; by which command the split was last changed, and how that ended.",
        ),
        outcomes,
    )?;
    let kept = changes().filter_map(|(alias, change)| Some(([("alias", alias)], change.receipt?)));
    to.gauges(
        &about("switcher_alias_last_receipt", "Number of the alias's newest receipt."),
        kept,
    )?;
    to.gauges(
        &seconds(
            "switcher_alias_last_change_duration",
            "From that command to its end, drain and all.",
        ),
        changes().map(|(alias, change)| ([("alias", alias)], change.command_us as f64 / 1e6)),
    )?;
    to.gauges(
        &about(
            "switcher_alias_last_change_flows_left",
            "Flows that were left at the old set when its drain ended.",
        ),
        changes().map(|(alias, change)| ([("alias", alias)], change.flows_left)),
    )
}

/// Each set with its alias.
fn sets(status: &StatusDocument) -> impl Iterator<Item = (Labels<'_, 2>, &SetStatus)> {
    status.aliases.iter().flat_map(|alias| {
        let alias_label = ("alias", alias.name.as_str());
        let sets = alias.sets.iter();
        sets.map(move |set| ([alias_label, ("set", set.name.as_str())], set))
    })
}

fn shares(to: &mut Writer<'_, '_>, status: &StatusDocument) -> fmt::Result {
    to.gauges(
        &about("switcher_set_weight", "The set's weight in its alias's split."),
        sets(status).map(|(labels, set)| (labels, set.weight)),
    )?;
    let ratio = About {
        name: "switcher_set_share",
        unit: Some(Unit::Other("ratio".to_owned())),
        help: "The set's share of new flows, 0 to 1.",
    };
    to.gauges(&ratio, sets(status).map(|(labels, set)| (labels, set.share)))?;
    let last = sets(status).filter(|(_, set)| set.counters.last_new_flow_ns > 0);
    to.gauges(
        &seconds(
            "switcher_set_last_new_flow_timestamp",
            "When a new flow last chose the set; none yet: no sample.",
        ),
        last.map(|(labels, set)| (labels, status.clock.unix_seconds(set.counters.last_new_flow_ns))),
    )
}

fn flows(to: &mut Writer<'_, '_>, status: &StatusDocument) -> fmt::Result {
    let active = sets(status).flat_map(|([alias, set], status)| {
        by_state(&status.flows)
            .into_iter()
            .map(move |(state, count)| ([alias, set, ("state", state)], count))
    });
    to.gauges(&about("switcher_active_flows", "Flows of the set now."), active)?;
    to.gauges(
        &about(
            "switcher_local_flows",
            "Of these, pending and established flows of local clients.",
        ),
        sets(status).map(|(labels, set)| (labels, set.flows.local)),
    )?;
    to.counters(
        &about("switcher_flows_opened", "New flows for which the set was chosen."),
        sets(status).map(|(labels, set)| (labels, set.counters.flows_opened)),
    )?;
    to.counters(
        &about("switcher_flows_established", "Flows whose handshake completed."),
        sets(status).map(|(labels, set)| (labels, set.counters.flows_established)),
    )?;
    let closed = sets(status).flat_map(|([alias, set], status)| {
        let of = &status.counters;
        [
            ("finished", of.flows_finished),
            ("refused", of.flows_refused),
            ("reset_in_handshake", of.flows_reset_in_handshake),
            ("reset_by_client", of.flows_reset_by_client),
            ("reset_by_backend", of.flows_reset_by_backend),
            ("reset_by_drain", of.flows_reset_by_drain),
            ("expired", of.flows_expired),
        ]
        .map(|(cause, count)| ([alias, set, ("cause", cause)], count))
    });
    to.counters(&about("switcher_flows_closed", "Flows that ended, by cause."), closed)?;
    to.counters(
        &about(
            "switcher_flows_unpinned",
            "Flows that found the table full: served, but a switch may cut them.",
        ),
        sets(status).map(|(labels, set)| (labels, set.counters.flows_unpinned)),
    )
}

fn shield(to: &mut Writer<'_, '_>, status: &StatusDocument) -> fmt::Result {
    let held = status.aliases.iter();
    to.gauges(
        &about("switcher_alias_held", "1 while new flows of the alias wait."),
        held.map(|alias| (label(alias), u32::from(alias.held_for_ms.is_some()))),
    )?;
    to.counters(
        &about(
            "switcher_syns_retransmitted",
            "SYNs that came again while their handshake was pending.",
        ),
        sets(status).map(|(labels, set)| (labels, set.counters.syns_retransmitted)),
    )?;
    to.counters(
        &about("switcher_syns_held", "SYNs and datagrams that were held back."),
        sets(status).map(|(labels, set)| (labels, set.counters.syns_held)),
    )?;
    to.counters(
        &about(
            "switcher_refusals_hidden",
            "Refusals that the shield kept from clients.",
        ),
        sets(status).map(|(labels, set)| (labels, set.counters.refusals_hidden)),
    )?;
    to.counters(
        &about(
            "switcher_flows_waited",
            "Flows that the shield sent on, and whose handshake completed.",
        ),
        sets(status).map(|(labels, set)| (labels, set.counters.flows_waited)),
    )
}

fn latencies(to: &mut Writer<'_, '_>, status: &StatusDocument) -> fmt::Result {
    to.histograms(
        &seconds(
            "switcher_answer",
            "From the client's first SYN to the backend's answer.",
        ),
        sets(status).map(|(labels, set)| (labels, &set.counters.latency.answer)),
    )?;
    to.histograms(
        &seconds(
            "switcher_handshake",
            "From the client's first SYN to the end of the handshake.",
        ),
        sets(status).map(|(labels, set)| (labels, &set.counters.latency.handshake)),
    )?;
    to.histograms(
        &seconds(
            "switcher_first_reply",
            "From the client's first data to the backend's; of UDP from datagram to answer.",
        ),
        sets(status).map(|(labels, set)| (labels, &set.counters.latency.first_reply)),
    )
}

fn traffic(to: &mut Writer<'_, '_>, status: &StatusDocument) -> fmt::Result {
    let packets = sets(status).flat_map(|([alias, set], status)| {
        let of = &status.counters;
        [("in", of.packets_in), ("out", of.packets_out)]
            .map(|(direction, count)| ([alias, set, ("direction", direction)], count))
    });
    to.counters(
        &about(
            "switcher_packets",
            "Wire packets from clients (in) and from backends (out).",
        ),
        packets,
    )?;
    let bytes = sets(status).flat_map(|([alias, set], status)| {
        let of = &status.counters;
        [("in", of.bytes_in), ("out", of.bytes_out)]
            .map(|(direction, count)| ([alias, set, ("direction", direction)], count))
    });
    let about = About {
        name: "switcher",
        unit: Some(Unit::Bytes),
        help: "Bytes of layer 3 from clients (in) and from backends (out).",
    };
    to.counters(&about, bytes)
}
