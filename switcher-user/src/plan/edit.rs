//! The changes that commands ask for, each a pure step from one [`Desired`] to the next.

use std::collections::{BTreeMap, BTreeSet};

use super::refusal::known;
use super::{Alias, Backend, Desired, Refusal, Set, Split};
use crate::model::{
    AliasName, AliasPolicy, BackendAddress, ContainerSource, HOLD_MAX, HealthSpec, Listener, SetName, StepBy, Weight,
};

/// Numbers of sets that are not to be given to a new set: flow records name them.
pub type FlowSetIds = BTreeSet<u32>;

/// What `upgrade` found to do at one alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The set that gives its share; `None`: TO already has everything and nobody was named.
    pub from: Option<SetName>,
    /// False: TO has it already.
    pub changed: bool,
}

impl Desired {
    /// The alias of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn alias(&self, name: &AliasName) -> Result<&Alias, Refusal> {
        self.aliases.get(name).ok_or_else(|| self.unknown(name))
    }

    pub(super) fn alias_mut(&mut self, name: &AliasName) -> Result<&mut Alias, Refusal> {
        if !self.aliases.contains_key(name) {
            return Err(self.unknown(name));
        }
        self.aliases
            .get_mut(name)
            .ok_or_else(|| Refusal::NobodyHasShare { alias: name.clone() })
    }

    fn unknown(&self, name: &AliasName) -> Refusal {
        Refusal::UnknownAlias {
            alias: name.clone(),
            known: known("there are", self.aliases.keys()),
        }
    }

    /// Creates an alias, or replaces its listeners and path.
    ///
    /// # Errors
    /// When the numbers of aliases are used up.
    pub fn alias_put(
        &mut self,
        name: &AliasName,
        listen: &[Listener],
        policy: impl Into<AliasPolicy>,
    ) -> Result<(), Refusal> {
        let policy = policy.into();
        let AliasPolicy {
            path,
            udp,
            shield,
            add_addresses,
        } = policy;
        if let Some(alias) = self.aliases.get_mut(name) {
            listen.clone_into(&mut alias.listen);
            alias.path = path;
            alias.udp = udp;
            alias.shield = shield;
            alias.add_addresses = add_addresses;
            return Ok(());
        }
        let id = self.next_alias_id;
        self.next_alias_id = id.checked_add(1).ok_or(Refusal::NumbersUsedUp { what: "aliases" })?;
        let alias = Alias {
            id,
            stack: None,
            path,
            shield,
            add_addresses,
            hold_until_ns: 0,
            udp,
            step_by: StepBy::default(),
            listen: listen.to_owned(),
            split: Split::default(),
            previous: None,
            unconfirmed: None,
            sets: BTreeMap::new(),
        };
        self.aliases.insert(name.clone(), alias);
        Ok(())
    }

    /// Holds an alias's new flows until then (nanoseconds of CLOCK_MONOTONIC), or lets them go (0). A later one replaces an
    /// earlier one.
    ///
    /// # Errors
    /// When there is no such alias.
    pub fn hold(&mut self, name: &AliasName, until_ns: u64) -> Result<(), Refusal> {
        self.alias_mut(name)?.hold_until_ns = until_ns;
        Ok(())
    }

    /// Forgets the holds that are over. One that ends later than any can is another boot's: its clock was another.
    pub fn forget_holds(&mut self, now_ns: u64) {
        let latest_ns = now_ns.saturating_add(HOLD_MAX.as_nanos() as u64);
        for alias in self.aliases.values_mut() {
            if !(now_ns..=latest_ns).contains(&alias.hold_until_ns) {
                alias.hold_until_ns = 0;
            }
        }
    }

    /// Removes an alias; its flows stay until they end.
    ///
    /// # Errors
    /// When there is none.
    pub fn alias_rm(&mut self, name: &AliasName) -> Result<(), Refusal> {
        self.alias(name)?;
        self.aliases.remove(name);
        Ok(())
    }

    /// Creates a set, or replaces its backends; a backend that stays keeps its number.
    ///
    /// # Errors
    /// When there is no such alias or the numbers are used up.
    pub fn set_put(
        &mut self,
        name: &AliasName,
        set: &SetName,
        backends: &[BackendAddress],
        taken: &FlowSetIds,
    ) -> Result<(), Refusal> {
        let old = self.alias(name)?.sets.get(set).cloned();
        let health = old.as_ref().and_then(|old| old.health.clone());
        let id = match &old {
            Some(old) => old.id,
            None => self.free_set_id(taken)?,
        };
        let mut kept: BTreeMap<BackendAddress, u32> = old
            .into_iter()
            .flat_map(|old| old.backends)
            .map(|backend| (backend.address, backend.id))
            .collect();
        let mut next = self.next_backend_id;
        let mut list = Vec::with_capacity(backends.len());
        for address in backends {
            let id = match kept.remove(address) {
                Some(id) => id,
                None => {
                    let id = next;
                    next = next.checked_add(1).ok_or(Refusal::NumbersUsedUp { what: "backends" })?;
                    id
                }
            };
            list.push(Backend { id, address: *address });
        }
        self.next_backend_id = next;
        let set_of = Set {
            id,
            backends: list,
            health,
            containers: None,
        };
        self.alias_mut(name)?.sets.insert(set.clone(), set_of);
        Ok(())
    }

    /// How it is found out whether the backends of a set work; `None`: nobody asks.
    ///
    /// # Errors
    /// When there is no such set, or its numbers make no sense.
    pub fn set_health(&mut self, name: &AliasName, set: &SetName, health: Option<&HealthSpec>) -> Result<(), Refusal> {
        if let Some(mistake) = health.and_then(HealthSpec::mistake) {
            return Err(Refusal::Health {
                alias: name.clone(),
                set: set.clone(),
                mistake,
            });
        }
        self.alias(name)?.set(name, set)?;
        if let Some(set) = self.alias_mut(name)?.sets.get_mut(set) {
            set.health = health.cloned();
        }
        Ok(())
    }

    /// Lets a set follow containers from now on.
    ///
    /// # Errors
    /// When there is no such alias or set.
    pub fn set_containers(
        &mut self,
        name: &AliasName,
        set: &SetName,
        containers: Option<ContainerSource>,
    ) -> Result<(), Refusal> {
        self.alias(name)?.set(name, set)?;
        if let Some(set) = self.alias_mut(name)?.sets.get_mut(set) {
            set.containers = containers;
        }
        Ok(())
    }

    /// The lowest number that no set has and no flow names.
    fn free_set_id(&self, taken: &FlowSetIds) -> Result<u32, Refusal> {
        let max = switcher_ebpf::abi::SETS_MAX;
        let used: BTreeSet<u32> = self.set_ids().collect();
        // From 1: 0 stays the number of no set.
        (1..max)
            .find(|id| !used.contains(id) && !taken.contains(id))
            .ok_or(Refusal::SetNumbersUsedUp { max })
    }

    /// Removes a set that has no share. That it has no flows is for the caller to know.
    ///
    /// # Errors
    /// When there is no such set, or it has a share.
    pub fn set_rm(&mut self, name: &AliasName, set: &SetName) -> Result<(), Refusal> {
        let alias = self.alias_mut(name)?;
        alias.set(name, set)?;
        if alias.split.has(set) {
            return Err(Refusal::SetHasShare {
                alias: name.clone(),
                set: set.clone(),
                split: alias.split.text(),
            });
        }
        if alias.unconfirmed.as_ref() == Some(set) {
            return Err(Refusal::Unconfirmed {
                alias: name.clone(),
                set: set.clone(),
            });
        }
        alias.sets.remove(set);
        Ok(())
    }

    /// Gives the sets these shares, and all others none. Returns false where it was so already.
    ///
    /// # Errors
    /// When a set is unknown, or all weights are 0.
    pub fn split(&mut self, name: &AliasName, weights: &BTreeMap<SetName, Weight>) -> Result<bool, Refusal> {
        let alias = self.alias_mut(name)?;
        for set in weights.keys() {
            if !alias.sets.contains_key(set) {
                let known = known("it has", alias.sets.keys());
                return Err(Refusal::UnknownSetInSplit {
                    alias: name.clone(),
                    set: set.clone(),
                    known,
                });
            }
        }
        let weights: BTreeMap<SetName, u32> = weights
            .iter()
            .map(|(set, weight)| (set.clone(), u32::from(weight.get())))
            .collect();
        if weights.values().all(|weight| *weight == 0) {
            return Err(Refusal::SplitZero { alias: name.clone() });
        }
        let next = alias.split.change(&weights);
        Ok(alias.change_split(next))
    }

    /// Moves FROM's share to TO; others keep theirs.
    ///
    /// # Errors
    /// When a set is unknown, or it is not clear whose share moves.
    pub fn upgrade(&mut self, name: &AliasName, from: Option<&SetName>, to: &SetName) -> Result<Move, Refusal> {
        let alias = self.alias_mut(name)?;
        alias.set(name, to)?;
        let sharing: Vec<SetName> = alias.split.weights.keys().cloned().collect();
        let from = match from {
            Some(from) if from == to => return Err(Refusal::FromIsTo { set: to.clone() }),
            Some(from) => {
                alias.set(name, from)?;
                from.clone()
            }
            // TO may have a share already (a canary): the one that goes up is never the one that goes down.
            None => match sharing.iter().filter(|set| *set != to).collect::<Vec<_>>().as_slice() {
                [] if sharing.is_empty() => return Err(Refusal::NobodyHasShare { alias: name.clone() }),
                // Switched before: what the last change took the share from may still have flows, and 0 says it has none.
                [] => {
                    return Ok(Move {
                        from: alias.lost_its_share(to),
                        changed: false,
                    });
                }
                [only] => (*only).clone(),
                _several => {
                    let sets = names(&sharing);
                    return Err(Refusal::AmbiguousFrom {
                        alias: name.clone(),
                        sets,
                    });
                }
            },
        };
        let mut weights = alias.split.weights.clone();
        match weights.remove(&from) {
            Some(share) => *weights.entry(to.clone()).or_insert(0) += share,
            None if alias.split.has(to) && alias.previous.as_ref().is_some_and(|split| split.has(&from)) => {
                return Ok(Move {
                    from: Some(from),
                    changed: false,
                });
            }
            None => {
                let sets = names(&sharing);
                return Err(Refusal::FromHasNoShare {
                    alias: name.clone(),
                    set: from,
                    sets,
                });
            }
        }
        let next = alias.split.change(&weights);
        alias.change_split(next);
        Ok(Move {
            from: Some(from),
            changed: true,
        })
    }

    /// Restores the split before the last change, to the hash.
    ///
    /// # Errors
    /// When there is none, or one of its sets is gone.
    pub fn rollback(&mut self, name: &AliasName) -> Result<(), Refusal> {
        let alias = self.alias_mut(name)?;
        let previous = alias
            .previous
            .clone()
            .ok_or_else(|| Refusal::NoPrevious { alias: name.clone() })?;
        if let Some(gone) = previous.weights.keys().find(|set| !alias.sets.contains_key(*set)) {
            let split = previous.text();
            return Err(Refusal::PreviousSetGone {
                alias: name.clone(),
                set: gone.clone(),
                split,
            });
        }
        alias.change_split(previous);
        alias.unconfirmed = None;
        Ok(())
    }

    /// Lets the set go that the last upgrade took the share from. Returns it; `None`: nothing waits to be confirmed.
    ///
    /// # Errors
    /// When there is no such alias.
    pub fn confirm(&mut self, name: &AliasName) -> Result<Option<SetName>, Refusal> {
        Ok(self.alias_mut(name)?.unconfirmed.take())
    }
}

