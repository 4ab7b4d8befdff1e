//! What must hold of everything that is wanted, whatever the host looks like.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Alias, Desired, Refusal, Set};
use crate::model::{
    ALIASES_MAX, AliasName, BACKENDS_PER_SET_MAX, LISTENERS_PER_ALIAS_MAX, Listener, SETS_PER_ALIAS_MAX, SetName,
};

impl Desired {
    /// Checks everything.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.aliases.len() > ALIASES_MAX {
            return Err(Refusal::TooManyAliases {
                count: self.aliases.len(),
            });
        }
        let owners = self.check_listeners()?;
        for (name, alias) in &self.aliases {
            check_alias(name, alias, &owners)?;
        }
        Ok(())
    }

    fn check_listeners(&self) -> Result<BTreeMap<Listener, AliasName>, Refusal> {
        let mut owners: BTreeMap<Listener, AliasName> = BTreeMap::new();
        // Newest last, so that an error is about the alias that came to claim it.
        let mut by_age: Vec<(&AliasName, &Alias)> = self.aliases.iter().collect();
        by_age.sort_by_key(|(_, alias)| alias.id);
        for (name, alias) in by_age {
            if alias.listen.is_empty() {
                return Err(Refusal::NoListeners { alias: name.clone() });
            }
            if alias.listen.len() > LISTENERS_PER_ALIAS_MAX {
                return Err(Refusal::TooManyListeners {
                    alias: name.clone(),
                    count: alias.listen.len(),
                });
            }
            for (index, listener) in alias.listen.iter().enumerate() {
                let (alias, listener) = (name.clone(), *listener);
                if listener.address.is_loopback() {
                    return Err(Refusal::ListenerIsLoopback { alias, index, listener });
                }
                match owners.insert(listener, name.clone()) {
                    Some(other) if other == alias => return Err(Refusal::ListenerTwice { alias, index, listener }),
                    Some(other) => {
                        return Err(Refusal::ListenerClaimed {
                            alias,
                            index,
                            listener,
                            other,
                        });
                    }
                    None => {}
                }
            }
        }
        Ok(owners)
    }
}

fn check_alias(name: &AliasName, alias: &Alias, owners: &BTreeMap<Listener, AliasName>) -> Result<(), Refusal> {
    if alias.sets.len() > SETS_PER_ALIAS_MAX {
        return Err(Refusal::TooManySets {
            alias: name.clone(),
            count: alias.sets.len(),
        });
    }
    for (set_name, set) in &alias.sets {
        check_set(name, alias, set_name, set, owners)?;
        if alias.split.has(set_name) {
            check_families(name, alias, set_name, set)?;
        }
    }
    Ok(())
}

fn check_set(
    name: &AliasName,
    alias: &Alias,
    set_name: &SetName,
    set: &Set,
    owners: &BTreeMap<Listener, AliasName>,
) -> Result<(), Refusal> {
    let (alias_name, count) = (name.clone(), set.backends.len());
    if count == 0 {
        return Err(Refusal::NoBackends {
            alias: alias_name,
            set: set_name.clone(),
        });
    }
    if count > BACKENDS_PER_SET_MAX {
        return Err(Refusal::TooManyBackends {
            alias: alias_name,
            set: set_name.clone(),
            count,
        });
    }
    let mut seen = BTreeSet::new();
    for (index, backend) in set.backends.iter().enumerate() {
        let backend = backend.address;
        let (alias_name, set_name) = (name.clone(), set_name.clone());
        if !seen.insert(backend) {
            return Err(Refusal::BackendTwice {
                alias: alias_name,
                set: set_name,
                index,
                backend,
            });
        }
        for listener in &alias.listen {
            let port = backend.port.map_or(listener.port, std::num::NonZero::get);
            let place = Listener {
                address: backend.address,
                port,
                protocol: listener.protocol,
            };
            if let Some(other) = owners.get(&place) {
                let other = other.clone();
                return Err(Refusal::BackendIsListener {
                    alias: alias_name,
                    set: set_name,
                    index,
                    backend,
                    other,
                });
            }
        }
    }
    Ok(())
}

/// Nothing translates between families, so a set with a share needs a backend of each listener's family.
fn check_families(name: &AliasName, alias: &Alias, set_name: &SetName, set: &Set) -> Result<(), Refusal> {
    for listener in &alias.listen {
        let v6 = listener.address.is_ipv6();
        if !set
            .backends
            .iter()
            .any(|backend| backend.address.address.is_ipv6() == v6)
        {
            return Err(Refusal::FamilyMismatch {
                alias: name.clone(),
                set: set_name.clone(),
                listener: *listener,
                family: family(listener.address),
            });
        }
    }
    Ok(())
}

const fn family(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "IPv6" } else { "IPv4" }
}
