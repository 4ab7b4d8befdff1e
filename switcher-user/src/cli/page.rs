//! Changes and receipts as text.

use std::fmt::Write as _;

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
    let _ = writeln!(page, "ran by       uid {}{}", receipt.caller.uid, pid(receipt));
    let _ = writeln!(page, "began        {}", receipt.started_at);
    let _ = writeln!(page, "took         {} ms", thousandths(receipt.command_us));
    let _ = writeln!(page, "epoch        {} -> {}", receipt.epoch_before, receipt.epoch_after);
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
    figures(&mut page, &receipt.sets);
    for statement in &receipt.statements {
        let _ = writeln!(page, "- {statement}");
    }
    page
}

fn pid(receipt: &Receipt) -> String {
    receipt.caller.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default()
}

fn flip_line(page: &mut String, name: &str, flip: &FlipTime) {
    let took = thousandths(flip.after_ns.saturating_sub(flip.before_ns) / 1_000);
    let _ = writeln!(
        page,
        "{name:<12} final at {} (the swap and its wait took {took} ms)",
        flip.at
    );
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
            "drain        {left} after {} ms (of {} ms)",
            drain.waited_ms, drain.timeout_ms
        );
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
