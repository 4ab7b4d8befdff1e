//! The judgement: each thing that must hold, held or not.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use super::Switch;
use super::accounts::Accounts;
use super::clients::{self, Row, new_after, pings_after};
use super::conversations;
use super::quiet::QuietTimes;
use super::stage::{KEPT_ALIVE, Restart, SAMPLE, TRANSFER_BYTES};
use crate::traffic::{KeptReport, LoadReport, Ping, SampleReport, TransferReport};

/// Half of the connections, give or take this many points.
const SHARE_POINTS: f64 = 2.0;

/// One thing that must hold.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// The figures.
    pub detail: String,
}

/// All that is judged.
pub(super) struct Findings<'a> {
    pub load: &'a LoadReport,
    pub pings: &'a [Ping],
    pub rows: &'a [Row],
    /// Of processes of the host.
    pub host_switches: &'a [Switch],
    pub restart: &'a Restart,
    /// Flows of the alias that the kernel counted as opened.
    pub flows_opened: u64,
    pub share: &'a SampleReport,
    pub quiet: &'a QuietTimes,
    pub switches: &'a [Switch],
    pub drained: &'a Switch,
    pub accounts: &'a Accounts,
}

/// Judges everything; never stops at the first.
pub(super) fn judge(findings: &Findings<'_>) -> Vec<Check> {
    let mut checks = vec![
        sum(findings.load),
        nothing_lost(findings.load),
        no_resets(findings),
        logged_once(findings),
        kept_alive_stay(findings),
        transfer("the upload is whole", findings.load.upload.as_ref(), findings),
        transfer("the download is whole", findings.load.download.as_ref(), findings),
        share(findings.share),
        pings_answered(findings.pings),
        final_switches(findings),
        final_for_pings(findings),
        exit_codes(&all_switches(findings)),
        drained(findings.drained),
        quiet(findings.quiet),
        receipts(&all_switches(findings)),
        adopted(findings.restart),
        opened(findings),
    ];
    checks.push(outside(findings));
    checks.extend(findings.rows.iter().map(|one| row(one, findings)));
    checks
}

/// In the order in which they were made.
fn all_switches(findings: &Findings<'_>) -> Vec<Switch> {
    let mut all = [findings.switches, findings.host_switches].concat();
    all.sort_by_key(|switch| switch.began_us);
    all
}

/// The next agent goes on with the programs and their counters.
fn adopted(restart: &Restart) -> Check {
    let (before, after) = (restart.opened_before, restart.opened_after);
    let detail = format!(
        "programs {}; flows opened {before} before, {after} after, under load",
        if restart.adopted {
            "adopted as they ran"
        } else {
            "NOT adopted"
        }
    );
    check(
        "an agent killed under load is adopted",
        restart.adopted && after > before && before > 0,
        detail,
    )
}

/// The kernel's count of flows is the clients' own count of what they opened.
fn opened(findings: &Findings<'_>) -> Check {
    let rows = || findings.rows.iter().filter(|row| !row.of_host);
    let loads = rows().map(|row| &row.load).chain([findings.load]);
    let transfers = [&findings.load.upload, &findings.load.download];
    let begun = |load: &LoadReport| load.fresh_began_us.values().map(Vec::len).sum::<usize>() + load.kept_alive.len();
    let tcp = loads.map(begun).sum::<usize>() as u64
        + findings.share.connections
        + transfers.into_iter().flatten().count() as u64;
    // Each image counts, also that which a new agent begins with.
    let mut images: Vec<(u64, u64)> = vec![(findings.restart.began_us, findings.restart.ended_us)];
    images.extend(
        all_switches(findings)
            .iter()
            .map(|switch| (switch.began_us, switch.ended_us)),
    );
    images.sort_unstable();
    let mut udp = conversations::of_packets(findings.pings, &images);
    for row in rows() {
        let more = if row.local {
            conversations::of_sockets(&row.load.pings)
        } else {
            conversations::of_packets(&row.load.pings, &images)
        };
        udp = *udp.start() + more.start()..=*udp.end() + more.end();
    }
    let counted = findings.flows_opened.saturating_sub(tcp);
    let detail = format!(
        "the kernel counted {}; clients opened {tcp} connections and {} to {} UDP conversations",
        findings.flows_opened,
        udp.start(),
        udp.end()
    );
    check(
        "flows opened are what clients opened",
        udp.contains(&counted) && tcp > 0,
        detail,
    )
}

/// The client outside as a row like the others.
fn outside(findings: &Findings<'_>) -> Check {
    of_client(
        "a client outside",
        findings.load,
        Some(findings.pings),
        findings.switches,
    )
}

