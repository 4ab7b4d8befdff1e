//! A service's containers made anew: `up --upgrade`, and what ends it, `--confirm-upgrade` or `--rollback`.
//!
//! Until then both kinds run, and each set of the service says which of them serves: its `hashes`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hyper::Method;

use super::bring::{Site, addresses};
use super::stack::{self, Serving};
use crate::api::{ApiError, ChangesDocument, ErrorCode, FLOW_BACKENDS_MAX, FlowsDocument, SetPut, StatusDocument};
use crate::cli::flows::backends_query;
use crate::compose::ServiceName;
use crate::discovery::Container;
use crate::model::{AliasName, BackendAddress, ContainerSource};

/// How often it is looked whether connections have ended.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// One set that follows a service.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    alias: AliasName,
    port: Option<std::num::NonZeroU16>,
    hashes: Vec<String>,
}

/// The sets that follow each service of the project.
pub(super) type Followers = BTreeMap<ServiceName, Vec<Follower>>;

/// What is left of an upgrade of a service that nobody has confirmed.
pub(super) struct Unconfirmed {
    /// Containers that serve.
    pub serving: Vec<Container>,
    /// The others: those that served before, or, where it never got to its switch, those that were to serve.
    pub others: Vec<Container>,
}

impl Unconfirmed {
    /// False: it failed or was killed before its switch. Numbers rise: the new ones have the higher.
    pub fn is_switched(&self) -> bool {
        let last = |of: &[Container]| of.iter().filter_map(Container::number).max();
        self.others.is_empty() || last(&self.serving) > last(&self.others)
    }

    /// Those from before the upgrade, and those that it made.
    pub fn old_and_new(self) -> (Vec<Container>, Vec<Container>) {
        if self.is_switched() {
            (self.others, self.serving)
        } else {
            (self.serving, self.others)
        }
    }
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

/// Only these serve.
pub(super) fn only(containers: &[Container]) -> Serving {
    Serving {
        addresses: addresses(containers),
        hashes: hashes_of(containers),
    }
}

impl Site<'_> {
    pub(super) async fn followers(&self) -> Result<Followers, ApiError> {
        let status: StatusDocument = self.client.get("/v1/status").await?;
        let mut followers = Followers::new();
        for alias in status.aliases {
            for set in alias.sets {
                let Some(ContainerSource::Service {
                    project,
                    service,
                    hashes,
                    port,
                }) = set.containers
                else {
                    continue;
                };
                if project == self.loaded.name && service == set.name {
                    followers.entry(service).or_default().push(Follower {
                        alias: alias.name.clone(),
                        port,
                        hashes,
                    });
                }
            }
        }
        Ok(followers)
    }

    /// The two kinds of containers of a service whose upgrade is not confirmed; `None`: all serve.
    pub(super) async fn unconfirmed(
        &self,
        name: &ServiceName,
        followers: &[Follower],
    ) -> Result<Option<Unconfirmed>, ApiError> {
        let Some(pinned) = followers.iter().find(|one| !one.hashes.is_empty()) else {
            return Ok(None);
        };
        let serves = |one: &Container| {
            one.hash()
                .is_some_and(|hash| pinned.hashes.iter().any(|own| own == hash))
        };
        let (serving, others) = self.running_of(name).await?.into_iter().partition(serves);
        Ok(Some(Unconfirmed { serving, others }))
    }

    /// Makes containers of what the files ask for beside the ones that run; these serve until all are switched at once.
    /// `begun`: an earlier upgrade that never got to its switch, which goes on.
    pub(super) async fn renew(
        &self,
        name: &ServiceName,
        followers: &[Follower],
        begun: Option<&Unconfirmed>,
    ) -> Result<Vec<Container>, ApiError> {
        let service = &self.loaded.project.services[name];
        let wanted = self.recipe(name, service).hash();
        let is_new = |one: &Container| one.hash() == Some(wanted.as_str());
        let old = match begun {
            Some(begun) => begun.serving.clone(),
            None => self.running_of(name).await?,
        };
        if old.iter().all(is_new) {
            return self
                .bring_new(name, service.scale, &self.targets(name)?, &|_| true)
                .await;
        }
        if followers.is_empty() {
            self.printer.note(&format!(
                "warning: service {name} has other settings now and no alias leads to it: it stays as it is; remove its containers to have them made anew"
            ));
            return Ok(old);
        }
        if old.iter().any(|one| one.hash().is_none()) {
            return Err(refuse(format!(
                "service {name} has containers without the label {}: it cannot be told which are new; remove them first",
                crate::discovery::LABEL_HASH
            )));
        }
        if let Some(begun) = begun {
            // Of other settings than the files have now, and nobody was ever sent there.
            let stale: Vec<Container> = begun.others.iter().filter(|one| !is_new(one)).cloned().collect();
            self.end(&stale).await?;
        }
        self.pin(name, followers, &only(&old)).await?;
        let brought = self.bring_new(name, service.scale, &self.targets(name)?, &is_new).await;
        // Where an earlier one left new ones, they are not to serve with the old ones.
        if brought.is_err() && begun.is_none_or(|begun| begun.others.is_empty()) {
            self.unpin(name, followers, &old).await?;
        }
        brought
    }

    /// Lets the sets of a service follow these containers.
    async fn pin(&self, name: &ServiceName, followers: &[Follower], serving: &Serving) -> Result<(), ApiError> {
        for follower in followers {
            let spec = stack::set(&self.loaded.name, name, serving, follower.port);
            let put = SetPut {
                backends: spec.backends,
                health: None,
                containers: spec.containers,
            };
            let path = format!("/v1/aliases/{}/sets/{name}", follower.alias);
            let _: ChangesDocument = self.client.change(Method::PUT, &path, &put, self.left()).await?;
        }
        Ok(())
    }

    /// Lets the sets of a service follow all its containers again, of which there are only these.
    async fn unpin(
        &self,
        name: &ServiceName,
        followers: &[Follower],
        containers: &[Container],
    ) -> Result<(), ApiError> {
        let serving = Serving {
            addresses: addresses(containers),
            hashes: Vec::new(),
        };
        self.pin(name, followers, &serving).await
    }

    /// Removes those that serve no more once they have no connection left, and ends the upgrade. False: they still have some.
    pub(super) async fn settle(
        &self,
        name: &ServiceName,
        followers: &[Follower],
        stay: &[Container],
        go: &[Container],
    ) -> Result<bool, ApiError> {
        let addresses = addresses(go);
        loop {
            let flows = self.flows_to(followers, &addresses).await?;
            if flows == 0 {
                break;
            }
            if Instant::now() >= self.deadline {
                self.printer.note(&format!(
                    "service {name}: {flows} connection(s) to the containers that serve no more; they stay; run it again, or with a longer --timeout"
                ));
                return Ok(false);
            }
            self.printer
                .progress(&format!("service {name}: waiting for {flows} connection(s)"));
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.end(go).await?;
        self.unpin(name, followers, stay).await?;
        Ok(true)
    }

    /// Connections to these addresses by the aliases of a service that have not begun to close.
    async fn flows_to(&self, followers: &[Follower], addresses: &[IpAddr]) -> Result<u64, ApiError> {
        let mut count = 0;
        for follower in followers {
            for some in addresses.chunks(FLOW_BACKENDS_MAX) {
                let each: Vec<BackendAddress> = some.iter().copied().map(BackendAddress::anywhere).collect();
                let path = format!("/v1/aliases/{}/flows?limit=1&{}", follower.alias, backends_query(&each));
                let document: FlowsDocument = self.client.get(&path).await?;
                count += document.live;
            }
        }
        Ok(count)
    }
}
