//! How long the command takes with no flow to drain, and how long this machine takes for what no such command can avoid.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde::Serialize;
use serde_json::Value;

use crate::lab::{Agent, Outcome, guarded, run};

/// How often it is measured; even, so that it ends where it began.
const TIMES: usize = 20;
/// What the median is to be under, on a machine that nobody else uses.
const WANTED_MS: f64 = 50.0;
/// On a slow one: at most so many times what it takes for the least. Other work on it slows both, for they are measured in turn.
/// On two cores with a load of 8 it is 1.4 to 1.7 times; with twice as many writes and looks it was 2 to 3.3.
const LEAST_TIMES: f64 = 2.5;
/// A machine that is shared is slow at times: a slow series is measured again, and the best of so many counts.
const SERIES_MAX: usize = 3;

/// Files that the least writes: what is wanted, the receipt, and that it has ended.
const LEAST_FILES: usize = 3;
/// Bytes of each, as of a small receipt.
const FILE_BYTES: usize = 4_096;
/// A process that does nothing ends before this, or never.
const NOTHING_LIMIT: Duration = Duration::from_secs(30);

/// The command's time, from its start to its end as a process, and the least that this machine takes.
#[derive(Clone, Debug, Serialize)]
pub struct QuietTimes {
    /// How often.
    pub upgrades: usize,
    /// Half were faster.
    pub median_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// Measured in turn with them, nothing of it Switcher's: a process that does nothing, three small files that are certain
    /// to be on the disk, and the kernel's own wait at the flip. Half were faster.
    pub least_ms: f64,
}

impl QuietTimes {
    /// Quick, or no slower than a slow machine makes it.
    pub(super) fn is_quick(&self) -> bool {
        self.median_ms < WANTED_MS || self.median_ms <= LEAST_TIMES * self.least_ms
    }

    /// The figures in words.
    pub(super) fn text(&self) -> String {
        format!(
            "median {:.1} ms of {}, slowest {:.1} ms; under {WANTED_MS} wanted, or at most {LEAST_TIMES} times the {:.1} ms \
             that a process, {LEAST_FILES} synced files and the kernel's wait take here",
            self.median_ms, self.upgrades, self.max_ms, self.least_ms
        )
    }
}

/// Upgrades back and forth on an alias without flows; ends on v1. Files are written into `folder`.
pub(super) fn measure(agent: &Agent, folder: &Path) -> Result<QuietTimes> {
    let mut best = series(agent, folder)?;
    for _again in 1..SERIES_MAX {
        if best.is_quick() {
            break;
        }
        let next = series(agent, folder)?;
        if next.is_quick() || next.median_ms < best.median_ms {
            best = next;
        }
    }
    Ok(best)
}

fn series(agent: &Agent, folder: &Path) -> Result<QuietTimes> {
    let (mut times_ms, mut least_ms) = (Vec::with_capacity(TIMES), Vec::with_capacity(TIMES));
    for number in 0..TIMES {
        let to = if number % 2 == 0 { "v2" } else { "v1" };
        let outcome = agent
            .cli(&["upgrade", "web", "--to", to, "--json"])?
            .expect_code(&[0])?;
        times_ms.push(ms(outcome.took));
        least_ms.push(ms(nothing()?) + ms(files(folder)?) + flip_ms(&outcome)?);
    }
    ensure!(times_ms.len() == TIMES, "not all upgrades were measured");
    let (median_ms, max_ms) = median_and_max(times_ms);
    let (least_ms, _) = median_and_max(least_ms);
    Ok(QuietTimes {
        upgrades: TIMES,
        median_ms,
        max_ms,
        least_ms,
    })
}

/// A process from its start to its end, run as the command is.
fn nothing() -> Result<Duration> {
    let mut command: Command = guarded(Path::new("true"), Signal::SIGKILL);
    Ok(run(&mut command, NOTHING_LIMIT)?.expect_code(&[0])?.took)
}

/// Files that replace others, each on the disk before the next is begun.
fn files(folder: &Path) -> Result<Duration> {
    let began = Instant::now();
    for number in 0..LEAST_FILES {
        let (beside, place) = (folder.join("quiet.new"), folder.join(format!("quiet-{number}")));
        fs::write(&beside, [b'x'; FILE_BYTES])?;
        File::open(&beside)?.sync_all()?;
        fs::rename(&beside, &place)?;
        File::open(folder)?.sync_all()?;
    }
    Ok(began.elapsed())
}

/// From just before the kernel was asked to swap the images to its answer, as the receipt has it.
fn flip_ms(outcome: &Outcome) -> Result<f64> {
    let receipt: Value = serde_json::from_str(&outcome.stdout).context("the receipt is not one document")?;
    let at = |name: &str| receipt["flip"][name].as_u64();
    let (before, after) = at("before_ns").zip(at("after_ns")).context("the receipt has no flip")?;
    Ok(after.saturating_sub(before) as f64 / 1e6)
}

fn median_and_max(mut times_ms: Vec<f64>) -> (f64, f64) {
    times_ms.sort_by(f64::total_cmp);
    let median = f64::midpoint(times_ms[TIMES / 2 - 1], times_ms[TIMES / 2]);
    (median, times_ms[TIMES - 1])
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
