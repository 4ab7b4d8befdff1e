//! Rollouts that run: each look at the kernel goes through the machine, and what that asks for through the one door.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::check::CheckTask;
use super::door::Look;
use super::drain::{Left, Looked, Sight, Watch, Watching, watch_sets};
use super::flows::figures;
use super::leftovers::{Leftovers, Sought, look_through};
use super::owner::Owner;
use super::port::{Host, Kernel, Shared};
use super::receipts::Draft;
use super::reset::{ResetTask, Tally};
use super::upgrade::{refused, unix_ms};
use crate::api::{ApiError, ErrorCode, Progress, SCHEMA, SetProgress};
use crate::model::{
    AliasName, Confirm, DrainAction, DrainResult, FlipTime, Outcome, SetFigures, SetName, StepReport, StepSet,
};
use crate::plan::{Desired, Rollout};
use crate::rollout::{Action, Check, End, Health, Order, Pace, Snapshot, State, Verdict, Window, advance, judge};

/// A flip that the machine has decided on must not be cut short: the command's time is the machine's to keep.
const FLIP_TIME: Duration = Duration::from_secs(60);

/// A command whose time is up ends when switching back has failed this often; the agent goes on trying.
const FAILED_TOLD: u32 = 5;

/// A flow that was established this long ago should have had a reply.
const REPLY_TIME_MS: u64 = 2_000;

/// A rollout that runs.
#[derive(Debug)]
pub(super) struct Running {
    /// Its number, of this agent.
    pub(super) id: u64,
    pub(super) rollout: Rollout,
    pub(super) draft: Draft,
    pub(super) progress: watch::Sender<Progress>,
    /// The sets that it is about, in the order of all lists of figures here.
    sets: Vec<Watched>,
    /// Figures when the step began.
    base: Vec<SetFigures>,
    /// Epoch of the step's own image.
    step_epoch: u64,
    /// The step's own flip; none where an earlier agent made it.
    step_flip: Option<FlipTime>,
    /// The last look.
    last: Vec<SetFigures>,
    /// Figures when the rollout began.
    past: Vec<SetFigures>,
    /// When which set had established how many flows in this step: the last two seconds.
    established: VecDeque<(u64, Vec<u64>)>,
    /// What backends' accept queues had dropped before it.
    overflows: BTreeMap<SocketAddr, u64>,
    check: Option<CheckTask>,
    resets: Option<ResetTask>,
    left: Option<Left>,
    /// What the last look found of who is left and what failed, where it looked for that.
    pub(super) found: Option<Leftovers>,
    /// Flows when the drain was first looked at.
    at_first: Option<u64>,
    pace: Pace,
    drain_began_ms: Option<u64>,
    clock: Clock,
    watching: watch::Sender<Watching>,
}

#[derive(Clone, Debug)]
struct Watched {
    alias: AliasName,
    set: SetName,
    id: u32,
    is_new: bool,
}

/// Time since the rollout began, also where an earlier agent began it.
#[derive(Clone, Copy, Debug)]
struct Clock {
    base: Instant,
    offset_ms: u64,
}

impl Running {
    pub(super) fn now_ms(&self) -> u64 {
        self.clock.offset_ms + millis(self.clock.base.elapsed())
    }

    pub(super) fn order(&self) -> Order {
        let request = &self.rollout.request;
        Order {
            steps: request.rollout.steps.percent().to_vec(),
            interval_ms: request.rollout.interval_ms,
            min_flows: request.rollout.min_flows,
            checked: request.rollout.check.is_some(),
            drain_timeout_ms: request.drain_timeout_ms,
            resets: request.rollout.drain_action == DrainAction::Reset,
            deadline_ms: self.rollout.timeout_ms,
            only_drains: self.rollout.only_drains(),
        }
    }

    /// The command's time is up and going back fails: it goes on, but nobody is to wait for it.
    fn is_late_with_its_end(&self) -> bool {
        let fails = matches!(self.rollout.state, State::RollingBack { failed, .. } if failed >= FAILED_TOLD);
        fails && self.now_ms() >= self.rollout.timeout_ms
    }

    pub(super) fn has_old_sets(&self) -> bool {
        self.sets.iter().any(|set| !set.is_new)
    }

