//! The generator's own process: a plan in, events out.

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};
use tokio::sync::watch;

use super::report::{Event, Report};
use super::{Plan, Work, load, sample};

/// Runs the plan in `file`. Events go to stdout as JSON lines; the first line on stdin, or its end, stops the run.
///
/// # Errors
/// If the plan cannot be read or its connections cannot be opened.
pub fn generate(file: &Path) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let plan: Plan = serde_json::from_str(&text).with_context(|| format!("no plan: {}", file.display()))?;
    anyhow::ensure!(!plan.targets.is_empty(), "a plan needs a target");
    let (stop, stopped) = watch::channel(false);
    thread::spawn(move || {
        let _ = io::stdin().lock().read_line(&mut String::new());
        // The run may be over already.
        let _ = stop.send(true);
        // Kept to the end of the process: a dropped sender would look like a stop to some waits and not to others.
        std::mem::forget(stop);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = match &plan.work {
        Work::Load(work) => Report::Load(Box::new(runtime.block_on(load::run(&plan, work, stopped, tell))?)),
        Work::Sample(work) => Report::Sample(runtime.block_on(sample::run(&plan, work, stopped))),
    };
    tell(&Event::Report(report));
    Ok(())
}

fn tell(event: &Event) {
    let mut line = serde_json::to_string(event).unwrap_or_default();
    line.push('\n');
    // A reader that is gone is no reason to fail: stdin's end stops the run.
    let _ = io::stdout().lock().write_all(line.as_bytes());
}
