//! Lists and status as text.

use std::fmt::Write as _;

use super::live::{Frame, frame};
use crate::api::{
    AcceptQueueStatus, AliasStatus, AliasesDocument, LocalStatus, ReceiptsDocument, SetStatus, StatusDocument,
};
use crate::model::{Latencies, SetFigures};
use crate::plan::weights_text;

/// The aliases, one a line.
pub(super) fn aliases_table(document: &AliasesDocument) -> String {
    if document.aliases.is_empty() {
        return "no aliases; make one with: switcher apply -f FILE, or switcher alias put".to_owned();
    }
    let mut table = String::new();
    for alias in &document.aliases {
        let listen: Vec<String> = alias.listen.iter().map(ToString::to_string).collect();
        let owner = alias
            .stack
            .as_ref()
            .map(|stack| format!(" (stack {stack})"))
            .unwrap_or_default();
        let _ = writeln!(
            table,
            "{:<20} {}  split {}  path {}{owner}",
            alias.name,
            listen.join(" "),
            weights_text(&alias.split),
            alias.path.text()
        );
    }
    table
}

/// The receipts, one a line.
pub(super) fn receipts_table(document: &ReceiptsDocument) -> String {
    if document.receipts.is_empty() {
        return "no receipts: nothing was switched yet".to_owned();
    }
    let mut table = String::new();
    for receipt in &document.receipts {
        let _ = writeln!(table, "{:>6}  {}  {}", receipt.id, receipt.started_at, receipt.message);
    }
    table
}

/// Everything, for people.
pub(super) fn status_table(status: &StatusDocument) -> String {
    let mut table = String::new();
    let _ = writeln!(
        table,
        "agent        {} (pid {}), epoch {}",
        status.version, status.pid, status.epoch
    );
    if status.attached.is_empty() {
        let _ = writeln!(table, "attached     nothing");
    }
    for one in &status.attached {
        let _ = writeln!(
            table,
            "attached     {} ({}): {}, {}",
            one.interface, one.role, one.hook, one.why
        );
    }
    let _ = writeln!(table, "local        {}", local_line(&status.local));
    let flows = &status.flow_table.flows;
    let _ = writeln!(
        table,
        "flows        {} pending, {} established ({} of both local), {} closing, of {}; {} never pinned",
        flows.pending, flows.established, flows.local, flows.closing, status.flow_table.capacity, status.unpinned_flows
    );
    for one in &status.addresses {
        let at = if one.interface.is_empty() {
            "nowhere"
        } else {
            &*one.interface
        };
        let _ = writeln!(table, "address      {} on {at}: {}", one.address, one.why);
    }
    for sentence in &status.firewall {
        let _ = writeln!(table, "firewall     {sentence}");
    }
    for note in &status.notes {
        let _ = writeln!(table, "note         {note}");
    }
    for alias in &status.aliases {
        alias_lines(&mut table, alias, status.clock.monotonic_ns);
    }
    let counted: Vec<_> = status.reasons.iter().filter(|one| one.packets > 0).collect();
    if !counted.is_empty() {
        let _ = writeln!(table, "\npackets by verdict");
    }
    for one in counted {
        let _ = writeln!(table, "  {:<32} {:>14}", one.reason, one.packets);
    }
    table
}

fn local_line(local: &LocalStatus) -> String {
    match (&local.cgroup, &local.why) {
        (Some(cgroup), _) => format!("served: processes in {cgroup} and below"),
        (None, why) => format!("not served: {}", why.as_deref().unwrap_or("the agent did not say why")),
    }
}