impl Alias {
    /// The set of that name; `name` is the alias's own.
    ///
    /// # Errors
    /// When there is none.
    pub fn set(&self, name: &AliasName, set: &SetName) -> Result<&Set, Refusal> {
        self.sets.get(set).ok_or_else(|| Refusal::UnknownSet {
            alias: name.clone(),
            set: set.clone(),
            known: known("it has", self.sets.keys()),
        })
    }

    /// The one set other than TO that had a share before the last change and still exists.
    fn lost_its_share(&self, to: &SetName) -> Option<SetName> {
        let mut lost = self.previous.iter().flat_map(|split| split.weights.keys());
        let mut lost = lost.by_ref().filter(|set| *set != to && self.sets.contains_key(*set));
        let one = lost.next()?.clone();
        lost.next().is_none().then_some(one)
    }

    /// Takes a split and remembers the old one. Returns false where it was so already.
    fn change_split(&mut self, next: Split) -> bool {
        if next == self.split {
            return false;
        }
        let old = std::mem::replace(&mut self.split, next);
        if !old.weights.is_empty() {
            self.previous = Some(old);
        }
        true
    }
}

fn names(sets: &[SetName]) -> String {
    if sets.is_empty() {
        return "none".to_owned();
    }
    sets.iter().map(SetName::as_str).collect::<Vec<_>>().join(", ")
}