/// One of the other clients: nothing failed, nothing lost, its connections stay and its new ones follow.
fn row(row: &Row, findings: &Findings<'_>) -> Check {
    let switches = if row.of_host {
        findings.host_switches
    } else {
        findings.switches
    };
    let mut check = of_client(row.name, &row.load, row.pinged.then_some(&row.load.pings), switches);
    let stays = |kept: &&KeptReport| kept.ended.is_none() && kept.answers.len() == 1;
    let kept = &row.load.kept_alive;
    let stayed = kept.iter().filter(stays).count();
    check.ok &= stayed == clients::KEPT_ALIVE && kept.len() == stayed;
    check
        .detail
        .push_str(&format!("; {stayed} of {} kept-alive ones stayed", kept.len()));
    check
}

fn of_client(name: &'static str, load: &LoadReport, pings: Option<&[Ping]>, switches: &[Switch]) -> Check {
    let pinged = pings.is_some();
    let pings = pings.unwrap_or_default();
    let lost = pings.iter().filter(|ping| ping.answer.is_none()).count();
    let (tcp, tcp_old) = new_after(load, switches);
    let (udp, udp_old) = pings_after(pings, switches);
    let bad = load.failed + load.late + load.resets;
    let sums = load.ok + bad == load.due && load.due > 0;
    let ok = sums && bad == 0 && lost == 0 && tcp > 0 && (udp > 0) == pinged && tcp_old + udp_old == 0;
    let mut detail = format!(
        "{} requests, failed {}, late {}; {} pings, lost {lost}; {} new after a switch, at the old set {}",
        load.due,
        load.failed,
        load.late,
        pings.len(),
        tcp + udp,
        tcp_old + udp_old
    );
    if let Some(sample) = load.failure_samples.first() {
        detail.push_str(&format!("; {sample}"));
    }
    check(name, ok, detail)
}

fn check(name: &'static str, ok: bool, detail: String) -> Check {
    Check { name, ok, detail }
}

fn sum(load: &LoadReport) -> Check {
    let total = load.ok + load.late + load.failed;
    let ok = total == load.due && load.due > 0;
    check(
        "every request ended exactly once",
        ok,
        format!("due {}, ended {total}", load.due),
    )
}

fn nothing_lost(load: &LoadReport) -> Check {
    let ok = load.failed == 0 && load.late == 0 && load.due > 0;
    let mut detail = format!(
        "failed {}, late {}; latency p50 {:.1} ms, p99 {:.1} ms, slowest {:.1} ms",
        load.failed,
        load.late,
        ms(load.latency.p50_us),
        ms(load.latency.p99_us),
        ms(load.latency.max_us)
    );
    for sample in load.failure_samples.iter().take(5) {
        detail.push_str("; ");
        detail.push_str(sample);
    }
    check("no request failed or was late", ok, detail)
}

fn no_resets(findings: &Findings<'_>) -> Check {
    let (told, seen) = (findings.load.resets, findings.accounts.resets);
    let ok = told == 0 && seen == 0 && findings.accounts.missed == 0;
    let detail = format!(
        "{told} at requests, {seen} RST captured at the client, and {} by it to late packets of connections that were over; \
         the captures missed {} packets",
        findings.accounts.resets_after_the_end, findings.accounts.missed
    );
    check("no connection was reset", ok, detail)
}

/// Each id of the load, the sample and the transfers stands in nginx's logs once, as a success.
fn logged_once(findings: &Findings<'_>) -> Check {
    let (load, share) = (findings.load, findings.share);
    let ids = (0..load.due).map(|number| format!("{}-{number}", load.run));
    let rows = findings.rows.iter().filter(|row| !row.of_host).map(|row| &row.load);
    let of_rows = rows.flat_map(|load| (0..load.due).map(|number| format!("{}-{number}", load.run)));
    let ids = ids
        .chain(of_rows)
        .chain((0..share.connections).map(|number| format!("{}-{number}", share.run)));
    let transfers = [&load.upload, &load.download];
    let ids = ids.chain(transfers.into_iter().flatten().map(|transfer| transfer.id.clone()));
    let (mut all, mut wrong, mut first) = (0_u64, 0_u64, None);
    for id in ids {
        all += 1;
        let logged = findings.accounts.logged.get(&id).copied().unwrap_or_default();
        if (logged.times, logged.successes) != (1, 1) {
            wrong += 1;
            first.get_or_insert_with(|| {
                format!("; first: {id}, {} times, {} successes", logged.times, logged.successes)
            });
        }
    }
    let strangers = (findings.accounts.logged.len() as u64).saturating_sub(all - wrong);
    let ok = wrong == 0 && strangers == 0 && all > 0;
    let detail = format!(
        "{all} ids, {wrong} not exactly once, {strangers} unknown ids logged{}",
        first.unwrap_or_default()
    );
    check("nginx's logs hold each id exactly once", ok, detail)
}

