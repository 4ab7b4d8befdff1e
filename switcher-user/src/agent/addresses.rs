//! Addresses that this agent adds to the host and takes away again.
//!
//! The record on the disk comes before the address on the host, and goes after it: whenever an agent dies, the next one
//! knows what is ours. Only what is recorded, and looks as added by an agent, is ever removed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::AgentError;
use super::flows::listeners_in_flows;
use super::owner::Owner;
use super::port::{Host, Kernel};
use crate::api::{AddressStatus, ApiError};
use crate::model::AddedAddress;
use crate::net::{Added, HostAddress, Interface, Observed, Observer};
use crate::plan::{AddressPlace, Desired, PlacedListener, place_address, refuse_address};
use crate::store::{self, Store};

/// How long an address that could not be added waits for the next try.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// What is ours, and what could not become so.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    /// As the disk says.
    pub(super) record: Vec<AddedAddress>,
    /// Why an address is not there, and when that was tried.
    failed: BTreeMap<IpAddr, (String, Instant)>,
}

/// An address that is to be added.
#[derive(Clone, Debug)]
pub(super) struct Addition {
    added: AddedAddress,
    ifindex: u32,
}

impl Addresses {
    pub(super) fn new(record: Vec<AddedAddress>) -> Self {
        let failed = BTreeMap::new();
        Self { record, failed }
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.record.iter().any(|one| one.address == address)
    }

    /// For people: what is ours, what was there before, and what is not there.
    pub(super) fn status(&self, desired: &Desired, observed: Option<&Observed>) -> Vec<AddressStatus> {
        let wanted = desired.wanted_addresses();
        let is_lost = |one: &AddedAddress| self.failed.contains_key(&one.address);
        let of_record = self.record.iter().filter(|one| !is_lost(one)).map(|one| AddressStatus {
            address: one.address,
            interface: one.interface.clone(),
            alias: wanted.get(&one.address).map(|placed| placed.alias.clone()),
            added: true,
            why: match wanted.get(&one.address) {
                Some(placed) => format!("added by the agent, for alias {}", placed.alias),
                None => "added by the agent, goes with its last flow".to_owned(),
            },
        });
        let others = wanted
            .iter()
            .filter(|(address, _)| !self.has(**address) || self.failed.contains_key(address));
        let of_others = others.map(|(address, placed)| {
            let holder = observed.and_then(|observed| holder(&observed.interfaces, *address));
            let failed = self.failed.get(address).map(|(why, _)| why.clone());
            AddressStatus {
                address: *address,
                interface: holder.map(|one| one.name.clone()).unwrap_or_default(),
                alias: Some(placed.alias.clone()),
                added: false,
                why: failed.unwrap_or_else(|| "was there before, and stays".to_owned()),
            }
        });
        of_record.chain(of_others).collect()
    }
}

fn holder(interfaces: &[Interface], address: IpAddr) -> Option<&Interface> {
    interfaces.iter().find(|one| one.addresses.contains(&address))
}

impl<K: Kernel, H: Host> Owner<K, H> {
    /// What a change has to add, after asking whether it may. Nothing has changed yet.
    pub(super) async fn plan_addresses(&self, next: &Desired, force: bool) -> Result<Vec<Addition>, ApiError> {
        let mut new = next.wanted_addresses();
        let before = self.desired.wanted_addresses();
        new.retain(|address, _| !before.contains_key(address));
        let new: Vec<(PlacedListener, bool)> = new.into_values().map(|placed| (placed, force)).collect();
        let planned = self.place_addresses(new).await?;
        let planned = planned.into_iter().filter_map(|(_, planned)| planned.transpose());
        planned.collect()
    }

