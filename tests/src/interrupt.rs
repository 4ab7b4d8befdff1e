//! Ctrl-C, as a question that every wait asks: so the ordinary clean-up runs, whatever was going on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};

static PENDING: AtomicBool = AtomicBool::new(false);

/// How often a wait looks up.
const STEP: Duration = Duration::from_millis(20);

/// Takes SIGINT, SIGTERM and SIGHUP over. To be called first in `main`, before any other thread exists, because threads
/// inherit the mask.
///
/// # Errors
/// If the signal mask or the thread that waits for signals cannot be set up.
pub fn install() -> Result<()> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block().context("cannot block signals")?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while set.wait().is_ok() {
            PENDING.store(true, Ordering::SeqCst);
        }
    })?;
    Ok(())
}

/// Whether the run was asked to end.
#[must_use]
pub fn pending() -> bool {
    PENDING.load(Ordering::SeqCst)
}

/// Fails once the run was asked to end, so that `?` unwinds to the clean-up.
///
/// # Errors
/// If a signal came.
pub fn check() -> Result<()> {
    if pending() {
        bail!("interrupted");
    }
    Ok(())
}

/// Sleeps, but not past a Ctrl-C.
///
/// # Errors
/// If a signal came.
pub fn sleep(how_long: Duration) -> Result<()> {
    let end = Instant::now() + how_long;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(STEP));
    }
}

/// Waits until `done` says so, at most `limit`; `what` names the wait in the error.
///
/// # Errors
/// If a signal came, `done` failed, or the limit passed.
pub fn wait_for(what: &str, limit: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + limit;
    loop {
        check()?;
        if done()? {
            return Ok(());
        }
        if Instant::now() >= end {
            bail!("{what}: not within {:.1} s", limit.as_secs_f64());
        }
        thread::sleep(Duration::from_millis(2));
    }
}