/// Each kept-alive connection is answered by v1 alone, before the first switch and after the last, and v1 saw it as one
/// connection from that very address and port.
fn kept_alive_stay(findings: &Findings<'_>) -> Check {
    let connections: &[KeptReport] = &findings.load.kept_alive;
    let mut numbers: BTreeMap<SocketAddr, (u64, u64)> = BTreeMap::new();
    let mut moved = 0_u64;
    for entry in &findings.accounts.v1_log {
        let seen = numbers.entry(entry.remote).or_insert((entry.connection, 0));
        seen.1 += 1;
        moved += u64::from(seen.0 != entry.connection && connections.iter().any(|c| c.local == entry.remote));
    }
    let (first, last) = (findings.switches.first(), findings.switches.last());
    let stays = |kept: &&KeptReport| {
        let [run] = kept.answers.as_slice() else { return false };
        let spans = first.is_some_and(|switch| run.first_us < switch.began_us)
            && last.is_some_and(|switch| run.last_us > switch.ended_us);
        let at_v1 = numbers
            .get(&kept.local)
            .is_some_and(|&(_, requests)| requests == run.count);
        kept.ended.is_none() && run.version == "v1" && spans && at_v1
    };
    let stayed = connections.iter().filter(stays).count();
    let ok = stayed == KEPT_ALIVE && connections.len() == KEPT_ALIVE && moved == 0;
    let detail = format!("{stayed} of {} on the same 4-tuple at v1 throughout", connections.len());
    check("kept-alive connections stay", ok, detail)
}

fn transfer(name: &'static str, transfer: Option<&TransferReport>, findings: &Findings<'_>) -> Check {
    let Some(transfer) = transfer else {
        return check(name, false, "there was none".to_owned());
    };
    let spans = findings
        .switches
        .first()
        .is_some_and(|switch| transfer.began_us < switch.began_us)
        && findings
            .switches
            .last()
            .is_some_and(|switch| transfer.ended_us > switch.ended_us);
    let upload = name.contains("upload");
    let stored = if upload {
        findings.accounts.upload_fault.as_ref()
    } else {
        None
    };
    let fault = transfer.failure.as_ref().or(stored);
    let at_v1 = transfer.version.as_deref() == Some("v1");
    let ok = fault.is_none() && transfer.bytes == TRANSFER_BYTES && spans && at_v1;
    let detail = format!(
        "{} bytes compared, in flight over {} of {} switches, by {}{}",
        transfer.bytes,
        findings
            .switches
            .iter()
            .filter(|s| (transfer.began_us..transfer.ended_us).contains(&s.began_us) && s.ended_us < transfer.ended_us)
            .count(),
        findings.switches.len(),
        transfer.version.as_deref().unwrap_or("nobody"),
        fault.map(|fault| format!("; {fault}")).unwrap_or_default()
    );
    check(name, ok, detail)
}

fn share(share: &SampleReport) -> Check {
    let of = |version: &str| share.answers.get(version).copied().unwrap_or(0);
    let all: u64 = share.answers.values().sum();
    let points = 100.0 * of("v2") as f64 / (all.max(1)) as f64;
    let ok = all == u64::from(SAMPLE) && share.failures.is_empty() && (points - 50.0).abs() <= SHARE_POINTS;
    let detail = format!(
        "v2 got {points:.2} % of {all} new connections, 50 % +- {SHARE_POINTS} wanted; {} failed",
        share.failures.values().sum::<u64>()
    );
    check("50/50 is 50/50", ok, detail)
}

fn pings_answered(pings: &[Ping]) -> Check {
    let lost = pings.iter().filter(|ping| ping.answer.is_none()).count();
    let fresh = pings.iter().filter(|ping| ping.fresh).count();
    let ok = lost == 0 && fresh > 0 && fresh < pings.len();
    let detail = format!(
        "{} pings, {fresh} of them on new conversations; lost {lost}",
        pings.len()
    );
    check("every UDP ping is answered", ok, detail)
}

/// Pings sent between the return of a command and the next one.
fn after<'a>(findings: &'a Findings<'_>, number: usize) -> impl Iterator<Item = &'a Ping> {
    let from_us = findings.switches[number].ended_us;
    let next = findings.switches.get(number + 1);
    let until_us = next.map_or(u64::MAX, |next| next.began_us);
    let pings = findings.pings.iter();
    pings.filter(move |ping| (from_us..until_us).contains(&ping.sent_us))
}

