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
        let Some(frame) = frame(progress) else { return };
        draw(&self.head, &frame.head);
        for (at, bar) in frame.sets.iter().take(LINES_MAX).enumerate() {
            if self.lines.len() <= at {
                let line = self.screen.add(ProgressBar::new(100));
                line.set_style(style("{prefix} [{bar:30}] {msg}"));
                self.lines.push(line);
            }
            draw(&self.lines[at], bar);
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
}

/// A line: a name, how much of it is done, and a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    name: String,
    done: u64,
    all: u64,
    text: String,
}

/// What an upgrade looks like at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    head: Bar,
    sets: Vec<Bar>,
}

impl Frame {
    /// Its lines as text, for a page that is drawn as a whole.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        [&self.head].into_iter().chain(&self.sets).map(|bar| {
            let done = usize::try_from(30 * bar.done.min(bar.all) / bar.all.max(1)).unwrap_or(0);
            let tip = if (1..30).contains(&done) { ">" } else { "" };
            let filled = format!("{}{tip}", "=".repeat(done - tip.len()));
            format!("{:<12} [{filled:<30}] {}", bar.name, bar.text)
        })
    }
}

/// The same for the live view and for `status --watch`.
pub(super) fn frame(progress: &Progress) -> Option<Frame> {
    match progress {
        Progress::Checking { what, .. } => Some(Frame {
            head: bar("health", 0, 1, what.clone()),
            sets: Vec::new(),
        }),
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
            Some(Frame {
                head: bar(&format!("step {step} of {steps}"), *observed_ms, all, text),
                sets: bars(sets, |is_new| if is_new { *percent } else { 100 - percent }),
            })
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
            let estimate = estimate_ms.map_or_else(|| "no pace yet".to_owned(), |ms| format!("about {}", seconds(ms)));
            let text = format!(
                "{left} flow(s) left, the eldest {} old; {estimate}, at most {}",
                seconds(eldest_ms.unwrap_or_default()),
                seconds(*left_ms)
            );
            Some(Frame {
                head: bar("drain", at_first.saturating_sub(left), *at_first, text),
                sets: bars(sets, |is_new| if is_new { 100 } else { 0 }),
            })
        }
        Progress::Refused { .. } | Progress::StillRunning { .. } | Progress::Finished { .. } => None,
    }
}

fn bar(name: &str, done: u64, all: u64, text: String) -> Bar {
    Bar {
        name: name.to_owned(),
        done,
        all,
        text,
    }
}

fn bars(sets: &[SetProgress], share: impl Fn(bool) -> u32) -> Vec<Bar> {
    let one = |set: &SetProgress| {
        let share = share(set.is_new);
        let text = format!("{share:>3} %  {}", figures(set));
        bar(&format!("{}/{}", set.alias, set.set), share.into(), 100, text)
    };
    sets.iter().map(one).collect()
}

fn draw(line: &ProgressBar, bar: &Bar) {
    line.set_length(bar.all.max(1));
    line.set_position(bar.done.min(bar.all));
    line.set_prefix(format!("{:<12}", bar.name));
    line.set_message(bar.text.clone());
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