    fn ids(&self) -> Vec<u32> {
        self.sets.iter().map(|set| set.id).collect()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let new = self.since_step().filter(|(set, _)| set.is_new);
        let verdict = self.verdict();
        let (tally, unreadable) = match self.resets.as_ref().map(ResetTask::seen) {
            Some(Err(why)) => (Tally::default(), Some(why)),
            Some(Ok(tally)) => (tally, None),
            None => (Tally::default(), None),
        };
        Snapshot {
            check: self.check.as_ref().map_or(Check::Waiting, CheckTask::seen),
            breach: verdict.now,
            breach_at_end: verdict.at_end,
            new_flows: new.map(|(_, figures)| figures.flows_opened).sum(),
            left: self.left.map(|left| left.counts.live()),
            resetting: tally.running,
            reset_failed: tally.failed,
            unreadable,
            ..Snapshot::default()
        }
    }

    /// What each set had since the step began.
    fn since_step(&self) -> impl Iterator<Item = (&Watched, SetFigures)> {
        let pairs = self.base.iter().zip(&self.last);
        self.sets
            .iter()
            .zip(pairs)
            .map(|(set, (base, last))| (set, last.since(base)))
    }

    /// What is known of each alias, the first breach first.
    fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        let limits = &self.rollout.request.rollout.fail_on;
        let (now, several) = (self.now_ms(), self.rollout.request.aliases.len() > 1);
        let waited = self
            .established
            .front()
            .filter(|(at, _)| now.saturating_sub(*at) >= REPLY_TIME_MS);
        let since: Vec<(&Watched, SetFigures)> = self.since_step().collect();
        for (at, (set, new)) in since.iter().enumerate().filter(|(_, (set, _))| set.is_new) {
            let old = since
                .iter()
                .position(|(other, _)| !other.is_new && other.alias == set.alias);
            let established = |at: usize| waited.map_or(0, |(_, counts)| counts[at]);
            let window = Window {
                new: *new,
                old: old.map_or_else(SetFigures::default, |old| since[old].1),
                new_waited: established(at),
                old_waited: old.map_or(0, established),
                past: old.and_then(|old| self.past.get(old).copied()).unwrap_or_default(),
            };
            let one = judge(&window, limits);
            let named = |why: String| {
                if several {
                    format!("alias {}: {why}", set.alias)
                } else {
                    why
                }
            };
            verdict.now = verdict.now.or(one.now.map(named));
            verdict.at_end = verdict.at_end.or(one.at_end.map(named));
        }
        verdict
    }

    /// A step begins: nothing of the one before counts.
    fn begin_step(&mut self, step: usize, base: Vec<SetFigures>) {
        self.last.clone_from(&base);
        if self.past.is_empty() {
            self.past.clone_from(&base);
        }
        self.base = base;
        self.established.clear();
        let request = &self.rollout.request;
        self.check = request.rollout.check.as_ref().map(|command| {
            let aliases: Vec<&str> = request.aliases.iter().map(AliasName::as_str).collect();
            let percent = request.rollout.steps.percent().get(step).copied().unwrap_or(100);
            let environment = vec![
                ("SWITCHER_ALIAS", aliases.join(" ")),
                ("SWITCHER_SET", request.to.to_string()),
                ("SWITCHER_STEP", (step + 1).to_string()),
                ("SWITCHER_PERCENT", percent.to_string()),
            ];
            CheckTask::begin(command, environment)
        });
    }

    /// Takes a look.
    fn saw(&mut self, figures: Vec<SetFigures>, left: Option<Left>) {
        (self.last, self.left) = (figures, left);
        if let Some(left) = left.map(|left| left.counts.live()) {
            self.at_first.get_or_insert(left);
            let now = self.now_ms();
            self.pace.saw(now, left);
        }
        let established = self.since_step().map(|(_, since)| since.flows_established).collect();
        let now = self.now_ms();
        self.established.push_back((now, established));
        // The front is the youngest look that is old enough.
        let old = |at: Option<&(u64, Vec<u64>)>| at.is_some_and(|(at, _)| now.saturating_sub(*at) >= REPLY_TIME_MS);
        while old(self.established.get(1)) {
            self.established.pop_front();
        }
    }

    /// Notes what was made of a step that is over.
    fn note_step(&mut self, step: usize, since_ms: u64, judgement: &str) {
        if !self.is_observed() {
            return;
        }
        let set = |one: (&Watched, SetFigures)| StepSet {
            alias: one.0.alias.clone(),
            set: one.0.set.clone(),
            is_new: one.0.is_new,
            figures: one.1,
        };
        let report = StepReport {
            percent: self.order().steps[step],
            epoch: self.step_epoch,
            flip: self.step_flip.clone(),
            observed_ms: self.now_ms().saturating_sub(since_ms),
            judgement: judgement.to_owned(),
            sets: self.since_step().map(set).collect(),
        };
        self.draft.steps.push(report);
    }

    /// What a look for it looks at.
    pub(super) fn watch(&self) -> Watch {
        Watch {
            upgrade: self.id,
            figures_of: self.ids(),
            flows_of: self.sets.iter().filter(|set| !set.is_new).map(|set| set.id).collect(),
        }
    }

    /// Somebody asked for more than a switch.
    pub(super) fn is_observed(&self) -> bool {
        let options = &self.rollout.request.rollout;
        let order = self.order();
        order.steps() > 1
            || order.interval_ms > 0
            || order.min_flows > 0
            || order.checked
            || !options.fail_on.is_empty()
    }

    fn report(&self, epoch: u64) {
        let order = self.order();
        let now = self.now_ms();
        let progress = match &self.rollout.state {
            State::Observing { step, since_ms } => Progress::Observing {
                schema: SCHEMA,
                epoch,
                step: step + 1,
                steps: order.steps(),
                percent: order.steps[*step],
                left_ms: (since_ms + order.interval_ms).saturating_sub(now),
                observed_ms: now.saturating_sub(*since_ms),
                sets: self.side_by_side(),
            },
            State::Draining { since_ms } => {
                let left_ms = (since_ms + order.drain_timeout_ms).saturating_sub(now);
                self.draining(epoch, left_ms)
            }
            State::CheckingHealth => checking("the new set is asked by its health check"),
            State::Resetting { since_ms, time_ms } => {
                let left_ms = (since_ms + time_ms).saturating_sub(now);
                self.draining(epoch, left_ms)
            }
            _ => return,
        };
        self.progress.send_replace(progress);
    }

    fn draining(&self, epoch: u64, left_ms: u64) -> Progress {
        let left = self.left.unwrap_or_default();
        Progress::Draining {
            schema: SCHEMA,
            epoch,
            pending: left.counts.pending,
            established: left.counts.established,
            at_first: self.at_first.unwrap_or_default(),
            eldest_ms: left.eldest.map(millis),
            estimate_ms: self.pace.estimate_ms(),
            left_ms,
            sets: self.side_by_side(),
        }
    }

    fn side_by_side(&self) -> Vec<SetProgress> {
        let one = |(set, figures): (&Watched, SetFigures)| SetProgress {
            alias: set.alias.clone(),
            set: set.set.clone(),
            is_new: set.is_new,
            figures,
        };
        self.since_step().map(one).collect()
    }
}

