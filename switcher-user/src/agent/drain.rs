//! Waiting until the flows of the old sets have ended.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::flows::census_of_drain;
use super::port::{Kernel, Shared};
use crate::api::{FlowCounts, Progress, SCHEMA};
use crate::kernel::KernelError;
use crate::model::DrainResult;

/// The table is looked at this often at first, and less often each time, for it may be large.
const POLL_FIRST: Duration = Duration::from_millis(20);
const POLL_MAX: Duration = Duration::from_millis(100);

/// What is drained, and until when.
#[derive(Clone, Debug)]
pub(super) struct DrainOrder {
    /// The upgrade's number.
    pub(super) upgrade: u64,
    /// Numbers of the old sets.
    pub(super) set_ids: Vec<u32>,
    pub(super) epoch: u64,
    pub(super) timeout: Duration,
    /// The whole command's time is up then.
    pub(super) command_deadline: Instant,
}

/// How the wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// No flow is left.
    Empty,
    /// The drain's time is up.
    FlowsLeft,
    /// The command's time was up first.
    TimedOut,
}

/// A drain that is over.
#[derive(Debug)]
pub(super) struct DrainEnd {
    pub(super) upgrade: u64,
    pub(super) result: DrainResult,
    pub(super) ended: Result<Ended, KernelError>,
}

/// Waits until no flow is left or the time is up, and tells how far it is. Looks once at least.
pub(super) async fn drain<K: Kernel>(
    kernel: Shared<K>,
    order: DrainOrder,
    progress: watch::Sender<Progress>,
) -> DrainEnd {
    let began = Instant::now();
    let mut poll = POLL_FIRST;
    let mut counts = FlowCounts::default();
    let until = began + order.timeout;
    let ended = loop {
        counts = match left(&kernel, &order.set_ids).await {
            Ok(counts) => counts,
            Err(error) => break Err(error),
        };
        let now = Instant::now();
        if counts.live() == 0 {
            break Ok(Ended::Empty);
        }
        if now >= until {
            break Ok(Ended::FlowsLeft);
        }
        if now >= order.command_deadline {
            break Ok(Ended::TimedOut);
        }
        let left = until - now;
        progress.send_replace(draining(&order, counts, left));
        tokio::time::sleep(poll.min(left).min(order.command_deadline - now)).await;
        poll = (poll * 2).min(POLL_MAX);
    };
    let result = DrainResult {
        timeout_ms: millis(order.timeout),
        waited_ms: millis(began.elapsed()),
        pending_left: counts.pending,
        established_left: counts.established,
    };
    DrainEnd {
        upgrade: order.upgrade,
        result,
        ended,
    }
}

pub(super) fn draining(order: &DrainOrder, counts: FlowCounts, left: Duration) -> Progress {
    Progress::Draining {
        schema: SCHEMA,
        epoch: order.epoch,
        pending: counts.pending,
        established: counts.established,
        left_ms: millis(left),
    }
}

async fn left<K: Kernel>(kernel: &Shared<K>, set_ids: &[u32]) -> Result<FlowCounts, KernelError> {
    let census = kernel.run(|kernel| census_of_drain(kernel)).await?;
    let mut sum = FlowCounts::default();
    for counts in set_ids.iter().filter_map(|id| census.get(id)) {
        sum.pending += counts.pending;
        sum.established += counts.established;
    }
    Ok(sum)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
