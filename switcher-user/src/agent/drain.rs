//! Looks at the kernel for a rollout: figures of its sets and, while it drains, flows of the old ones.
//!
//! A task a rollout. It only looks and tells the owner; it changes nothing.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::flows::{add, to_figures};
use super::port::{Kernel, Shared};
use crate::api::FlowCounts;
use crate::kernel::{FlowState, FlowView, KernelError};
use crate::model::SetFigures;

/// Figures are looked at this often.
const POLL_FIGURES: Duration = Duration::from_millis(100);
/// The flow table is looked at this often at first, and less often each time, for it may be large.
const POLL_FLOWS_FIRST: Duration = Duration::from_millis(20);
const POLL_FLOWS_MAX: Duration = Duration::from_millis(100);

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watching {
    /// Figures only.
    Figures,
    /// Figures, and flows of the old sets.
    Flows,
}

/// What a task looks at, and for whom.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// The upgrade's number.
    pub(super) upgrade: u64,
    /// Numbers of the sets whose figures are read.
    pub(super) figures_of: Vec<u32>,
    /// Numbers of the old sets.
    pub(super) flows_of: Vec<u32>,
}

/// Figures in the order of `Watch::figures_of`, and the flows of the old sets where they were counted.
pub(super) type Looked = Result<(Vec<SetFigures>, Option<Left>), KernelError>;

/// What was seen.
#[derive(Debug)]
pub(super) struct Sight {
    /// The upgrade's number.
    pub(super) upgrade: u64,
    pub(super) seen: Looked,
}

/// Flows of the old sets that a drain waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) counts: FlowCounts,
    /// Age of the eldest.
    pub(super) eldest: Option<Duration>,
}

impl Left {
    /// Takes one of them in.
    pub(super) fn saw(&mut self, flow: &FlowView) {
        add(&mut self.counts, flow);
        self.eldest = self.eldest.max(Some(flow.age));
    }
}

/// An answer to the last datagram may still be on its way for so long.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// A drain of these sets waits for the flow. A quiet conversation whose next datagram goes to the new set anyway is none of
/// those: it would keep an old version for minutes that nobody will talk to again.
pub(super) fn is_waited_for(flow: &FlowView, set_ids: &[u32]) -> bool {
    set_ids.contains(&flow.set_id) && is_held(flow)
}

/// Its backend is not to end before it.
pub(super) fn is_held(flow: &FlowView) -> bool {
    !flow.expired && flow.state != FlowState::Closing && (!flow.moves || flow.idle <= ANSWER_TIME)
}

/// Looks until the owner has gone, or drops its end of `watching`.
pub(super) async fn watch_sets<K: Kernel>(
    kernel: Shared<K>,
    order: Watch,
    mut watching: watch::Receiver<Watching>,
    sights: mpsc::Sender<Sight>,
) {
    let mut poll = POLL_FLOWS_FIRST;
    loop {
        let what = *watching.borrow_and_update();
        let began = Instant::now();
        let seen = look(&kernel, &order, what).await;
        let upgrade = order.upgrade;
        if sights.send(Sight { upgrade, seen }).await.is_err() {
            return;
        }
        let pause = match what {
            Watching::Figures => POLL_FIGURES.saturating_sub(began.elapsed()),
            // Where the table is large, others get at it half of the time.
            Watching::Flows => poll.max(began.elapsed()),
        };
        // A change of what is looked at is not waited for.
        match tokio::time::timeout(pause, watching.changed()).await {
            Ok(Err(_)) => return,
            Ok(Ok(())) => poll = POLL_FLOWS_FIRST,
            Err(_) => poll = (poll * 2).min(POLL_FLOWS_MAX),
        }
    }
}

async fn look<K: Kernel>(kernel: &Shared<K>, order: &Watch, what: Watching) -> Looked {
    let Watch {
        figures_of, flows_of, ..
    } = order.clone();
    kernel
        .run(move |kernel| {
            let figures = kernel.set_counters(&figures_of)?.into_iter().map(to_figures).collect();
            let left = match what {
                Watching::Figures => None,
                Watching::Flows => Some(left(kernel, &flows_of)?),
            };
            Ok((figures, left))
        })
        .await
}

fn left(kernel: &impl Kernel, set_ids: &[u32]) -> Result<Left, KernelError> {
    let mut left = Left::default();
    kernel.for_each_flow(&mut |flow| {
        if is_waited_for(&flow, set_ids) {
            left.saw(&flow);
        }
    })?;
    Ok(left)
}
