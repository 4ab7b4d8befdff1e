//! Commands that change what is wanted at once.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::answer::Asked;
use super::door::Look;
use super::flows::{census, set_ids_in_flows};
use super::owner::Owner;
use super::port::{Host, Kernel};
use super::receipts::Draft;
use crate::api::{
    AliasPut, ApiError, ApplyRequest, Change, ChangesDocument, PlacePort, Reply, SCHEMA, SetPut, SplitRequest,
};
use crate::kernel::KernelError;
use crate::model::{Action, AliasName, AliasPolicy, Listener, Outcome, SetName};
use crate::plan::{Desired, FlowSetIds, Reach, Refusal, RemovedSet, shadowed};

/// How a change is asked for.
#[derive(Clone, Copy, Debug, Default)]
struct How {
    /// Only say what would change.
    dry_run: bool,
    /// Listeners may take what the host is managed by.
    force: bool,
}

impl<K: Kernel, H: Host> Owner<K, H> {
    pub(super) async fn apply(&mut self, mut request: ApplyRequest, asked: Asked) -> Result<Reply, ApiError> {
        let mut next = (*self.desired).clone();
        let taken = self.taken_set_ids().await?;
        self.place(&mut request)?;
        self.fill(&mut request);
        let reach = Reach {
            prune: request.prune,
            take_over: request.take_over,
        };
        next.converge(&request.spec, reach, &taken)?;
        let mut named: BTreeSet<AliasName> = request.spec.aliases.keys().cloned().collect();
        named.extend(
            self.desired
                .differences(&next)
                .into_iter()
                .map(|difference| difference.alias),
        );
        if !request.dry_run {
            self.refuse_busy(&named)?;
        }
        let how = How {
            dry_run: request.dry_run,
            force: request.force,
        };
        self.change(next, how, asked).await
    }

    /// Gives sets that follow containers the backends that are ready.
    fn fill(&self, request: &mut ApplyRequest) {
        for (alias, spec) in &mut request.spec.aliases {
            for (name, set) in &mut spec.sets {
                if let Some(source) = &set.containers {
                    set.backends = self.backends_by_source((alias, name), &spec.listen, source, &set.backends);
                }
            }
        }
    }

    /// Gives aliases the listeners whose addresses the agent knows: of its pool, and of the host.
    fn place(&self, request: &mut ApplyRequest) -> Result<(), Refusal> {
        let mut given = Vec::new();
        for (name, places) in &request.places {
            let Some(alias) = request.spec.aliases.get_mut(name) else {
                continue;
            };
            let mut listen = |address: IpAddr, ports: &[PlacePort]| {
                alias.listen.extend(ports.iter().map(|port| Listener {
                    address,
                    port: port.port.get(),
                    protocol: port.protocol,
                }));
            };
            if !places.inside.is_empty() {
                let own = self.desired.pool_address(self.pool, name, &given)?;
                given.push(own);
                listen(own, &places.inside);
            }
            if !places.published.is_empty() {
                let own = self.host_addresses();
                if own.is_empty() {
                    let (alias, edges) = (name.clone(), self.edges.names.join(", "));
                    return Err(Refusal::NowhereToPublish { alias, edges });
                }
                own.into_iter().for_each(|address| listen(address, &places.published));
            }
        }
        Ok(())
    }

    /// The host's IPv4 addresses at which clients come in.
    fn host_addresses(&self) -> Vec<IpAddr> {
        let interfaces = self.observed.iter().flat_map(|(observed, _)| &observed.interfaces);
        let edges = interfaces.filter(|interface| self.edges.names.contains(&interface.name));
        let own = edges.flat_map(|interface| interface.addresses.iter().copied());
        own.filter(|address| address.is_ipv4() && !address.is_loopback())
            .collect()
    }

