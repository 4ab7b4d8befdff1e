//! Upgrades: move the share at once, then wait for the old set's flows. The agent owns it: whoever asked may leave.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::answer::Asked;
use super::door::{Look, timed_out};
use super::drain::{DrainEnd, DrainOrder, Ended, drain, draining};
use super::owner::Owner;
use super::port::{Host, Kernel};
use super::receipts::Draft;
use crate::api::{ApiError, ErrorCode, FlowCounts, Progress, Reply, SCHEMA, UpgradeRequest};
use crate::model::{Action, AliasName, Outcome};
use crate::plan::{Desired, Move, Split};

/// A roll-back after the command's time must not itself be cut short.
const ROLL_BACK_TIME: Duration = Duration::from_secs(60);

/// An alias with its split, and the one that `rollback` would restore.
type Before = (AliasName, Split, Option<Split>);

/// An upgrade that drains.
#[derive(Debug)]
pub(super) struct Running {
    /// Its number, of this agent.
    pub(super) id: u64,
    pub(super) request: UpgradeRequest,
    /// What it found.
    before: Vec<Before>,
    draft: Draft,
    progress: watch::Sender<Progress>,
}

impl Running {
    pub(super) fn concerns(&self, alias: &AliasName) -> bool {
        self.request.aliases.contains(alias)
    }

    /// What it does, as a part of a sentence.
    pub(super) fn what(&self) -> String {
        let aliases: Vec<&str> = self.request.aliases.iter().map(AliasName::as_str).collect();
        format!("upgrade of {} to {}", aliases.join(", "), self.request.to)
    }

    pub(super) fn busy(&self) -> ApiError {
        let message = format!(
            "the {} is running; nothing was changed: wait until it has ended, then try again",
            self.what()
        );
        ApiError::new(ErrorCode::Busy, message)
    }
}

impl<K: Kernel, H: Host> Owner<K, H> {
    pub(super) async fn upgrade(&mut self, mut request: UpgradeRequest, asked: Asked) -> Result<Reply, ApiError> {
        request.aliases.sort_unstable();
        request.aliases.dedup();
        if request.aliases.is_empty() {
            return Err(ApiError::new(
                ErrorCode::Invalid,
                "no alias is named; name at least one",
            ));
        }
        if let Some(running) = self.running.iter().find(|running| running.request == request) {
            return Ok(Reply::Progress(attached(running.progress.subscribe(), asked.deadline)));
        }
        self.refuse_busy(&request.aliases)?;
        let mut next = (*self.desired).clone();
        let mut moves = Vec::with_capacity(request.aliases.len());
        for alias in &request.aliases {
            moves.push(next.upgrade(alias, request.from.as_ref(), &request.to)?);
        }
        let set_ids = self.drained_sets(&request, &moves);
        let before = self.splits(&request.aliases);
        let mut draft = Draft::new(Action::Upgrade, asked, &self.desired, &next);
        draft.name_moves(&request, &moves);
        if moves.iter().any(|one| one.changed) {
            draft = draft.before(&self.kernel).await?;
            draft.landed(self.land(next, Look::Recent, asked.deadline).await?);
            self.write_early(&mut draft).await;
        } else if set_ids.is_empty() {
            let (_, progress) = watch::channel(Progress::finished(draft.nothing_to_do(self.epoch)));
            return Ok(Reply::Progress(progress));
        } else if Instant::now() >= asked.deadline {
            return Err(timed_out());
        }
        Ok(Reply::Progress(
            self.begin_drain(request, before, draft, set_ids, asked),
        ))
    }

    fn drained_sets(&self, request: &UpgradeRequest, moves: &[Move]) -> Vec<u32> {
        let number =
            |(alias, one): (&AliasName, &Move)| Some(self.desired.aliases.get(alias)?.sets.get(one.from.as_ref()?)?.id);
        request.aliases.iter().zip(moves).filter_map(number).collect()
    }

    fn splits(&self, aliases: &[AliasName]) -> Vec<Before> {
        let of = |name: &AliasName| {
            let alias = self.desired.aliases.get(name)?;
            Some((name.clone(), alias.split.clone(), alias.previous.clone()))
        };
        aliases.iter().filter_map(of).collect()
    }

