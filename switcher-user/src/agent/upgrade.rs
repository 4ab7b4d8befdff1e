//! `upgrade`: what is refused, what it attaches to, how it begins. The agent owns it: whoever asked may leave.

use std::time::{Instant, SystemTime};

use tokio::sync::watch;

use super::answer::Asked;
use super::door::timed_out;
use super::leftovers::look_through;
use super::owner::Owner;
use super::port::{Host, Kernel};
use super::receipts::Draft;
use super::running::Running;
use crate::api::{ApiError, ErrorCode, Progress, Reply, SCHEMA, UpgradeRequest};
use crate::model::{Action, AliasName, LIMITS_MAX};
use crate::plan::{Desired, Rollout, RolloutMove};
use crate::rollout::{Action as Wanted, End, Snapshot, State, advance};

impl<K: Kernel, H: Host> Owner<K, H> {
    pub(super) async fn upgrade(&mut self, mut request: UpgradeRequest, asked: Asked) -> Result<Reply, ApiError> {
        in_form(&mut request)?;
        if let Some(running) = self.running.iter().find(|running| running.rollout.request == request) {
            return Ok(Reply::Progress(attached(running.progress.subscribe(), asked.deadline)));
        }
        self.refuse_busy(&request.aliases)?;
        let (rollout, after) = self.plan_rollout(request, asked)?;
        let mut draft = Draft::new(Action::Upgrade, asked, &self.desired, &after);
        draft.name_moves(&rollout);
        let mut running = self.new_running(rollout, draft);
        if !running.rollout.only_drains() {
            running.draft = running.draft.before(&self.kernel).await?;
            self.begin(&mut running, asked).await?;
        } else if !running.has_old_sets() {
            let (_, progress) = watch::channel(Progress::finished(running.draft.nothing_to_do(self.epoch)));
            return Ok(Reply::Progress(progress));
        } else if Instant::now() >= asked.deadline {
            return Err(timed_out());
        } else {
            running.rollout.state = State::Draining {
                since_ms: running.now_ms(),
            };
        }
        let seen = running.progress.subscribe();
        if matches!(running.rollout.state, State::Done(_)) {
            self.settle(running).await;
        } else {
            self.run_on(running);
        }
        Ok(Reply::Progress(seen))
    }

    /// What moves at each alias, and what is wanted when it has ended.
    pub(super) fn plan_rollout(&self, request: UpgradeRequest, asked: Asked) -> Result<(Rollout, Desired), ApiError> {
        let mut after = (*self.desired).clone();
        let mut moves = Vec::with_capacity(request.aliases.len());
        for name in &request.aliases {
            let one = after.upgrade(name, request.from.as_ref(), &request.to)?;
            let alias = self.desired.alias(name)?;
            moves.push(RolloutMove {
                alias: name.clone(),
                from: one.from,
                changes: one.changed,
                before: alias.split.clone(),
                previous: alias.previous.clone(),
            });
        }
        let timeout = asked.deadline.saturating_duration_since(asked.started);
        let rollout = Rollout {
            request,
            caller: asked.caller,
            started_unix_ms: unix_ms().saturating_sub(super::running::millis(asked.started.elapsed())),
            timeout_ms: super::running::millis(timeout),
            state: State::CheckingHealth,
            moves,
            receipt: None,
        };
        Ok((rollout, after))
    }