    pub(super) async fn alias_put(
        &mut self,
        alias: &AliasName,
        put: &AliasPut,
        asked: Asked,
    ) -> Result<Reply, ApiError> {
        self.refuse_busy([alias])?;
        let mut next = (*self.desired).clone();
        let policy = AliasPolicy {
            path: put.path,
            udp: put.udp,
            shield: put.shield,
            add_addresses: put.add_addresses,
        };
        next.alias_put(alias, &put.listen, policy)?;
        let how = How {
            force: put.force,
            ..How::default()
        };
        self.change(next, how, asked).await
    }

    pub(super) async fn alias_rm(&mut self, alias: &AliasName, asked: Asked) -> Result<Reply, ApiError> {
        self.refuse_busy([alias])?;
        let mut next = (*self.desired).clone();
        next.alias_rm(alias)?;
        self.change(next, How::default(), asked).await
    }

    pub(super) async fn set_put(
        &mut self,
        alias: &AliasName,
        set: &SetName,
        put: &SetPut,
        asked: Asked,
    ) -> Result<Reply, ApiError> {
        self.refuse_busy([alias])?;
        let mut next = (*self.desired).clone();
        let taken = self.taken_set_ids().await?;
        let backends = match (&put.containers, next.aliases.get(alias)) {
            (Some(source), Some(known)) => self.backends_by_source((alias, set), &known.listen, source, &put.backends),
            _ => put.backends.clone(),
        };
        next.set_put(alias, set, &backends, &taken)?;
        // Compose files know no health of a set: what somebody gave it stays.
        if put.health.is_some() || put.containers.is_none() {
            next.set_health(alias, set, put.health.as_ref())?;
        }
        next.set_containers(alias, set, put.containers.clone())?;
        self.change(next, How::default(), asked).await
    }

    pub(super) async fn set_rm(&mut self, alias: &AliasName, set: &SetName, asked: Asked) -> Result<Reply, ApiError> {
        self.refuse_busy([alias])?;
        let mut next = (*self.desired).clone();
        next.set_rm(alias, set)?;
        self.change(next, How::default(), asked).await
    }

    /// Numbers that no new set may get: those of sets that are there still, and those that flows name.
    async fn taken_set_ids(&self) -> Result<FlowSetIds, KernelError> {
        let mut taken = set_ids_in_flows(&self.kernel).await?;
        taken.extend(self.desired.set_ids());
        Ok(taken)
    }

    /// Lands whatever differs, and says what that was.
    async fn change(&mut self, next: Desired, how: How, asked: Asked) -> Result<Reply, ApiError> {
        next.check()?;
        let mut warnings = self.refuse_shadows(&next, how.force).await?;
        let additions = self.plan_addresses(&next, how.force).await?;
        warnings.extend(self.note_absent(&next).await?);
        let differences = self.desired.differences(&next);
        self.refuse_flows(&self.desired.removed_sets(&next)).await?;
        let mut document = ChangesDocument {
            schema: SCHEMA,
            dry_run: how.dry_run,
            epoch: self.epoch,
            changes: Vec::new(),
            receipt: None,
            warnings,
        };
        if how.dry_run {
            self.check(&next, Look::Anew).await?;
        } else if !differences.is_empty() {
            let draft = Draft::new(Action::Apply, asked, &self.desired, &next);
            let draft = if draft.is_empty() {
                None
            } else {
                Some(draft.before(&self.kernel).await?)
            };
            let landed = self.land_with(next, Look::Anew, asked.deadline, &additions).await?;
            document.epoch = landed.epoch;
            if let Some(mut draft) = draft {
                draft.landed(landed);
                document.receipt = Some(self.receipt(draft, Outcome::Done).await);
            }
        }
        document.changes = differences
            .into_iter()
            .map(|difference| Change {
                field: difference.field,
                what: difference.what,
            })
            .collect();
        Ok(Reply::Changes(Box::new(document)))
    }

    /// New listeners must not take what this host is managed by. Returns whom else they take clients from.
    async fn refuse_shadows(&self, next: &Desired, force: bool) -> Result<Vec<String>, ApiError> {
        let new = self.desired.new_listeners(next);
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let listeners: Vec<Listener> = new.iter().map(|one| one.listener).collect();
        let mut standing = self.host.standing(&listeners).await?;
        // At an address that the agent added nobody was reached before.
        standing.own.retain(|address| !self.addresses.has(*address));
        Ok(shadowed(&new, &standing, std::process::id(), force)?)
    }