    fn begin_drain(
        &mut self,
        request: UpgradeRequest,
        before: Vec<Before>,
        draft: Draft,
        set_ids: Vec<u32>,
        asked: Asked,
    ) -> watch::Receiver<Progress> {
        let id = self.running.iter().map(|running| running.id).max().unwrap_or(0) + 1;
        let order = DrainOrder {
            upgrade: id,
            set_ids,
            epoch: self.epoch,
            timeout: Duration::from_millis(request.drain_timeout_ms),
            command_deadline: asked.deadline,
        };
        let (progress, seen) = watch::channel(draining(&order, FlowCounts::default(), order.timeout));
        self.drains.spawn(drain(self.kernel.clone(), order, progress.clone()));
        self.running.push(Running {
            id,
            request,
            before,
            draft,
            progress,
        });
        seen
    }

    /// A drain is over: switch back where the command's time was up, write the receipt, tell whoever watches.
    pub(super) async fn drained(&mut self, end: DrainEnd) {
        let Some(at) = self.running.iter().position(|running| running.id == end.upgrade) else {
            return;
        };
        let mut running = self.running.swap_remove(at);
        running.draft.drain = Some(end.result);
        let outcome = match end.ended {
            Ok(Ended::Empty) => Outcome::Done,
            Ok(Ended::FlowsLeft) => Outcome::FlowsLeft,
            Ok(Ended::TimedOut) => self.roll_back(&mut running).await,
            Err(error) => {
                running
                    .draft
                    .warnings
                    .push(format!("the old flows could not be counted: {error}"));
                Outcome::Unknown
            }
        };
        let receipt = self.receipt(running.draft, outcome).await;
        running.progress.send_replace(Progress::finished(receipt));
    }

    /// The agent is stopped: what runs has switched, and nobody waits for its drain any more.
    pub(super) async fn leave_drains(&mut self) {
        for mut running in std::mem::take(&mut self.running) {
            let text = "the agent was stopped before the drain had ended; the switch stands".to_owned();
            running.draft.warnings.push(text);
            let receipt = self.receipt(running.draft, Outcome::Unknown).await;
            running.progress.send_replace(Progress::finished(receipt));
        }
    }

    async fn roll_back(&mut self, running: &mut Running) -> Outcome {
        if !running.draft.has_landed() {
            return Outcome::FlowsLeft;
        }
        match self.flip_back(&running.before).await {
            Ok(flip) => {
                running.draft.flip_back = Some(flip);
                Outcome::RolledBack
            }
            Err(error) => {
                running
                    .draft
                    .warnings
                    .push(format!("the time was up, but switching back failed: {error}"));
                Outcome::Unknown
            }
        }
    }

    /// Back to what was, `previous` too: else a `rollback` that follows would go forward again.
    async fn flip_back(&mut self, before: &[Before]) -> Result<crate::model::FlipTime, ApiError> {
        let mut next: Desired = (*self.desired).clone();
        for (name, split, previous) in before {
            if let Some(alias) = next.aliases.get_mut(name) {
                alias.split.clone_from(split);
                alias.previous.clone_from(previous);
            }
        }
        Ok(self
            .land(next, Look::Recent, Instant::now() + ROLL_BACK_TIME)
            .await?
            .flip)
    }
}

/// What runs, for a command that came later: its own time ends its wait, and nothing else.
fn attached(mut running: watch::Receiver<Progress>, deadline: Instant) -> watch::Receiver<Progress> {
    let (progress, seen) = watch::channel(running.borrow_and_update().clone());
    tokio::spawn(async move {
        let copying = async {
            while !matches!(*progress.borrow(), Progress::Finished { .. }) && running.changed().await.is_ok() {
                progress.send_replace(running.borrow_and_update().clone());
            }
        };
        if tokio::time::timeout_at(deadline.into(), copying).await.is_err() {
            progress.send_replace(Progress::StillRunning { schema: SCHEMA });
        }
    });
    seen
}