fn alias_lines(table: &mut String, alias: &AliasStatus, now_ns: u64) {
    let listen: Vec<String> = alias.listen.iter().map(ToString::to_string).collect();
    let owner = alias
        .stack
        .as_ref()
        .map(|stack| format!(", stack {stack}"))
        .unwrap_or_default();
    let _ = writeln!(
        table,
        "\n{}  {}  path {}{owner}",
        alias.name,
        listen.join(" "),
        alias.path.text()
    );
    if let Some(left) = alias.held_for_ms {
        let held: u64 = alias.sets.iter().map(|set| set.counters.syns_held).sum();
        let _ = writeln!(
            table,
            "  held: new flows wait for {left} ms more at most; {held} SYNs were held back so far"
        );
    }
    if alias.shield {
        let sum = |of: fn(&SetFigures) -> u64| alias.sets.iter().map(|set| of(&set.counters)).sum::<u64>();
        let (hidden, waited) = (sum(|of| of.refusals_hidden), sum(|of| of.flows_waited));
        let _ = writeln!(
            table,
            "  shield: {hidden} refusals hidden, {waited} flows waited and were served"
        );
    }
    if let Some(running) = &alias.running {
        let _ = writeln!(table, "  running: {running}");
        for line in alias.progress.as_deref().and_then(frame).iter().flat_map(Frame::lines) {
            let _ = writeln!(table, "    {line}");
        }
    }
    if let Some(set) = &alias.unconfirmed {
        let _ = writeln!(
            table,
            "  the upgrade from {set} waits for: switcher confirm {}",
            alias.name
        );
    }
    if let Some(previous) = &alias.previous {
        let _ = writeln!(table, "  rollback goes to {}", weights_text(previous));
    }
    if alias.sets.is_empty() {
        let _ = writeln!(
            table,
            "  no sets; make one with: switcher set put {} SET --backend ADDR:PORT",
            alias.name
        );
        return;
    }
    let _ = writeln!(
        table,
        "  {:<16} {:>6} {:>7} {:>8} {:>12} {:>6} {:>12} {:>8} {:>9} {:>7} {:>9}",
        "set",
        "weight",
        "share",
        "pending",
        "established",
        "local",
        "new flows",
        "refused",
        "timed out",
        "resets",
        "SYN again"
    );
    for set in &alias.sets {
        set_lines(table, set, now_ns);
    }
}

fn latency_lines(table: &mut String, latency: &Latencies) {
    let kinds = [
        ("SYN to answer", &latency.answer),
        ("handshake", &latency.handshake),
        ("first reply", &latency.first_reply),
    ];
    for (what, histogram) in kinds {
        let of = |permille| histogram.quantile_us(permille).map_or(0.0, milliseconds);
        if histogram.count() > 0 {
            let (half, most) = (of(500), of(990));
            let _ = writeln!(
                table,
                "    {what:<14} 50 % within {half:.3} ms, 99 % within {most:.3} ms"
            );
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn milliseconds(time_us: u64) -> f64 {
    time_us as f64 / 1_000.0
}

fn set_lines(table: &mut String, set: &SetStatus, now_ns: u64) {
    let counters = &set.counters;
    let _ = writeln!(
        table,
        "  {:<16} {:>6} {:>6.1}% {:>8} {:>12} {:>6} {:>12} {:>8} {:>9} {:>7} {:>9}",
        set.name,
        set.weight,
        set.share * 100.0,
        set.flows.pending,
        set.flows.established,
        set.flows.local,
        counters.flows_opened,
        counters.flows_refused,
        counters.flows_timed_out,
        counters.flows_reset_in_handshake + counters.flows_reset_by_client + counters.flows_reset_by_backend,
        counters.syns_retransmitted,
    );
    latency_lines(table, &counters.latency);
    for failed in &set.failures {
        let ago_s = now_ns.saturating_sub(failed.at_ns) / 1_000_000_000;
        let (client, backend, how) = (failed.client, failed.backend, failed.how.text());
        let _ = writeln!(table, "    failed {ago_s} s ago: {client} at {backend}: {how}");
    }
    for backend in &set.backends {
        let health = backend
            .health
            .as_ref()
            .map(|health| format!("; {health}"))
            .unwrap_or_default();
        let queue = backend.accept_queue.map(queue_text).unwrap_or_default();
        let _ = writeln!(
            table,
            "    {:<22} {}: {}{health}{queue}",
            backend.address, backend.path, backend.why
        );
    }
}

/// Only what is not as it should be.
fn queue_text(queue: AcceptQueueStatus) -> String {
    let (waiting, max) = (queue.waiting, queue.waiting_max);
    match queue {
        AcceptQueueStatus { listens: false, .. } => "; nothing listens there".to_owned(),
        AcceptQueueStatus { overflowed: 0, .. } if waiting <= max => String::new(),
        AcceptQueueStatus { overflowed, .. } => {
            format!("; {waiting} connection(s) wait to be accepted, {max} may; {overflowed} found no room")
        }
    }
}
