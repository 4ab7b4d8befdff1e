//! Changes and receipts as text.

use std::fmt::Write as _;
use std::time::Duration;

use super::printer::Printer;
use crate::api::ChangesDocument;
use crate::model::{FlipTime, Receipt, SetChange, StepReport};
use crate::plan::weights_text;

/// Prints the receipt of a change that has ended; returns its exit code.
pub(super) fn finish(receipt: &Receipt, printer: &Printer) -> u8 {
    printer.result(receipt, &receipt_page(receipt));
    for warning in &receipt.warnings {
        printer.note(&format!("warning: {warning}"));
    }
    receipt.exit_code
}

/// What changed, or would.
pub(super) fn changes_page(document: &ChangesDocument) -> String {
    let mut page = String::new();
    for change in &document.changes {
        let _ = writeln!(page, "{}", change.what);
    }
    let _ = match (document.changes.is_empty(), document.dry_run) {
        (true, _) => writeln!(page, "nothing to do: it is so already (epoch {})", document.epoch),
        (false, true) => writeln!(page, "dry run: nothing was changed (epoch {})", document.epoch),
        (false, false) => writeln!(page, "active (epoch {})", document.epoch),
    };
    if let Some(receipt) = &document.receipt {
        if let Some(id) = receipt.id {
            let _ = writeln!(page, "receipt {id}");
        }
        for warning in &receipt.warnings {
            let _ = writeln!(page, "warning: {warning}");
        }
    }
    for warning in &document.warnings {
        let _ = writeln!(page, "warning: {warning}");
    }
    page
}

/// A receipt on one page.
pub(super) fn receipt_page(receipt: &Receipt) -> String {
    let mut page = format!("{}\n", receipt.message);
    let Some(flip) = &receipt.flip else {
        drain_lines(&mut page, receipt);
        return page;
    };
    let id = receipt.id.map_or_else(|| "not kept".to_owned(), |id| id.to_string());
    let _ = writeln!(page, "\nreceipt      {id}");
    let _ = writeln!(page, "ran by       {}", who(receipt));
    let _ = writeln!(page, "began        {}", receipt.started_at);
    let _ = writeln!(page, "took         {} ms", thousandths(receipt.command_us));
    let _ = writeln!(page, "epoch        {} -> {}", receipt.epoch_before, receipt.epoch_after);
    if let Some(first) = &receipt.first_flip {
        flip_line(&mut page, "first flip", first);
    }
    flip_line(&mut page, "flip", flip);
    if let Some(back) = &receipt.flip_back {
        flip_line(&mut page, "flip back", back);
    }
    for change in &receipt.aliases {
        let (before, after) = (weights_text(&change.before), weights_text(&change.after));
        let _ = writeln!(page, "split        {}: {before} -> {after}", change.alias);
    }
    drain_lines(&mut page, receipt);
    step_lines(&mut page, &receipt.steps);
    failure_lines(&mut page, receipt, flip);
    figures(&mut page, &receipt.sets);
    for statement in &receipt.statements {
        let _ = writeln!(page, "- {statement}");
    }
    page
}

fn who(receipt: &Receipt) -> String {
    let pid = receipt.caller.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
    let host = receipt
        .host
        .as_ref()
        .map(|host| format!(", on {host}"))
        .unwrap_or_default();
    let user = receipt
        .user
        .as_ref()
        .map(|user| format!("{user}, "))
        .unwrap_or_default();
    format!("{user}uid {}{pid}{host}", receipt.caller.uid)
}

