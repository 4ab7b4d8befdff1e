//! A service's containers made anew: `up --upgrade`, and what ends it, `--confirm-upgrade` or `--rollback`.
//!
//! Until then both kinds run, and each set of the service says which of them serves: its `hashes`.

use std::collections::{BTreeMap, BTreeSet};

use super::bring::{Site, addresses};
use super::done::Deed;
use super::stack::{self, Serving};
use super::stage::Unconfirmed;
use crate::api::{ApiError, ErrorCode, StatusDocument};
use crate::compose::ServiceName;
use crate::discovery::Container;
use crate::model::{AliasName, ContainerSource};

/// One set that follows a service.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    pub alias: AliasName,
    port: Option<std::num::NonZeroU16>,
    pub hashes: Vec<String>,
}

/// The sets that follow each service of the project.
pub(super) type Followers = BTreeMap<ServiceName, Vec<Follower>>;

/// What became of a service whose containers were to be made anew.
pub(super) enum Renewed {
    /// They are as the files ask for them already.
    Same,
    /// They stay as they are: it was said why.
    Kept(Vec<Container>),
    /// These are new, and ready; others serve until the switch.
    New(Vec<Container>),
}

fn refuse(text: String) -> ApiError {
    ApiError::new(ErrorCode::Refused, text)
}

fn hashes_of(containers: &[Container]) -> Vec<String> {
    let hashes: BTreeSet<String> = containers
        .iter()
        .filter_map(|one| Some(one.hash()?.to_owned()))
        .collect();
    hashes.into_iter().collect()
}

fn service_text(name: &ServiceName) -> String {
    format!("service {name}")
}

/// Only these serve.
pub(super) fn only(containers: &[Container]) -> Serving {
    Serving {
        addresses: addresses(containers),
        hashes: hashes_of(containers),
    }
}

impl Site<'_> {
    /// The sets that follow services of the project, by service.
    pub(super) fn followers(&self, status: &StatusDocument) -> Followers {
        let mut followers = Followers::new();
        for alias in &status.aliases {
            for set in &alias.sets {
                let Some(ContainerSource::Service {
                    project,
                    service,
                    hashes,
                    port,
                }) = &set.containers
                else {
                    continue;
                };
                if *project == self.loaded.name && *service == set.name {
                    followers.entry(service.clone()).or_default().push(Follower {
                        alias: alias.name.clone(),
                        port: *port,
                        hashes: hashes.clone(),
                    });
                }
            }
        }
        followers
    }

    /// Makes containers of what the files ask for beside the ones that run; these serve until all are switched at once.
    /// `begun`: an earlier upgrade that never got to its switch, which goes on.
    pub(super) async fn renew(
        &self,
        name: &ServiceName,
        followers: &[Follower],
        begun: Option<&Unconfirmed>,
    ) -> Result<Renewed, ApiError> {
        let service = &self.loaded.project.services[name];
        let wanted = self.recipe(name, service).hash();
        let is_new = |one: &Container| one.hash() == Some(wanted.as_str());
        let old = match begun {
            Some(begun) => begun.serving.clone(),
            None => self.running_of(name).await?,
        };
        if let Some(begun) = begun {
            // Of other settings than the files have now, and nobody was ever sent there.
            let mut stale = begun.all_others();
            stale.retain(|one| !is_new(one));
            self.end(&stale).await?;
        }
        if old.iter().all(is_new) {
            let _ = self
                .bring_new(name, service.scale, &self.targets(name)?, &|_| true)
                .await?;
            return Ok(Renewed::Same);
        }
        if followers.is_empty() {
            self.printer.note(&format!(
                "warning: service {name} has other settings now and no alias leads to it: it stays as it is; remove its containers to have them made anew"
            ));
            return Ok(Renewed::Kept(old));
        }
        if old.iter().any(|one| one.hash().is_none()) {
            return Err(refuse(format!(
                "service {name} has containers without the label {}: it cannot be told which are new; remove them first",
                crate::discovery::LABEL_HASH
            )));
        }
        self.pin(name, followers, &only(&old)).await?;
        let brought = self.bring_new(name, service.scale, &self.targets(name)?, &is_new).await;
        // Where an earlier one left new ones, they are not to serve with the old ones.
        if brought.is_err() && begun.is_none_or(|begun| begun.others.is_empty()) {
            self.unpin(name, followers, &old).await?;
        }
        // An earlier one may have made more than the files ask for now.
        let mut new = brought?;
        let more = new.split_off(new.len().min(usize::try_from(service.scale).unwrap_or(usize::MAX)));
        self.end(&more).await?;
        Ok(Renewed::New(new))
    }

    /// Lets the sets of a service follow these containers.
    async fn pin(&self, name: &ServiceName, followers: &[Follower], serving: &Serving) -> Result<(), ApiError> {
        for follower in followers {
            let spec = stack::set(&self.loaded.name, name, serving, follower.port);
            self.put(&follower.alias, name, spec).await?;
            self.done.did(service_text(name), Deed::Pinned);
        }
        Ok(())
    }

    /// The switch is made for the aliases of the files; sets of others that follow the service, and are pinned, go with it.
    pub(super) async fn pin_others(
        &self,
        name: &ServiceName,
        followers: &[Follower],
        serving: &Serving,
    ) -> Result<(), ApiError> {
        let is_pinned = |one: &Follower| !one.hashes.is_empty();
        if serving.addresses.is_empty() || (serving.hashes.is_empty() && !followers.iter().any(is_pinned)) {
            return Ok(());
        }
        self.pin(name, followers, serving).await.map_err(|error| {
            let text = format!(
                "service {name}: the aliases of the files have switched, and another that follows it could not: {error}; run the same command again"
            );
            ApiError::new(ErrorCode::Unknown, text)
        })
    }

    /// Lets the sets of a service follow all its containers again, of which there are only these.
    async fn unpin(
        &self,
        name: &ServiceName,
        followers: &[Follower],
        containers: &[Container],
    ) -> Result<(), ApiError> {
        let serving = Serving::all(addresses(containers));
        self.pin(name, followers, &serving).await?;
        self.done.undid(&service_text(name));
        Ok(())
    }

    /// Removes those that serve no more once they have no connection left, and ends the upgrade. False: they still have some.
    pub(super) async fn settle(
        &self,
        name: &ServiceName,
        followers: &[Follower],
        stay: &[Container],
        go: &[Container],
    ) -> Result<bool, ApiError> {
        if !self.retire(name, go, self.deadline).await? {
            return Ok(false);
        }
        self.unpin(name, followers, stay).await?;
        Ok(true)
    }
}
