//! What an upgrade would do, as text.

use std::fmt::Write as _;

use crate::api::ForecastDocument;
use crate::plan::weights_text;

/// One page.
pub(super) fn forecast_page(document: &ForecastDocument) -> String {
    let mut page = String::new();
    for (nth, step) in document.steps.iter().enumerate() {
        let _ = writeln!(
            page,
            "step {} of {}: {} %: of {} established flow(s) {} would move",
            nth + 1,
            document.steps.len(),
            step.percent,
            step.flows,
            step.flows_moved
        );
        if step.flows_of_host > 0 {
            let _ = writeln!(
                page,
                "  and {} more are the host's own TCP's, which no image moves",
                step.flows_of_host
            );
        }
        if step.flows_pending > 0 {
            let _ = writeln!(
                page,
                "  {} handshake(s) on their way would be decided again",
                step.flows_pending
            );
        }
        for alias in &step.aliases {
            let _ = writeln!(page, "  alias {}: {}", alias.alias, weights_text(&alias.split));
            for set in &alias.sets {
                let _ = writeln!(
                    page,
                    "    {:<12} {:>3}.{:02} % of new flows; of today's flows, were they to begin anew: {}",
                    set.set.as_str(),
                    set.share_of_10000 / 100,
                    set.share_of_10000 % 100,
                    set.flows_begun_anew
                );
            }
        }
    }
    for note in &document.notes {
        let _ = writeln!(page, "note: {note}");
    }
    let _ = writeln!(page, "dry run: nothing was changed (epoch {})", document.epoch);
    page
}
