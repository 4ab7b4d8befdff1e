//! The demo's result as one JSON document.

use serde::Serialize;

use super::console::{Console, Tone};
use super::quiet::QuietTimes;
use super::{Check, Options, Switch};
use crate::traffic::{LoadReport, SampleReport};

/// What the agent chose.
pub(super) struct Ways {
    /// The paths that flows took.
    pub paths: Vec<String>,
    /// The hook of the client's interface.
    pub hook: String,
}

/// The result.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    /// Version of the document.
    pub schema: u32,
    /// Whether every check holds: nothing was lost.
    pub ok: bool,
    /// The path that was asked for.
    pub path: String,
    /// The paths that flows took, as `status` says.
    pub paths_taken: Vec<String>,
    /// The hook that was asked for.
    pub hook: String,
    /// The hook that met the client's packets, as `status` says.
    pub hook_taken: String,
    /// What must hold, and whether it does.
    pub checks: Vec<Check>,
    /// The load.
    pub load: LoadReport,
    /// The 50/50 split, measured.
    pub share: SampleReport,
    /// The command's time with no flow to drain.
    pub quiet: QuietTimes,
    /// The switches under load.
    pub switches: Vec<Switch>,
    /// The last upgrade, with nobody connected.
    pub drained: Switch,
}

impl Document {
    #[expect(clippy::too_many_arguments, reason = "the parts of one document, each used once")]
    pub(super) fn new(
        options: &Options,
        ways: Ways,
        checks: Vec<Check>,
        mut load: LoadReport,
        share: SampleReport,
        quiet: QuietTimes,
        switches: Vec<Switch>,
        drained: Switch,
    ) -> Self {
        let ok = !checks.is_empty() && checks.iter().all(|check| check.ok);
        let (path, hook) = (options.path.to_string(), options.hook.to_string());
        // For the checks, and too long for a person.
        load.fresh_began_us.clear();
        load.fresh_failed_us.clear();
        Self {
            schema: 1,
            ok,
            path,
            paths_taken: ways.paths,
            hook,
            hook_taken: ways.hook,
            checks,
            load,
            share,
            quiet,
            switches,
            drained,
        }
    }

    /// The checks and the last word, for a person.
    pub(super) fn print_verdict(&self, console: &mut Console) {
        console.line("");
        for check in &self.checks {
            let mark = if check.ok {
                console.tone(Tone::Good, "ok  ")
            } else {
                console.tone(Tone::Bad, "FAIL")
            };
            console.line(format!(
                "  {mark} {:<42} {}",
                check.name,
                console.tone(Tone::Dim, &check.detail)
            ));
        }
        let failed = self.checks.iter().filter(|check| !check.ok).count();
        let word = if failed == 0 {
            console.tone(
                Tone::Good,
                &format!(
                    "Nothing was lost: {} switches under {} requests.",
                    self.switches.len(),
                    self.load.due
                ),
            )
        } else {
            console.tone(Tone::Bad, &format!("{failed} of {} checks failed.", self.checks.len()))
        };
        console.line("");
        console.line(word);
    }
}
