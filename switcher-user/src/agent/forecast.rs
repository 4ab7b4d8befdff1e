//! `upgrade --dry-run`: each step's image, evaluated by the packet logic itself on a copy of the flows. Nothing is changed.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::answer::Asked;
use super::door::Look;
use super::owner::Owner;
use super::port::{Host, Kernel};
use super::status::busy;
use super::upgrade::{in_form, refused};
use crate::api::{
    ApiError, ErrorCode, ForecastAlias, ForecastDocument, ForecastSet, ForecastStep, Reply, SCHEMA, UpgradeRequest,
};
use crate::image::{ImagePlan, compile};
use crate::kernel::{FlowView, KernelError};
use crate::model::{AliasName, Listener};
use crate::plan::{Alias, Desired, Rollout};
use crate::rehearsal::{PLACES, Rehearsed, rehearse};
use crate::rollout::Health;

/// A step, ready to be tried.
struct Trial {
    percent: u32,
    image: ImagePlan,
    aliases: Vec<(AliasName, Alias)>,
}

impl<K: Kernel, H: Host> Owner<K, H> {
    /// Answers later: the flows may be many.
    pub(super) async fn forecast(
        &mut self,
        request: UpgradeRequest,
        asked: Asked,
        reply: oneshot::Sender<Result<Reply, ApiError>>,
    ) {
        let (trials, notes) = match self.trials(request, asked).await {
            Ok(trials) => trials,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let Ok(slot) = Arc::clone(&self.status_slots).try_acquire_owned() else {
            return drop(reply.send(Err(busy("upgrade --dry-run"))));
        };
        let (kernel, epoch) = (self.kernel.clone(), self.epoch);
        tokio::spawn(async move {
            let flows = kernel.run(|kernel| all_flows(kernel)).await;
            let tried = tokio::task::spawn_blocking(move || {
                let flows = flows.map_err(|error| ApiError::new(ErrorCode::HostFailed, error.to_string()))?;
                trials.iter().map(|trial| try_step(trial, &flows)).collect()
            });
            let died = |error: tokio::task::JoinError| Err(ApiError::new(ErrorCode::HostFailed, error.to_string()));
            let answer = tried.await.unwrap_or_else(died).map(|steps| {
                Reply::Forecast(Box::new(ForecastDocument {
                    schema: SCHEMA,
                    dry_run: true,
                    epoch,
                    steps,
                    notes,
                }))
            });
            let _ = reply.send(answer);
            drop(slot);
        });
    }

    /// The steps, with all that the upgrade itself would be refused for.
    async fn trials(
        &mut self,
        mut request: UpgradeRequest,
        asked: Asked,
    ) -> Result<(Vec<Trial>, Vec<String>), ApiError> {
        in_form(&mut request)?;
        self.refuse_busy(&request.aliases)?;
        let (rollout, _) = self.plan_rollout(request, asked)?;
        let mut notes = Vec::new();
        if rollout.only_drains() {
            notes.push(
                "the new set has the share already: the command would only wait for flows of the old set".to_owned(),
            );
            return Ok((Vec::new(), notes));
        }
        match self.health_of(&rollout) {
            Health::Failing(why) => return Err(refused(&why)),
            Health::Waiting(what) => notes.push(format!("the command would wait before the first step: {what}")),
            Health::Unchecked => {
                notes.push("the new set has no health check: nobody looks whether it answers".to_owned())
            }
            Health::Proven => {}
        }
        let mut trials = Vec::new();
        for (nth, percent) in rollout.request.rollout.steps.percent().iter().enumerate() {
            let mut next: Desired = (*self.desired).clone();
            next.rollout_step(&rollout, *percent)?;
            next.epoch = self.epoch + 1 + nth as u64;
            let look = if nth == 0 { Look::Anew } else { Look::Recent };
            let resolved = self.check(&next, look).await?;
            if nth == 0 {
                notes.extend(resolved.notes);
            }
            trials.push(Trial {
                percent: *percent,
                image: resolved.image,
                aliases: aliases_of(&next, &rollout),
            });
        }
        Ok((trials, notes))
    }
}

fn aliases_of(next: &Desired, rollout: &Rollout) -> Vec<(AliasName, Alias)> {
    let named = rollout
        .moves
        .iter()
        .filter_map(|one| next.aliases.get_key_value(&one.alias));
    named.map(|(name, alias)| (name.clone(), alias.clone())).collect()
}

/// A copy: at most as many as the table has slots.
fn all_flows(kernel: &impl Kernel) -> Result<Vec<FlowView>, KernelError> {
    let mut flows = Vec::new();
    kernel.for_each_flow(&mut |flow| flows.push(flow))?;
    Ok(flows)
}

fn try_step(trial: &Trial, flows: &[FlowView]) -> Result<ForecastStep, ApiError> {
    let rows = compile(&trial.image).map_err(|error| ApiError::new(ErrorCode::Refused, error.to_string()))?;
    let ids: Vec<u32> = trial.aliases.iter().map(|(_, alias)| alias.id).collect();
    let flows: Vec<FlowView> = flows
        .iter()
        .filter(|flow| ids.contains(&flow.alias_id))
        .copied()
        .collect();
    let listeners: Vec<Listener> = trial
        .aliases
        .iter()
        .filter_map(|(_, alias)| alias.listen.first().copied())
        .collect();
    let seen = rehearse(rows, &flows, &listeners);
    let aliases = trial
        .aliases
        .iter()
        .zip(&seen.places)
        .map(|((name, alias), places)| ForecastAlias {
            alias: name.clone(),
            split: alias.split.weights.clone(),
            sets: sets_of(alias, places, &seen),
        });
    Ok(ForecastStep {
        percent: trial.percent,
        flows: seen.asked,
        flows_moved: seen.moved,
        flows_of_host: seen.of_host,
        flows_pending: seen.pending,
        aliases: aliases.collect(),
    })
}

fn sets_of(alias: &Alias, places: &std::collections::BTreeMap<u32, u32>, seen: &Rehearsed) -> Vec<ForecastSet> {
    let with_share = alias.sets.iter().filter(|(name, _)| alias.split.has(name));
    let one = |(name, set): (&crate::model::SetName, &crate::plan::Set)| {
        let places = u64::from(places.get(&set.id).copied().unwrap_or(0));
        ForecastSet {
            set: name.clone(),
            share_of_10000: u32::try_from((places * 10_000 + u64::from(PLACES) / 2) / u64::from(PLACES)).unwrap_or(0),
            flows_begun_anew: seen.begun_anew.get(&set.id).copied().unwrap_or(0),
        }
    };
    with_share.map(one).collect()
}