    /// The first step, while the command waits: what fails here is its answer, and nothing has changed.
    async fn begin(&mut self, running: &mut Running, asked: Asked) -> Result<(), ApiError> {
        if Instant::now() >= asked.deadline {
            return Err(timed_out());
        }
        let order = running.order();
        let seen = Snapshot {
            health: self.health_of(&running.rollout),
            ..Snapshot::default()
        };
        let (state, wanted) = advance(&order, State::CheckingHealth, &seen, running.now_ms());
        running.rollout.state = state;
        if let State::Done(End::Refused { why, .. }) = &running.rollout.state {
            return Err(refused(why));
        }
        if let Some(Wanted::Flip { step }) = wanted {
            self.flip_step(running, step, asked.deadline).await?;
            let flipped = Snapshot {
                flip: Some(Ok(())),
                ..Snapshot::default()
            };
            let state = running.rollout.state.clone();
            (running.rollout.state, _) = advance(&order, state, &flipped, running.now_ms());
            if !running.is_observed() {
                self.look_at_once(running).await;
            }
            if !matches!(running.rollout.state, State::Done(_)) {
                self.write_early(running).await;
                self.keep_rollout(&running.rollout).await;
            }
        }
        Ok(())
    }

    /// Nobody asked for more than the switch: the first look is made here, right behind the flip. Where it finds no flow of the
    /// old set, nothing is to be written about a wait: what was saved before the flip is what an agent that is killed
    /// meanwhile goes on from.
    async fn look_at_once(&mut self, running: &mut Running) {
        let looked = look_through(&self.kernel, running.watch().figures_of, running.sought()).await;
        let Ok(through) = looked else {
            // The looks to come fail too, and the machine judges by them.
            return;
        };
        running.found = Some(through.leftovers);
        let mut seen = self.take_sight(running, Ok((through.figures, Some(through.left))));
        self.advance_all(running, &mut seen).await;
        if !matches!(running.rollout.state, State::Done(_)) {
            // The look that ends it finds others.
            running.found = None;
        }
    }
}

impl Running {
    pub(super) fn concerns(&self, alias: &AliasName) -> bool {
        self.rollout.request.aliases.contains(alias)
    }

    /// What it does, as a part of a sentence.
    pub(super) fn what(&self) -> String {
        let request = &self.rollout.request;
        let aliases: Vec<&str> = request.aliases.iter().map(AliasName::as_str).collect();
        format!("upgrade of {} to {}", aliases.join(", "), request.to)
    }

    pub(super) fn busy(&self) -> ApiError {
        let message = format!(
            "the {} is running; nothing was changed: wait until it has ended, then try again",
            self.what()
        );
        ApiError::new(ErrorCode::Busy, message)
    }
}

/// Aliases in order, each once; else a request is refused whatever the agent has.
pub(super) fn in_form(request: &mut UpgradeRequest) -> Result<(), ApiError> {
    request.aliases.sort_unstable();
    request.aliases.dedup();
    if request.aliases.is_empty() {
        return Err(ApiError::new(
            ErrorCode::Invalid,
            "no alias is named; name at least one",
        ));
    }
    if request.rollout.fail_on.len() > LIMITS_MAX {
        let text = format!("more than {LIMITS_MAX} limits; leave some out");
        return Err(ApiError::new(ErrorCode::Invalid, text));
    }
    if request
        .rollout
        .check
        .as_ref()
        .is_some_and(|check| check.trim().is_empty())
    {
        let text = "the check is an empty command, which would always pass; name one, or leave it out";
        return Err(ApiError::new(ErrorCode::Invalid, text));
    }
    Ok(())
}

/// A set whose health check fails gets nothing.
pub(super) fn refused(why: &str) -> ApiError {
    ApiError::new(ErrorCode::Refused, format!("{why}; nothing was changed"))
}

pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, super::running::millis)
}

/// What runs, for a command that came later: its own time ends its wait, and nothing else.
fn attached(mut running: watch::Receiver<Progress>, deadline: Instant) -> watch::Receiver<Progress> {
    let (progress, seen) = watch::channel(running.borrow_and_update().clone());
    tokio::spawn(async move {
        let copying = async {
            while !progress.borrow().is_end() && running.changed().await.is_ok() {
                progress.send_replace(running.borrow_and_update().clone());
            }
        };
        if tokio::time::timeout_at(deadline.into(), copying).await.is_err() {
            progress.send_replace(Progress::StillRunning { schema: SCHEMA });
        }
    });
    seen
}