/// The swap lies between the two times.
fn flip_line(page: &mut String, name: &str, flip: &FlipTime) {
    let took = Duration::from_nanos(flip.after_ns.saturating_sub(flip.before_ns));
    let began = humantime::parse_rfc3339(&flip.at)
        .ok()
        .and_then(|at| at.checked_sub(took));
    let began = began.map_or_else(String::new, |at| {
        format!("between {} and ", humantime::format_rfc3339_micros(at))
    });
    let took = thousandths(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    let _ = writeln!(page, "{name:<12} {began}{}, then final ({took} ms)", flip.at);
}

fn drain_lines(page: &mut String, receipt: &Receipt) {
    if let Some(drain) = &receipt.drain {
        let left = match drain.left() {
            0 => "no flow left".to_owned(),
            left => format!(
                "{left} flow(s) left: {} pending, {} established",
                drain.pending_left, drain.established_left
            ),
        };
        let _ = writeln!(
            page,
            "drain        {} flow(s) at first; {left} after {} ms (of {} ms)",
            drain.at_first, drain.waited_ms, drain.timeout_ms
        );
    }
    for left in &receipt.left {
        let _ = writeln!(
            page,
            "  left       {} at {} ({}/{}): {} s old, idle for {} s",
            left.client,
            left.backend,
            left.alias,
            left.set,
            thousandths(left.age_ms),
            thousandths(left.idle_ms)
        );
    }
}

/// The last that failed; times count from the flip, or the last of them.
fn failure_lines(page: &mut String, receipt: &Receipt, flip: &FlipTime) {
    for set in &receipt.failures {
        let _ = writeln!(page, "failed last  {}/{}:", set.alias, set.set);
        for failed in &set.flows {
            let (sign, ns) = if failed.at_ns < flip.before_ns {
                ('-', flip.before_ns - failed.at_ns)
            } else {
                ('+', failed.at_ns - flip.before_ns)
            };
            let _ = writeln!(
                page,
                "  {sign}{} s  {} at {}: {}",
                thousandths(ns / 1_000_000),
                failed.client,
                failed.backend,
                failed.how.text()
            );
        }
    }
}

fn step_lines(page: &mut String, steps: &[StepReport]) {
    for step in steps {
        let seconds = thousandths(step.observed_ms);
        let _ = writeln!(
            page,
            "step         {} % for {seconds} s (epoch {}): {}",
            step.percent, step.epoch, step.judgement
        );
        for set in &step.sets {
            let figures = &set.figures;
            let first_reply = |permille| {
                let at = figures.latency.first_reply.quantile_us(permille);
                at.map_or_else(|| "-".to_owned(), |us| format!("{} ms", thousandths(us)))
            };
            let _ = writeln!(
                page,
                "  {:<11} {} new, {} established, {} refused, {} timed out, {} reset by the backend; first reply p50 {}, p99 {}",
                set.set.as_str(),
                figures.flows_opened,
                figures.flows_established,
                figures.flows_refused,
                figures.flows_timed_out,
                figures.flows_reset_by_backend,
                first_reply(500),
                first_reply(990),
            );
        }
    }
}

fn figures(page: &mut String, sets: &[SetChange]) {
    if sets.is_empty() {
        return;
    }
    let name = |set: &SetChange| format!("{}/{}", set.alias, set.set);
    let width = sets.iter().map(|set| name(set).len()).max().unwrap_or(0).max(3);
    let _ = writeln!(
        page,
        "\n{:<width$}  {:>12} {:>12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "set", "flows before", "flows since", "refused", "timed out", "SYN again", "finished", "resets", "unpinned"
    );
    for set in sets {
        let (before, after) = (&set.before, &set.after);
        let since = |old: u64, new: u64| new.saturating_sub(old);
        let resets = |of: &crate::model::SetFigures| {
            of.flows_reset_in_handshake + of.flows_reset_by_client + of.flows_reset_by_backend
        };
        let _ = writeln!(
            page,
            "{:<width$}  {:>12} {:>12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            name(set),
            before.flows_opened,
            since(before.flows_opened, after.flows_opened),
            since(before.flows_refused, after.flows_refused),
            since(before.flows_timed_out, after.flows_timed_out),
            since(before.syns_retransmitted, after.syns_retransmitted),
            since(before.flows_finished, after.flows_finished),
            since(resets(before), resets(after)),
            since(before.flows_unpinned, after.flows_unpinned),
        );
    }
    page.push('\n');
}

/// `12.345` of 12345.
fn thousandths(number: u64) -> String {
    format!("{}.{:03}", number / 1_000, number % 1_000)
}