impl<K: Kernel, H: Host> Owner<K, H> {
    pub(super) fn new_running(&mut self, rollout: Rollout, draft: Draft) -> Running {
        // Never one that was there before: a look that was made for that one may still be on its way, and be of other sets.
        self.rollouts_begun += 1;
        let id = self.rollouts_begun;
        let sets = sets_of(&self.desired, &rollout);
        let clock = Clock {
            base: Instant::now(),
            offset_ms: unix_ms().saturating_sub(rollout.started_unix_ms),
        };
        let none = vec![SetFigures::default(); sets.len()];
        Running {
            id,
            progress: watch::Sender::new(checking("the upgrade begins")),
            rollout,
            draft,
            base: none.clone(),
            step_epoch: self.epoch,
            step_flip: None,
            last: none,
            past: Vec::new(),
            established: VecDeque::new(),
            overflows: self.queues.overflows(),
            check: None,
            resets: None,
            sets,
            left: None,
            found: None,
            at_first: None,
            pace: Pace::default(),
            drain_began_ms: None,
            clock,
            watching: watch::Sender::new(Watching::Figures),
        }
    }

    /// Looks at the kernel for it from now on.
    pub(super) fn run_on(&mut self, mut running: Running) {
        let watch = running.watch();
        running.watch_what_matters();
        running.reset_what_is_left(&self.kernel);
        running.report(self.epoch);
        let (kernel, sights) = (self.kernel.clone(), self.sights.0.clone());
        tokio::spawn(watch_sets(kernel, watch, running.watching.subscribe(), sights));
        self.running.push(running);
    }

