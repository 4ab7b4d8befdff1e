//! An upgrade on a terminal: step and drain as bars, and both versions side by side, drawn again in their place.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::upgrade::seconds;
use crate::api::{Progress, SetProgress};

/// Drawn at most this often, a second.
const DRAWN_A_SECOND: u8 = 10;
/// Sets that have a line; of more aliases the rest is in the receipt.
const LINES_MAX: usize = 16;

/// What is on the screen.
#[derive(Debug)]
pub(super) struct Live {
    screen: MultiProgress,
    head: ProgressBar,
    lines: Vec<ProgressBar>,
}

impl Live {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWN_A_SECOND));
        let head = screen.add(ProgressBar::new(1));
        head.set_style(style("{prefix} [{bar:30}] {msg}"));
        Self {
            screen,
            head,
            lines: Vec::new(),
        }
    }

    /// Draws a state in the place of the last one.
    pub(super) fn show(&mut self, progress: &Progress) {
        match progress {
            Progress::Checking { what, .. } => self.head("health", 0, 1, what.clone()),
            Progress::Observing {
                step,
                steps,
                percent,
                left_ms,
                observed_ms,
                sets,
                ..
            } => {
                let all = observed_ms + left_ms;
                let text = format!("{percent} %, {} left", seconds(*left_ms));
                self.head(&format!("step {step} of {steps}"), *observed_ms, all, text);
                self.sets(sets, |is_new| if is_new { *percent } else { 100 - percent });
            }
            Progress::Draining {
                pending,
                established,
                at_first,
                eldest_ms,
                estimate_ms,
                left_ms,
                sets,
                ..
            } => {
                let left = pending + established;
                let estimate =
                    estimate_ms.map_or_else(|| "no pace yet".to_owned(), |ms| format!("about {}", seconds(ms)));
                let text = format!(
                    "{left} flow(s) left, the eldest {} old; {estimate}, at most {}",
                    seconds(eldest_ms.unwrap_or_default()),
                    seconds(*left_ms)
                );
                self.head("drain", at_first.saturating_sub(left), *at_first, text);
                self.sets(sets, |is_new| if is_new { 100 } else { 0 });
            }
            Progress::Refused { .. } | Progress::StillRunning { .. } | Progress::Finished { .. } => {}
        }
    }

    /// Takes all of it from the screen: what follows stands there.
    pub(super) fn clear(self) {
        // A bar that is not finished would draw itself once more when it is dropped.
        self.lines
            .iter()
            .chain([&self.head])
            .for_each(ProgressBar::finish_and_clear);
        let _ = self.screen.clear();
    }

    fn head(&self, name: &str, done: u64, all: u64, text: String) {
        self.head.set_length(all.max(1));
        self.head.set_position(done.min(all));
        self.head.set_prefix(format!("{name:<12}"));
        self.head.set_message(text);
    }

    fn sets(&mut self, sets: &[SetProgress], share: impl Fn(bool) -> u32) {
        let sets = sets.get(..LINES_MAX).unwrap_or(sets);
        for (at, set) in sets.iter().enumerate() {
            if self.lines.len() <= at {
                let line = self.screen.add(ProgressBar::new(100));
                line.set_style(style("{prefix} [{bar:30}] {msg}"));
                self.lines.push(line);
            }
            let share = share(set.is_new);
            let name = format!("{}/{}", set.alias, set.set);
            self.lines[at].set_position(share.into());
            self.lines[at].set_prefix(format!("{name:<12}"));
            self.lines[at].set_message(format!("{share:>3} %  {}", figures(set)));
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are this file's own: one that does not parse is the plain bar.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

/// What the kernel counted since the step began.
fn figures(set: &SetProgress) -> String {
    let of = &set.figures;
    let first_reply = of.latency.first_reply.quantile_us(990);
    let first_reply = first_reply.map_or_else(
        || "-".to_owned(),
        |us| format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
    );
    format!(
        "{} new, {} refused, {} timed out, {} reset, first reply p99 {first_reply}",
        of.flows_opened,
        of.flows_refused,
        of.flows_timed_out,
        of.flows_reset_by_backend + of.flows_reset_in_handshake,
    )
}