    /// Addresses of new listeners that clients look for on a link, and that this host neither has nor is to get.
    async fn note_absent(&self, next: &Desired) -> Result<Vec<String>, ApiError> {
        let mut notes = std::collections::BTreeMap::new();
        for one in self.desired.new_listeners(next) {
            let adds = next.aliases.get(&one.alias).is_some_and(|alias| alias.add_addresses);
            let address = one.listener.address;
            if adds || notes.contains_key(&address) || self.host.way(address).await?.on_link.is_none() {
                continue;
            }
            let note = format!(
                "this host does not have {address}, where alias '{}' listens, and clients on its link ask for it in vain unless another host answers; --add-addresses (add_addresses: true in the file) adds it",
                one.alias
            );
            notes.insert(address, note);
        }
        Ok(notes.into_values().collect())
    }

    /// A set's number stands in its flows, and people want to know where these are.
    async fn refuse_flows(&self, removed: &[RemovedSet]) -> Result<(), ApiError> {
        if removed.is_empty() {
            return Ok(());
        }
        let census = self.kernel.run(|kernel| census(kernel)).await?;
        for set in removed {
            let flows = census.get(&set.id).map_or(0, crate::api::FlowCounts::live);
            if flows > 0 {
                return Err(Refusal::SetHasFlows {
                    alias: set.alias.clone(),
                    set: set.set.clone(),
                    flows,
                }
                .into());
            }
        }
        Ok(())
    }

    pub(super) async fn split(
        &mut self,
        alias: &AliasName,
        request: &SplitRequest,
        asked: Asked,
    ) -> Result<Reply, ApiError> {
        self.refuse_busy([alias])?;
        let mut next = (*self.desired).clone();
        next.split(alias, &request.weights)?;
        self.change_split(Action::Split, next, asked).await
    }

    pub(super) async fn rollback(&mut self, alias: &AliasName, asked: Asked) -> Result<Reply, ApiError> {
        if let Some(at) = self.running.iter().position(|running| running.concerns(alias)) {
            return self.recall(at, alias, asked).await;
        }
        let mut next = (*self.desired).clone();
        next.rollback(alias)?;
        self.change_split(Action::Rollback, next, asked).await
    }

    /// The old set may be removed from now on. Nothing changes in the kernel.
    pub(super) async fn confirm(&mut self, alias: &AliasName) -> Result<Reply, ApiError> {
        self.refuse_busy([alias])?;
        let mut next = (*self.desired).clone();
        let confirmed = next.confirm(alias)?;
        let mut changes = Vec::new();
        if let Some(set) = confirmed {
            let next = std::sync::Arc::new(next);
            let saved = std::sync::Arc::clone(&next);
            self.save(saved).await?;
            self.desired = next;
            changes.push(Change {
                field: format!("aliases.{alias}"),
                what: format!("alias {alias}: confirmed; set {set} may be removed"),
            });
        }
        Ok(Reply::Changes(Box::new(ChangesDocument {
            schema: SCHEMA,
            dry_run: false,
            epoch: self.epoch,
            changes,
            receipt: None,
            warnings: Vec::new(),
        })))
    }

    pub(super) async fn change_split(
        &mut self,
        action: Action,
        next: Desired,
        asked: Asked,
    ) -> Result<Reply, ApiError> {
        let draft = Draft::new(action, asked, &self.desired, &next);
        if draft.is_empty() {
            return Ok(Reply::Receipt(Box::new(draft.nothing_to_do(self.epoch))));
        }
        let mut draft = draft.before(&self.kernel).await?;
        draft.warnings = self.failing_shares(&next);
        draft.landed(self.land(next, Look::Recent, asked.deadline).await?);
        Ok(Reply::Receipt(Box::new(self.receipt(draft, Outcome::Done).await)))
    }
}