    /// Rollouts that an earlier agent left: the split on the disk is theirs, and they go on from there.
    pub(super) async fn resume(&mut self) {
        let (left, stale): (Vec<Rollout>, Vec<Rollout>) =
            (self.desired.rollouts.iter().cloned()).partition(|rollout| self.desired.is_still_at(rollout));
        if !stale.is_empty() {
            for rollout in &stale {
                let to = &rollout.request.to;
                tracing::warn!("an upgrade to {to} was left, and its sets or shares are others by now: it is dropped");
            }
            let mut next = (*self.desired).clone();
            next.rollouts.clone_from(&left);
            self.keep(next).await;
        }
        for mut rollout in left {
            let kept = match rollout.receipt {
                Some(id) => self.disk.run(move |store| store.receipt(id)).await.ok(),
                None => None,
            };
            let draft = Draft::resumed(&rollout, kept, &self.desired);
            let mut running = self.new_running(rollout.clone(), draft);
            let now = running.now_ms();
            resume_at(&mut rollout.state, now);
            running.rollout = rollout;
            if let Ok(figures) = figures(&self.kernel, running.ids()).await {
                let step = match running.rollout.state {
                    State::Observing { step, .. } => step,
                    _ => running.order().steps() - 1,
                };
                running.begin_step(step, figures);
            }
            tracing::info!("the {} goes on", running.what());
            self.run_on(running);
        }
    }

    /// A look has come in.
    pub(super) async fn looked(&mut self, sight: Sight) {
        let Some(at) = self.running.iter().position(|running| running.id == sight.upgrade) else {
            return;
        };
        let mut running = self.running.swap_remove(at);
        let mut seen = self.take_sight(&mut running, sight.seen);
        if let (State::CheckingHealth, Health::Waiting(what)) = (&running.rollout.state, &seen.health) {
            running.progress.send_replace(checking(what));
        }
        self.go_on(&mut running, &mut seen).await;
        self.settle(running).await;
    }

    /// What the machine is told of a look.
    pub(super) fn take_sight(&self, running: &mut Running, looked: Looked) -> Snapshot {
        let mut seen = match looked {
            Ok((figures, left)) => {
                running.saw(figures, left);
                running.snapshot()
            }
            Err(error) => Snapshot {
                unreadable: Some(error.to_string()),
                ..running.snapshot()
            },
        };
        seen.health = self.health_of(&running.rollout);
        let overflow = self.overflowed_since(&running.rollout, &running.overflows);
        seen.breach = seen.breach.or(overflow);
        seen
    }

    /// After each move of the machine: it has ended, or it is looked after on.
    pub(super) async fn settle(&mut self, mut running: Running) {
        if let State::Done(End::Refused { why, timed_out }) = &running.rollout.state {
            let error = if *timed_out {
                ApiError::new(
                    ErrorCode::TimedOut,
                    format!("the time was up: {why}; nothing was changed"),
                )
            } else {
                refused(why)
            };
            running.progress.send_replace(refusal(error));
        } else if let State::Done(end) = running.rollout.state.clone() {
            self.finish(running, end).await;
        } else {
            running.watch_what_matters();
            running.reset_what_is_left(&self.kernel);
            if running.is_late_with_its_end() {
                running.progress.send_replace(Progress::StillRunning { schema: SCHEMA });
            } else if running.rollout.state != State::CheckingHealth {
                running.report(self.epoch);
            }
            self.running.push(running);
        }
    }

    pub(super) async fn go_on(&mut self, running: &mut Running, seen: &mut Snapshot) {
        let was = std::mem::discriminant(&running.rollout.state);
        self.advance_all(running, seen).await;
        let state = &running.rollout.state;
        if std::mem::discriminant(state) != was && !matches!(state, State::Done(_)) {
            self.write_early(running).await;
            self.keep_rollout(&running.rollout).await;
        }
    }

    /// The machine, as far as it goes by what was seen. The caller keeps where it is then.
    pub(super) async fn advance_all(&mut self, running: &mut Running, seen: &mut Snapshot) {
        let order = running.order();
        loop {
            let state = running.rollout.state.clone();
            if let State::Draining { since_ms } = state {
                running.drain_began_ms = Some(since_ms);
            }
            let before = state.clone();
            let (state, action) = advance(&order, state, seen, running.now_ms());
            if let State::Observing { step, since_ms } = before
                && state != before
            {
                let judgement = match &state {
                    State::RollingBack { why, .. } => why.as_str(),
                    _ => "passed",
                };
                running.note_step(step, since_ms, judgement);
            }
            let drains = matches!(state, State::Draining { .. }) && state != before;
            running.rollout.state = state;
            let flip = match action {
                // This look has counted the old flows already.
                None if drains && seen.left.is_some() => continue,
                None => break,
                Some(Action::Flip { step }) => self.flip_step(running, step, Instant::now() + FLIP_TIME).await,
                Some(Action::FlipBack) => self.flip_back(running).await,
            };
            seen.flip = Some(flip.map_err(|error| error.message));
        }
    }

