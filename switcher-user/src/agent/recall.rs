//! `rollback` while an upgrade of the alias runs: the upgrade ends, and what it has moved goes back, at all of its aliases at once.

use std::sync::Arc;
use std::time::Instant;

use super::answer::Asked;
use super::door::{Landed, timed_out};
use super::owner::Owner;
use super::port::{Host, Kernel};
use super::receipts::Draft;
use crate::api::{ApiError, ErrorCode, Reply};
use crate::model::{Action, AliasName, Caller, Outcome};
use crate::rollout::{End, Snapshot, State};

impl<K: Kernel, H: Host> Owner<K, H> {
    /// Calls the rollout at this place back. The answer is a receipt of the roll-back; the upgrade's own receipt says by whom.
    pub(super) async fn recall(&mut self, at: usize, alias: &AliasName, asked: Asked) -> Result<Reply, ApiError> {
        if Instant::now() >= asked.deadline {
            return Err(timed_out());
        }
        let who = who(alias, asked.caller);
        if self.running[at].rollout.only_drains() {
            return self.recall_drain(at, alias, asked, who).await;
        }
        let (old, epoch_before) = (Arc::clone(&self.desired), self.epoch);
        let mut back = (*old).clone();
        back.rollout_back(&self.running[at].rollout);
        let mut draft = Draft::new(Action::Rollback, asked, &old, &back)
            .before(&self.kernel)
            .await?;
        let mut running = self.running.swap_remove(at);
        let mut seen = Snapshot {
            recalled: Some(who),
            ..running.snapshot()
        };
        self.go_on(&mut running, &mut seen).await;
        let ended = matches!(
            running.rollout.state,
            State::Done(End::RolledBack { .. } | End::Refused { .. })
        );
        let (what, flip) = (running.what(), running.draft.flip_back.clone());
        self.settle(running).await;
        if !ended {
            return Err(not_yet(&what));
        }
        let Some(flip) = flip else {
            return Ok(Reply::Receipt(Box::new(draft.nothing_to_do(self.epoch))));
        };
        draft.landed(Landed {
            epoch_before,
            epoch: self.epoch,
            flip,
        });
        Ok(Reply::Receipt(Box::new(self.receipt(draft, Outcome::Done).await)))
    }

    /// The rollout has moved nothing: it waited for flows that an earlier change left behind, and it is that change which goes back.
    async fn recall_drain(
        &mut self,
        at: usize,
        alias: &AliasName,
        asked: Asked,
        who: String,
    ) -> Result<Reply, ApiError> {
        let mut next = (*self.desired).clone();
        next.rollback(alias)?;
        let reply = self.change_split(Action::Rollback, next, asked).await?;
        let mut running = self.running.swap_remove(at);
        if let Reply::Receipt(receipt) = &reply {
            running.draft.flip_back.clone_from(&receipt.flip);
        }
        self.finish(running, End::RolledBack { why: who }).await;
        Ok(reply)
    }
}

fn who(alias: &AliasName, caller: Caller) -> String {
    let pid = caller.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
    format!("`switcher rollback {alias}` was run by uid {}{pid}", caller.uid)
}

/// The kernel refused the old split. The machine tries again, and says how it ended in the upgrade's receipt.
fn not_yet(what: &str) -> ApiError {
    let text =
        format!("the {what} is called back, but switching back failed; the agent tries again: run: switcher status");
    ApiError::new(ErrorCode::Unknown, text)
}