    /// For each, what is to be added; `None` where the host has it. The flag says that nobody is asked.
    async fn place_addresses(
        &self,
        wanted: Vec<(PlacedListener, bool)>,
    ) -> Result<Vec<(IpAddr, Result<Option<Addition>, ApiError>)>, ApiError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let interfaces = self.host.interfaces().await?;
        // All at the same time: nobody's silence takes a second.
        let planned = wanted.into_iter().map(|(placed, force)| {
            let interfaces = &interfaces;
            async move {
                let address = placed.listener.address;
                (address, self.place_one(&placed, interfaces, force).await)
            }
        });
        Ok(join_all(planned).await)
    }

    async fn place_one(
        &self,
        placed: &PlacedListener,
        interfaces: &[Interface],
        force: bool,
    ) -> Result<Option<Addition>, ApiError> {
        let address = placed.listener.address;
        let way = self.host.way(address).await?;
        if way.local {
            return Ok(None);
        }
        let place = place_address(placed, &way, interfaces, &self.edges.names)?;
        if let (Some(ifindex), false) = (place.ask_at, force)
            && let Some(holder) = self.host.holder(address, ifindex).await?
        {
            let name = interfaces.iter().find(|one| one.ifindex == ifindex);
            let name = name.map_or("the link", |one| &*one.name);
            return Err(refuse_address(placed, taken(&holder, name)).into());
        }
        let AddressPlace { interface, ifindex, .. } = place;
        let added = AddedAddress {
            address,
            interface,
            forced: force,
        };
        Ok(Some(Addition { added, ifindex }))
    }

    /// Writes the record, then adds. On a failure all that was added is taken back.
    pub(super) async fn add_addresses(&mut self, additions: &[Addition]) -> Result<(), ApiError> {
        if additions.is_empty() {
            return Ok(());
        }
        let mut record = self.addresses.record.clone();
        record.retain(|one| additions.iter().all(|new| new.added.address != one.address));
        record.extend(additions.iter().map(|new| new.added.clone()));
        self.save_record(record).await?;
        for new in additions {
            let AddedAddress { address, interface, .. } = &new.added;
            match self.host.add_address(*address, new.ifindex).await {
                Ok(Added::Now) => tracing::info!("added {address} to {interface}"),
                Ok(Added::Before) => {
                    // Somebody was quicker, and will want to keep it.
                    let others = self.addresses.record.iter().filter(|one| one.address != *address);
                    self.save_record(others.cloned().collect()).await?;
                }
                Err(error) => {
                    self.take_back_addresses(additions).await;
                    return Err(error.into());
                }
            }
            self.addresses.failed.remove(address);
        }
        Ok(())
    }

    /// The change that they were for did not happen.
    pub(super) async fn take_back_addresses(&mut self, additions: &[Addition]) {
        let gone = additions.iter().map(|new| new.added.address).collect();
        if let Err(error) = self.remove_addresses(&gone).await {
            tracing::warn!("addresses that were added are left: {}", error.message);
        }
    }

    /// Each second: what is wanted and not there is added, what nobody wants and no flow names goes.
    pub(super) async fn follow_addresses(&mut self, observed: &Observed) {
        let wanted = self.desired.wanted_addresses();
        if wanted.is_empty() && self.addresses.record.is_empty() {
            return;
        }
        self.addresses.failed.retain(|address, _| wanted.contains_key(address));
        let followed = self.add_missing(wanted, observed).await;
        let retired = self.retire_addresses().await;
        for error in [followed.err(), retired.err()].into_iter().flatten() {
            tracing::warn!("addresses could not be followed: {}", error.message);
        }
    }

    /// An interface was down, the machine was started anew, or an earlier try failed.
    async fn add_missing(
        &mut self,
        wanted: BTreeMap<IpAddr, PlacedListener>,
        observed: &Observed,
    ) -> Result<(), ApiError> {
        let waits = |address: &IpAddr| {
            let failed = self.addresses.failed.get(address);
            failed.is_some_and(|(_, at)| at.elapsed() < TRY_AGAIN)
        };
        let forced = |address: IpAddr| {
            let mut record = self.addresses.record.iter();
            record.any(|one| one.address == address && one.forced)
        };
        let missing = wanted
            .into_iter()
            .filter(|(address, _)| holder(&observed.interfaces, *address).is_none() && !waits(address))
            .map(|(address, placed)| (placed, forced(address)))
            .collect();
        for (address, planned) in self.place_addresses(missing).await? {
            let added = match planned {
                Ok(None) => continue,
                Ok(Some(addition)) => self.add_addresses(&[addition]).await,
                Err(error) => Err(error),
            };
            if let Err(error) = added {
                tracing::warn!("{}", error.message);
                let failed = (error.message, Instant::now());
                self.addresses.failed.insert(address, failed);
            }
        }
        Ok(())
    }

    /// After a change: what it leaves without an alias goes at once where no flow needs it, else with the last one.
    pub(super) async fn let_addresses_go(&mut self) {
        if let Err(error) = self.retire_addresses().await {
            tracing::warn!("addresses that nobody wants are left for now: {}", error.message);
        }
    }

    /// Takes away what no alias wants and no live flow names.
    async fn retire_addresses(&mut self) -> Result<(), ApiError> {
        let wanted = self.desired.wanted_addresses();
        let record = self.addresses.record.iter().map(|one| one.address);
        let mut gone: BTreeSet<IpAddr> = record.filter(|address| !wanted.contains_key(address)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        for named in listeners_in_flows(&self.kernel).await? {
            gone.remove(&named);
        }
        self.remove_addresses(&gone).await
    }

    /// Removes these of ours from the host, then from the record.
    async fn remove_addresses(&mut self, gone: &BTreeSet<IpAddr>) -> Result<(), ApiError> {
        if gone.is_empty() {
            return Ok(());
        }
        let removed = remove_ours(&self.host, &self.addresses.record, |one| gone.contains(&one.address)).await;
        for line in removed.map_err(AgentError::from)? {
            tracing::info!("removed {line}");
        }
        let kept = self.addresses.record.iter().filter(|one| !gone.contains(&one.address));
        self.save_record(kept.cloned().collect()).await
    }

    /// All of them, before the agent ends: each as a line.
    pub(super) async fn remove_all_addresses(&mut self) -> Result<Vec<String>, ApiError> {
        let removed = remove_ours(&self.host, &self.addresses.record, |_| true).await;
        let removed = removed.map_err(AgentError::from)?;
        self.save_record(Vec::new()).await?;
        Ok(removed)
    }

    async fn save_record(&mut self, record: Vec<AddedAddress>) -> Result<(), ApiError> {
        if record != self.addresses.record {
            let saved = record.clone();
            self.disk.run(move |store| store.save_addresses(&saved)).await?;
            self.addresses.record = record;
        }
        Ok(())
    }
}

