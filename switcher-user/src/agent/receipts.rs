//! Receipts: gathered while a change runs, written when it has ended.

use std::time::{Duration, Instant, SystemTime};

use super::answer::Asked;
use super::door::Landed;
use super::flows::figures;
use super::leftovers::Leftovers;
use super::owner::Owner;
use super::port::{Host, Kernel, Shared};
use super::running::Running;
use super::upgrade::unix_ms;
use super::who::who;
use crate::api::{ApiError, ChangeStatus, SCHEMA};
use crate::kernel::KernelError;
use crate::model::{
    Action, AliasChange, AliasName, Caller, DrainResult, FlipTime, LastNewFlow, Outcome, Receipt, SetChange,
    SetFigures, SetName, StepReport,
};
use crate::plan::{Desired, Rollout, weights_text};

/// A set that had a share before or has one after.
#[derive(Clone, Debug)]
struct Watched {
    alias: AliasName,
    set: SetName,
    id: u32,
    had: bool,
    has: bool,
    before: SetFigures,
}

/// A receipt that is being gathered.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    action: Action,
    caller: Caller,
    started: Instant,
    started_at: SystemTime,
    aliases: Vec<AliasChange>,
    watched: Vec<Watched>,
    landed: Option<Landed>,
    first_flip: Option<FlipTime>,
    /// When the first flip was asked for; CLOCK_MONOTONIC.
    pub(super) first_flip_ns: Option<u64>,
    pub(super) leftovers: Leftovers,
    /// The number that it was written under before it had ended.
    pub(super) written_as: Option<u64>,
    pub(super) flip_back: Option<FlipTime>,
    pub(super) drain: Option<DrainResult>,
    /// Why it was rolled back.
    pub(super) why: Option<String>,
    pub(super) steps: Vec<StepReport>,
    pub(super) warnings: Vec<String>,
}

impl Draft {
    /// What will change: the splits that differ.
    pub(super) fn new(action: Action, asked: Asked, old: &Desired, new: &Desired) -> Self {
        let mut draft = Self {
            action,
            caller: asked.caller,
            started: asked.started,
            started_at: SystemTime::now()
                .checked_sub(asked.started.elapsed())
                .unwrap_or(SystemTime::UNIX_EPOCH),
            aliases: Vec::new(),
            watched: Vec::new(),
            landed: None,
            first_flip: None,
            first_flip_ns: None,
            leftovers: Leftovers::default(),
            written_as: None,
            flip_back: None,
            drain: None,
            why: None,
            steps: Vec::new(),
            warnings: Vec::new(),
        };
        for (name, alias) in &new.aliases {
            let before = old.aliases.get(name);
            let had = before.map(|before| before.split.weights.clone()).unwrap_or_default();
            let has = alias.split.weights.clone();
            if before.map(|before| &before.split) == Some(&alias.split) || (had.is_empty() && has.is_empty()) {
                continue;
            }
            let mut sets: Vec<SetName> = had.keys().chain(has.keys()).cloned().collect();
            sets.sort_unstable();
            sets.dedup();
            for set in sets {
                let of = |desired: &Desired| Some(desired.aliases.get(name)?.sets.get(&set)?.id);
                let Some(id) = of(new).or_else(|| of(old)) else {
                    continue;
                };
                let (had, has) = (had.contains_key(&set), has.contains_key(&set));
                draft.watched.push(Watched {
                    alias: name.clone(),
                    set,
                    id,
                    had,
                    has,
                    before: SetFigures::default(),
                });
            }
            draft.aliases.push(AliasChange {
                alias: name.clone(),
                from: None,
                to: None,
                before: had,
                after: has,
            });
        }
        draft
    }

    /// True where no split changes.
    pub(super) const fn is_empty(&self) -> bool {
        self.aliases.is_empty()
    }

    /// Names what moves where, of an upgrade.
    pub(super) fn name_moves(&mut self, rollout: &Rollout) {
        for one in &rollout.moves {
            if let Some(change) = self.aliases.iter_mut().find(|change| change.alias == one.alias) {
                change.from.clone_from(&one.from);
                change.to = Some(rollout.request.to.clone());
            }
        }
    }

    /// What an earlier agent gathered, from the receipt that it wrote after the first flip.
    pub(super) fn resumed(rollout: &Rollout, kept: Option<Receipt>, desired: &Desired) -> Self {
        let elapsed = Duration::from_millis(unix_ms().saturating_sub(rollout.started_unix_ms));
        let now = Instant::now();
        let asked = Asked {
            caller: rollout.caller,
            started: now.checked_sub(elapsed).unwrap_or(now),
            deadline: now,
        };
        let (mut old, mut new) = (desired.clone(), desired.clone());
        old.rollout_back(rollout);
        // An alias of a running rollout cannot be removed, and there is nothing else that can fail.
        let _ = new.rollout_step(rollout, 100);
        let mut draft = Self::new(Action::Upgrade, asked, &old, &new);
        draft.name_moves(rollout);
        draft
            .warnings
            .push("the agent was started anew while this ran".to_owned());
        draft.written_as = rollout.receipt;
        let Some(kept) = kept else { return draft };
        draft.steps = kept.steps;
        draft.first_flip = kept.first_flip.or_else(|| kept.flip.clone());
        draft.first_flip_ns = draft.first_flip.as_ref().map(|flip| flip.before_ns);
        draft.landed = kept.flip.map(|flip| Landed {
            epoch_before: kept.epoch_before,
            epoch: kept.epoch_after,
            flip,
        });
        for watched in &mut draft.watched {
            let same = |set: &&SetChange| set.alias == watched.alias && set.set == watched.set;
            if let Some(set) = kept.sets.iter().find(same) {
                watched.before = set.before;
            }
        }
        draft
    }

