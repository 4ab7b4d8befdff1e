//! The end of `compose upgrade`: FROM's containers go where that hurts nobody; and what refuses it before it begins.

use std::time::Instant;

use super::bring::Site;
use super::leads::leads_to_service;
use super::renew::Followers;
use super::stage::Stage;
use super::up::FLOWS_LEFT;
use super::upgrade::Args;
use crate::api::{ApiError, ErrorCode, StatusDocument};
use crate::cli::End;
use crate::discovery::Container;
use crate::model::{AliasName, SetName};

impl Args {
    /// FROM's containers leave, hold what they have until it ends, and only then go.
    pub(super) async fn clean_up(&self, site: &Site<'_>, followers: &Followers, old: &[Container]) -> End {
        let deadline = site.deadline.min(Instant::now() + self.drain_timeout);
        let ended = site.retire(&self.from, old, deadline).await;
        if !ended.map_err(|error| self.half_done(&error))? {
            return Ok(FLOWS_LEFT);
        }
        site.remove_sets(&self.from, followers).await;
        Ok(0)
    }

    /// The switch is made: what fails then leaves old containers, and nobody knows which.
    fn half_done(&self, error: &ApiError) -> ApiError {
        let (from, to) = (&self.from, &self.to);
        let text = format!(
            "connections have moved to {to}, and the containers of {from} could not all be removed: {error}; see docker ps, and remove them with docker rm"
        );
        ApiError::new(ErrorCode::Unknown, text)
    }

    /// Which of two kinds of containers serves is for whoever began that to say first.
    pub(super) async fn refuse_unconfirmed(&self, site: &Site<'_>, followers: &Followers) -> Result<(), ApiError> {
        for name in [&self.from, &self.to] {
            let own = followers.get(name).map_or(&[][..], Vec::as_slice);
            let Some(left) = site.unconfirmed(name, own).await? else {
                continue;
            };
            let what = match left.stage {
                Stage::Begun => {
                    "an up --upgrade of it never got to its switch; first run: switcher compose up -d --upgrade (or --rollback)"
                }
                Stage::Switched | Stage::Spent => {
                    "it was upgraded and nobody has confirmed it; first run: switcher compose up -d --confirm-upgrade (or --rollback)"
                }
                Stage::Settled => {
                    "an up --upgrade of it was cut short; first run: switcher compose up -d --confirm-upgrade"
                }
                Stage::Lost => {
                    "the containers that its last up --upgrade made are gone; first run: switcher compose up -d"
                }
            };
            let text = format!("service {name}: {what}; nothing was changed");
            return Err(ApiError::new(ErrorCode::Refused, text));
        }
        Ok(())
    }

    /// Containers of TO that run are to be what the files ask for: else connections would move to a version of yesterday.
    pub(super) async fn refuse_stale(&self, site: &Site<'_>, status: &StatusDocument) -> Result<(), ApiError> {
        let to = &self.to;
        let hash = site.recipe(to, &site.loaded.project.services[to]).hash();
        let running = site.running_of(to).await?;
        let is_stale = |one: &&Container| one.is_ours() && one.is_made_of_other_than(&hash);
        let stale: Vec<&str> = running.iter().filter(is_stale).map(|one| one.name.as_str()).collect();
        if stale.is_empty() {
            return Ok(());
        }
        let names = stale.join(" ");
        let remedy = if leads_to_service(status, &site.loaded.name, to, &running).is_empty() {
            format!("no alias leads there, so remove them first: docker rm -f {names}")
        } else {
            "they serve; to have them made anew without a gap: switcher compose up -d --upgrade".to_owned()
        };
        let text = format!(
            "service {to}: {names} run, made of other settings than the files have now, and would get the connections of {}; nothing was changed: {remedy}",
            self.from
        );
        Err(ApiError::new(ErrorCode::Refused, text))
    }

    /// What is to be removed in the end must not serve another alias, of whatever files.
    pub(super) fn refuse_to_clean_up(
        &self,
        site: &Site<'_>,
        status: &StatusDocument,
        names: &[AliasName],
        old: &[Container],
    ) -> Result<(), ApiError> {
        if !self.cleanup {
            return Ok(());
        }
        let leads = leads_to_service(status, &site.loaded.name, &self.from, old);
        let moves = |alias: &AliasName, set: &SetName| names.contains(alias) && *set == self.from;
        match leads.iter().find(|(alias, set)| !moves(alias, set)) {
            Some((alias, set)) => {
                let from = &self.from;
                let text = format!(
                    "--cleanup would remove the containers of {from}, and alias '{alias}', which this upgrade does not move, leads to them (set {set}); nothing was changed: give its share to another set first, or leave --cleanup out"
                );
                Err(ApiError::new(ErrorCode::Refused, text))
            }
            None => Ok(()),
        }
    }
}