fn taken(holder: &[u8], interface: &str) -> String {
    let holder: Vec<String> = holder.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{} on {interface} answers for it, and two with one address lose each other's packets; take it away there, name another, or, if that one will never want its packets, run the command again with --force",
        holder.join(":")
    )
}

/// Removes of these what is still there as an agent added it. Returns a line for each.
async fn remove_ours<H: Host>(
    host: &H,
    record: &[AddedAddress],
    goes: impl Fn(&AddedAddress) -> bool,
) -> Result<Vec<String>, crate::net::NetError> {
    let (there, interfaces) = (host.addresses().await?, host.interfaces().await?);
    let mut removed = Vec::new();
    for one in record.iter().filter(|one| goes(one)) {
        let ifindex = interfaces.iter().find(|known| known.name == one.interface);
        let is_it = |found: &&HostAddress| {
            found.marked && found.address == one.address && ifindex.is_some_and(|known| known.ifindex == found.ifindex)
        };
        if let Some(found) = there.iter().find(is_it) {
            host.remove_address(found.address, found.ifindex).await?;
            removed.push(format!("address {} of {}", one.address, one.interface));
        }
    }
    Ok(removed)
}

/// Removes the addresses that an agent with this state directory added and left, where none runs. What is not found here,
/// in the caller's network namespace, stays in the record.
///
/// # Errors
/// When an agent has the directory, the record cannot be read, or the kernel does not do it.
pub async fn remove_left_addresses(state_dir: &Path) -> Result<Vec<String>, AgentError> {
    if store::addresses_of(state_dir)?.is_empty() {
        return Ok(Vec::new());
    }
    let store = Store::open(state_dir)?;
    let record = store.addresses()?;
    let removed = remove_ours(&Observer::new()?, &record, |_| true).await?;
    let is_removed = |one: &AddedAddress| removed.contains(&format!("address {} of {}", one.address, one.interface));
    let kept: Vec<AddedAddress> = record.iter().filter(|one| !is_removed(one)).cloned().collect();
    store.save_addresses(&kept)?;
    Ok(removed)
}