    /// Takes the figures before the flip.
    pub(super) async fn before<K: Kernel>(mut self, kernel: &Shared<K>) -> Result<Self, KernelError> {
        let before = figures(kernel, self.ids()).await?;
        for (watched, before) in self.watched.iter_mut().zip(before) {
            watched.before = before;
        }
        Ok(self)
    }

    /// A flip has landed; the last one counts, from where the first began.
    pub(super) fn landed(&mut self, landed: Landed) {
        let epoch_before = self
            .landed
            .as_ref()
            .map_or(landed.epoch_before, |first| first.epoch_before);
        self.first_flip_ns.get_or_insert(landed.flip.before_ns);
        self.first_flip.get_or_insert_with(|| landed.flip.clone());
        self.landed = Some(Landed { epoch_before, ..landed });
    }

    pub(super) const fn has_landed(&self) -> bool {
        self.landed.is_some()
    }

    fn ids(&self) -> Vec<u32> {
        self.watched.iter().map(|watched| watched.id).collect()
    }

    /// The answer where it was so already. It is not kept.
    pub(super) fn nothing_to_do(self, epoch: u64) -> Receipt {
        let mut receipt = self.finish(Outcome::NothingToDo, &[]);
        (receipt.epoch_before, receipt.epoch_after) = (epoch, epoch);
        receipt
    }

    fn finish(self, outcome: Outcome, after: &[SetFigures]) -> Receipt {
        let last_new_flows = self.last_new_flows(outcome, after);
        let unpinned_flows = after.iter().map(|figures| figures.flows_unpinned).sum();
        let statements = statements(&last_new_flows, outcome, unpinned_flows, after.is_empty());
        let message = self.message(outcome);
        let last_flip = self.landed.as_ref().map(|landed| landed.flip.before_ns);
        let sets = self.watched.iter().zip(after).map(|(watched, after)| SetChange {
            alias: watched.alias.clone(),
            set: watched.set.clone(),
            before: watched.before,
            after: *after,
        });
        Receipt {
            schema: SCHEMA,
            id: self.written_as,
            action: self.action,
            outcome,
            exit_code: outcome.exit_code(),
            message,
            caller: self.caller,
            user: None,
            host: None,
            started_at: humantime::format_rfc3339_micros(self.started_at).to_string(),
            command_us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            sets: sets.collect(),
            aliases: self.aliases,
            epoch_before: self.landed.as_ref().map_or(0, |landed| landed.epoch_before),
            epoch_after: self.landed.as_ref().map_or(0, |landed| landed.epoch),
            first_flip: self.first_flip.filter(|first| last_flip != Some(first.before_ns)),
            flip: self.landed.map(|landed| landed.flip),
            flip_back: self.flip_back,
            last_new_flows,
            drain: self.drain,
            left: self.leftovers.left,
            failures: self.leftovers.failures,
            steps: self.steps,
            unpinned_flows,
            statements,
            warnings: self.warnings,
        }
    }

    /// Of the sets that lost their share; after a roll-back these are the sets that had gained it.
    fn last_new_flows(&self, outcome: Outcome, after: &[SetFigures]) -> Vec<LastNewFlow> {
        let back = outcome == Outcome::RolledBack;
        let end = if back {
            self.flip_back.as_ref()
        } else {
            self.landed.as_ref().map(|landed| &landed.flip)
        };
        let Some(end) = end else { return Vec::new() };
        let lost = |watched: &Watched| {
            if back {
                watched.has && !watched.had
            } else {
                watched.had && !watched.has
            }
        };
        let watched = self.watched.iter().zip(after).filter(|(watched, _)| lost(watched));
        watched
            .map(|(watched, after)| LastNewFlow {
                alias: watched.alias.clone(),
                set: watched.set.clone(),
                at_ns: after.last_new_flow_ns,
                before_flip_end: after.last_new_flow_ns <= end.after_ns,
            })
            .collect()
    }