    /// The split of a step, with the state that it leads to, on the disk and then in the kernel. The machine moves on when
    /// it is told.
    pub(super) async fn flip_step(
        &mut self,
        running: &mut Running,
        step: usize,
        deadline: Instant,
    ) -> Result<(), ApiError> {
        let base = figures(&self.kernel, running.ids()).await?;
        let percent = running.order().steps[step];
        let mut next = (*self.desired).clone();
        next.rollout_step(&running.rollout, percent)?;
        let mut rollout = running.rollout.clone();
        rollout.state = State::Observing {
            step,
            since_ms: running.now_ms(),
        };
        put_rollout(&mut next, rollout);
        let landed = self.land(next, Look::Recent, deadline).await?;
        (running.step_epoch, running.step_flip) = (landed.epoch, Some(landed.flip.clone()));
        running.draft.landed(landed);
        running.begin_step(step, base);
        Ok(())
    }

    /// Back to what was.
    async fn flip_back(&mut self, running: &mut Running) -> Result<(), ApiError> {
        let mut next: Desired = (*self.desired).clone();
        next.rollout_back(&running.rollout);
        put_rollout(&mut next, running.rollout.clone());
        if running.draft.flip_back.is_some() && next.aliases == self.desired.aliases {
            // The kernel has it already: it is the disk that is missing.
            let next = std::sync::Arc::new(next);
            self.save(std::sync::Arc::clone(&next)).await?;
            self.desired = next;
            return Ok(());
        }
        match self.land(next.clone(), Look::Recent, Instant::now() + FLIP_TIME).await {
            Ok(landed) => running.draft.flip_back = Some(landed.flip),
            Err(error) if error.code == ErrorCode::StoreFailed => {
                running.draft.flip_back = Some(self.flip_unsaved(next).await?);
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Where it is, in the memory and on the disk. A full disk gets it at a later tick: an older place is good enough to go
    /// on from.
    pub(super) async fn keep_rollout(&mut self, rollout: &Rollout) {
        let mut next = (*self.desired).clone();
        put_rollout(&mut next, rollout.clone());
        self.keep(next).await;
    }

    async fn keep(&mut self, next: Desired) {
        self.desired = std::sync::Arc::new(next);
        if let Err(error) = self.save(std::sync::Arc::clone(&self.desired)).await {
            // What has ended must not come back with a later save.
            self.unsaved = true;
            tracing::warn!("where a rollout is could not be kept: {error}; it is tried again");
        }
    }

    /// The receipt, then the record goes, then whoever watches is told.
    pub(super) async fn finish(&mut self, mut running: Running, end: End) {
        if let (Some(left), false) = (running.left, matches!(end, End::Refused { .. })) {
            running.draft.drain = Some(running.drain_result(left));
        }
        let outcome = match end {
            End::Drained => Outcome::Done,
            End::FlowsLeft => Outcome::FlowsLeft,
            End::RolledBack { why } => {
                running.draft.why = Some(why);
                Outcome::RolledBack
            }
            End::Refused { why, .. } | End::Unknown { why } => {
                running.draft.warnings.push(why);
                Outcome::Unknown
            }
        };
        let found = match running.found.take() {
            Some(found) => Ok(found),
            None => look_through(&self.kernel, Vec::new(), running.sought())
                .await
                .map(|through| through.leftovers),
        };
        match found {
            Ok(found) => {
                running.draft.leftovers = found;
                // Flows of a set that stays are not left over.
                if outcome != Outcome::FlowsLeft {
                    running.draft.leftovers.left.clear();
                }
            }
            Err(error) => running
                .draft
                .warnings
                .push(format!("who was left is not known: {error}")),
        }
        let receipt = self.receipt(running.draft, outcome).await;
        let mut next = (*self.desired).clone();
        let had = next.rollouts.len();
        next.rollouts
            .retain(|rollout| rollout.request != running.rollout.request);
        if matches!(outcome, Outcome::Done | Outcome::FlowsLeft) {
            wait_for_confirm(&mut next, &running.rollout);
        }
        if next.rollouts.len() != had {
            self.keep(next).await;
        }
        running.progress.send_replace(Progress::finished(receipt));
    }

    /// The agent is stopped. What runs stays on the disk, and the next agent goes on with it.
    pub(super) async fn leave_rollouts(&mut self) {
        for mut running in std::mem::take(&mut self.running) {
            if running.rollout.state == State::CheckingHealth {
                running.progress.send_replace(refusal(refused("the agent was stopped")));
                continue;
            }
            let text =
                "the agent was stopped before it had ended; the split stands, and the next agent goes on with it";
            running.draft.warnings.push(text.to_owned());
            let receipt = self.receipt(running.draft, Outcome::Unknown).await;
            running.progress.send_replace(Progress::finished(receipt));
        }
    }
}

impl Running {
    fn watch_what_matters(&self) {
        let what = match self.rollout.state {
            State::Draining { .. } | State::Resetting { .. } => Watching::Flows,
            _ => Watching::Figures,
        };
        self.watching
            .send_if_modified(|watching| std::mem::replace(watching, what) != what);
    }

    /// The drain's time is up.
    fn reset_what_is_left<K: Kernel>(&mut self, kernel: &Shared<K>) {
        if !matches!(self.rollout.state, State::Resetting { .. }) {
            self.resets = None;
        } else if self.resets.is_none() {
            let old = self.sets.iter().filter(|set| !set.is_new);
            self.resets = Some(ResetTask::begin(kernel.clone(), old.map(|set| set.id).collect()));
        }
    }

    pub(super) fn sought(&self) -> Sought {
        let old = self.sets.iter().filter(|set| !set.is_new);
        let named = |set: &Watched| (set.id, (set.alias.clone(), set.set.clone()));
        Sought {
            sets: self.sets.iter().map(named).collect(),
            old: old.map(|set| set.id).collect(),
            since_ns: self.draft.first_flip_ns.unwrap_or(u64::MAX),
        }
    }

    fn drain_result(&self, left: Left) -> DrainResult {
        let tally = self.resets.as_ref().and_then(|resets| resets.seen().ok());
        let tally = tally.unwrap_or_default();
        DrainResult {
            timeout_ms: self.rollout.request.drain_timeout_ms,
            waited_ms: self
                .drain_began_ms
                .map_or(0, |began| self.now_ms().saturating_sub(began)),
            at_first: self.at_first.unwrap_or_default(),
            pending_left: left.counts.pending,
            established_left: left.counts.established,
            eldest_left_ms: left.eldest.map(millis),
            reset: tally.reset,
            reset_unanswered: tally.unanswered,
            // What has not come to its end when the time is up may live.
            reset_failed: tally.failed + tally.running,
        }
    }
}

/// Both sets of each alias; the old one only where it is known.
fn sets_of(desired: &Desired, rollout: &Rollout) -> Vec<Watched> {
    let mut sets = Vec::new();
    for one in &rollout.moves {
        let Some(alias) = desired.aliases.get(&one.alias) else {
            continue;
        };
        for (name, is_new) in [(one.from.as_ref(), false), (Some(&rollout.request.to), true)] {
            let Some((name, set)) = name.and_then(|name| alias.sets.get_key_value(name)) else {
                continue;
            };
            sets.push(Watched {
                alias: one.alias.clone(),
                set: name.clone(),
                id: set.id,
                is_new,
            });
        }
    }
    sets
}

/// Windows begin anew, for nobody looked meanwhile; a flip back that was asked for is asked for again.
fn resume_at(state: &mut State, now_ms: u64) {
    match state {
        State::Observing { since_ms, .. } => *since_ms = now_ms,
        State::RollingBack { again_ms, asked, .. } => (*again_ms, *asked) = (now_ms, false),
        State::CheckingHealth
        | State::Flipping { .. }
        | State::Draining { .. }
        | State::Resetting { .. }
        | State::Done(_) => {}
    }
}

fn put_rollout(desired: &mut Desired, rollout: Rollout) {
    desired.rollouts.retain(|other| other.request != rollout.request);
    desired.rollouts.push(rollout);
}

/// With `--confirm manual` the old sets are kept until somebody confirms.
fn wait_for_confirm(desired: &mut Desired, rollout: &Rollout) {
    for one in rollout.moves.iter().filter(|one| one.changes) {
        if let Some(alias) = desired.aliases.get_mut(&one.alias) {
            alias.unconfirmed = match rollout.request.rollout.confirm {
                Confirm::Manual => one.from.clone(),
                Confirm::Auto => None,
            };
        }
    }
}

fn checking(what: &str) -> Progress {
    Progress::Checking {
        schema: SCHEMA,
        what: what.to_owned(),
    }
}

fn refusal(error: ApiError) -> Progress {
    Progress::Refused {
        schema: SCHEMA,
        error: Box::new(error),
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