/// With `udp: move` the next datagram goes by the new split, on new conversations and on long ones.
fn final_for_pings(findings: &Findings<'_>) -> Check {
    let (mut all, mut wrong) = (0_usize, 0_usize);
    for (number, switch) in findings.switches.iter().enumerate() {
        for ping in after(findings, number) {
            all += 1;
            let is_wrong = |version: &String| !switch.serving.contains(&version.as_str());
            wrong += usize::from(ping.answer.as_ref().is_some_and(is_wrong));
        }
    }
    let detail = format!("{all} pings sent after a command returned, {wrong} answered by a version without a share");
    check("a switch is final for UDP too", wrong == 0 && all > 0, detail)
}

/// No SYN reaches a version without a share once the command has returned.
fn final_switches(findings: &Findings<'_>) -> Check {
    let judged: Vec<&Switch> = findings
        .switches
        .iter()
        .filter(|switch| switch.syns_at_old.is_some())
        .collect();
    let late: usize = judged.iter().filter_map(|switch| switch.syns_at_old).sum();
    let [v1, v2] = findings.accounts.syns;
    // Captures that saw nothing at all would prove nothing.
    let ok = late == 0 && !judged.is_empty() && v1 > 0 && v2 > 0;
    let detail = format!(
        "{late} SYNs at the old version after its command returned, over {} switches; {v1} SYNs seen at v1 in all, {v2} at v2",
        judged.len()
    );
    check("a switch is final when the command returns", ok, detail)
}

/// 0 means that no flow is left, 4 that some are; and an upgrade away from v1 leaves at least the kept-alive connections.
fn exit_codes(switches: &[Switch]) -> Check {
    let leaves_v1 = |switch: &Switch| switch.command.contains(" upgrade ") && switch.serving == ["v2"];
    let is_right = |switch: &Switch| {
        let enough = switch.flows_left.is_some_and(|left| left >= KEPT_ALIVE as u64);
        switch.code_is_true() && (enough || !leaves_v1(switch))
    };
    let wrong: Vec<String> = switches
        .iter()
        .filter(|switch| !is_right(switch))
        .map(|switch| {
            format!(
                "{}: exit {}, flows left {:?}",
                switch.command, switch.exit_code, switch.flows_left
            )
        })
        .collect();
    let fours = switches.iter().filter(|switch| switch.exit_code == 4).count();
    let detail = format!(
        "{} commands, {fours} said 4 (switched, flows left at the deadline); wrong: {}",
        switches.len(),
        list(&wrong)
    );
    check("exit codes say what is left", wrong.is_empty() && fours > 0, detail)
}

fn list(wrong: &[String]) -> String {
    if wrong.is_empty() {
        "none".to_owned()
    } else {
        wrong.join(", ")
    }
}

fn drained(switch: &Switch) -> Check {
    let ok = switch.exit_code == 0 && switch.flows_left == Some(0);
    let detail = format!(
        "exit {}, flows left {:?}, {:.1} ms",
        switch.exit_code, switch.flows_left, switch.took_ms
    );
    check("with nobody connected the upgrade says 0", ok, detail)
}

fn quiet(quiet: &QuietTimes) -> Check {
    let name = "the command is quick with no flow to drain";
    check(name, quiet.is_quick(), quiet.text())
}

/// The kernel's own words agree: epochs rise, no new flow at an old set after its flip, no flow without its record.
fn receipts(switches: &[Switch]) -> Check {
    let mut epoch = 0;
    let mut wrong = Vec::new();
    for switch in switches {
        let receipt = &switch.receipt;
        let after = receipt["epoch_after"].as_u64().unwrap_or(0);
        if after <= epoch {
            wrong.push(format!("{}: epoch {after} after {epoch}", switch.command));
        }
        epoch = after;
        if receipt["unpinned_flows"] != 0 {
            wrong.push(format!("{}: unpinned {}", switch.command, receipt["unpinned_flows"]));
        }
        let old = receipt["last_new_flows"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        if old.iter().any(|last| last["before_flip_end"] != true) {
            wrong.push(format!("{}: {}", switch.command, receipt["last_new_flows"]));
        }
    }
    let detail = format!(
        "{} receipts, last epoch {epoch}; wrong: {}",
        switches.len(),
        if wrong.is_empty() {
            "none".to_owned()
        } else {
            wrong.join(", ")
        }
    );
    check("the receipts agree", wrong.is_empty() && !switches.is_empty(), detail)
}

fn ms(us: u32) -> f64 {
    f64::from(us) / 1e3
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