    fn message(&self, outcome: Outcome) -> String {
        let changes: Vec<String> = self.aliases.iter().map(change_text).collect();
        let changes = changes.join("; ");
        let drain = self.drain.unwrap_or_default();
        match outcome {
            Outcome::NothingToDo => "nothing to do: it is so already".to_owned(),
            Outcome::Done if self.action == Action::Upgrade && changes.is_empty() => {
                format!(
                    "nothing to do: it was switched before; the old set has no flow left and may be stopped{}",
                    reset_text(&drain)
                )
            }
            Outcome::Done if self.action == Action::Upgrade => {
                format!(
                    "{changes}: the old set has no flow left and may be stopped{}",
                    reset_text(&drain)
                )
            }
            Outcome::Done => changes,
            Outcome::FlowsLeft => format!(
                "{}: {} flow(s) are left at the old set after {} ms ({} pending, {} established; the eldest is {} old){}",
                if changes.is_empty() {
                    "it was switched before"
                } else {
                    &changes
                },
                drain.left(),
                drain.waited_ms,
                drain.pending_left,
                drain.established_left,
                seconds(drain.eldest_left_ms.unwrap_or_default()),
                reset_text(&drain),
            ),
            Outcome::RolledBack => {
                let why = self.why.as_deref().unwrap_or("the time was up");
                format!("rolled back: {why} ({changes})")
            }
            Outcome::Unknown => format!("{changes}: how it ended is not known; run: switcher status"),
        }
    }
}

/// `1.2 s` of 1234.
fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

/// What was done to the flows that the drain left.
fn reset_text(drain: &DrainResult) -> String {
    let mut text = String::new();
    if drain.reset > 0 {
        text += &format!("; {} flow(s) were reset when the drain's time was up", drain.reset);
    }
    if drain.reset_unanswered > 0 {
        let silent = drain.reset_unanswered;
        text += &format!(" ({silent} of them with an end that was silent)");
    }
    if drain.reset_failed > 0 {
        let failed = drain.reset_failed;
        text += &format!("; {failed} could not be reset for certain, and count as left");
    }
    text
}

fn change_text(change: &AliasChange) -> String {
    let (alias, before, after) = (&change.alias, weights_text(&change.before), weights_text(&change.after));
    format!("alias {alias}: {before} -> {after}")
}

fn statements(last: &[LastNewFlow], outcome: Outcome, unpinned_flows: u64, no_figures: bool) -> Vec<String> {
    // After a roll-back it is the set that had gained its share which must be quiet.
    let flip = if outcome == Outcome::RolledBack {
        "flip back"
    } else {
        "flip"
    };
    let mut all: Vec<String> = last
        .iter()
        .map(|last| match (last.at_ns, last.before_flip_end) {
            (0, _) => format!("no new flow ever chose set {} of alias {}", last.set, last.alias),
            (_, true) => format!(
                "no new flow chose set {} of alias {} after the {flip} returned",
                last.set, last.alias
            ),
            (_, false) => format!(
                "a new flow chose set {} of alias {} AFTER the {flip} returned: the switch was not final",
                last.set, last.alias
            ),
        })
        .collect();
    match unpinned_flows {
        _ if no_figures => {}
        0 => all.push("every flow of these sets was pinned: the switch moved no established flow".to_owned()),
        count => all.push(format!(
            "{count} flow(s) of these sets found the flow table full and were not pinned: the switch may have cut them"
        )),
    }
    all
}

impl<K: Kernel, H: Host> Owner<K, H> {
    /// Writes what is known right after the first flip: an agent that dies while it waits must not have forgotten the switch.
    pub(super) async fn write_early(&self, running: &mut Running) {
        let draft = &mut running.draft;
        if running.rollout.receipt.is_some() || !draft.has_landed() {
            return;
        }
        let mut early = draft.clone();
        early.warnings.push(
            "the drain had not ended when this was written: either it still runs (run: switcher status), or the agent ended before it did".to_owned(),
        );
        draft.written_as = self.written(early, Outcome::Unknown).await.id;
        running.rollout.receipt = draft.written_as;
    }

    /// Takes the figures at the end and writes the receipt. What fails here is a warning: the change has happened.
    pub(super) async fn receipt(&mut self, draft: Draft, outcome: Outcome) -> Receipt {
        let receipt = self.written(draft, outcome).await;
        for change in &receipt.aliases {
            self.changes.insert(change.alias.clone(), ChangeStatus::from(&receipt));
        }
        self.changes.retain(|alias, _| self.desired.aliases.contains_key(alias));
        receipt
    }

    async fn written(&self, mut draft: Draft, outcome: Outcome) -> Receipt {
        let after = match figures(&self.kernel, draft.ids()).await {
            Ok(after) => after,
            Err(error) => {
                draft
                    .warnings
                    .push(format!("the figures at the end could not be read: {error}"));
                Vec::new()
            }
        };
        let landed = draft.has_landed();
        let mut receipt = draft.finish(outcome, &after);
        if !landed {
            (receipt.epoch_before, receipt.epoch_after) = (self.epoch, self.epoch);
        } else if outcome == Outcome::RolledBack {
            receipt.epoch_after = self.epoch;
        }
        let unwritten = receipt.clone();
        let written = self.disk.run(move |store| {
            (receipt.user, receipt.host) = who(receipt.caller.uid);
            let unkept = store.put_receipt(&mut receipt).err();
            let text = unkept.map(|error| format!("the receipt could not be kept: {}", ApiError::from(error)));
            receipt.warnings.extend(text);
            Ok(receipt)
        });
        written.await.unwrap_or_else(|error| {
            let mut receipt = unwritten;
            receipt.warnings.push(format!("the receipt could not be kept: {error}"));
            receipt
        })
    }
}
