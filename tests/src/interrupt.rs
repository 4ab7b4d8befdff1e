//! Ctrl-C, as a question that every wait asks: so the ordinary clean-up runs, whatever was going on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

static PENDING: AtomicBool = AtomicBool::new(false);

/// How often a wait looks up.
const STEP: Duration = Duration::from_millis(20);

/// Takes SIGINT, SIGTERM and SIGHUP over. By handlers, not by a blocked mask: children would inherit the mask and could
/// not be asked to end.
///
/// # Errors
/// If the handlers or the thread that waits for signals cannot be set up.
pub fn install() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut streams = Vec::new();
    {
        let _inside = runtime.enter();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            streams.push(signal(kind).context("cannot handle signals")?);
        }
    }
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            for mut stream in streams {
                tokio::spawn(async move {
                    while stream.recv().await.is_some() {
                        PENDING.store(true, Ordering::SeqCst);
                    }
                });
            }
            std::future::pending::<()>().await;
        });
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
