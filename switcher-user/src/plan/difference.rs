//! What differs between two states of what is wanted, as sentences.

use super::{Alias, Desired, Set};
use crate::model::{AliasName, BackendAddress, ContainerSource, Listener, SetName, StackName};

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The alias that it is about.
    pub alias: AliasName,
    /// The field, as a path into a stack file.
    pub field: String,
    /// What changes, as a sentence.
    pub what: String,
}

/// A set that goes while its alias stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedSet {
    /// Its alias.
    pub alias: AliasName,
    /// Its name.
    pub set: SetName,
    /// Its number.
    pub id: u32,
}

impl Desired {
    /// What differs, alias by alias.
    #[must_use]
    pub fn differences(&self, new: &Self) -> Vec<Difference> {
        let mut all = Vec::new();
        for name in self.aliases.keys().filter(|name| !new.aliases.contains_key(*name)) {
            push(
                &mut all,
                name,
                "",
                format!("alias {name}: removed (its flows stay until they end)"),
            );
        }
        for (name, alias) in &new.aliases {
            match self.aliases.get(name) {
                None => created(&mut all, name, alias),
                Some(old) if old != alias => changed(&mut all, name, old, alias),
                Some(_) => {}
            }
        }
        all
    }

    /// Sets that go while their alias stays.
    #[must_use]
    pub fn removed_sets(&self, new: &Self) -> Vec<RemovedSet> {
        let mut all = Vec::new();
        for (name, old) in &self.aliases {
            let Some(alias) = new.aliases.get(name) else { continue };
            for (set, had) in old.sets.iter().filter(|(set, _)| !alias.sets.contains_key(*set)) {
                all.push(RemovedSet {
                    alias: name.clone(),
                    set: set.clone(),
                    id: had.id,
                });
            }
        }
        all
    }
}

fn push(all: &mut Vec<Difference>, alias: &AliasName, rest: &str, what: String) {
    all.push(Difference {
        alias: alias.clone(),
        field: format!("aliases.{alias}{rest}"),
        what,
    });
}

fn created(all: &mut Vec<Difference>, name: &AliasName, alias: &Alias) {
    push(
        all,
        name,
        "",
        format!("alias {name}: created, listens on {}", listeners(&alias.listen)),
    );
    for (set_name, set) in &alias.sets {
        let what = format!("set {name}/{set_name}: created with {}", backends(set.backends.len()));
        push(all, name, &format!(".sets.{set_name}"), what);
    }
    if !alias.split.weights.is_empty() {
        push(
            all,
            name,
            ".split",
            format!("alias {name}: split {}", alias.split.text()),
        );
    }
}

fn changed(all: &mut Vec<Difference>, name: &AliasName, old: &Alias, new: &Alias) {
    if old.stack != new.stack {
        let owner = new.stack.as_ref().map_or("no stack", StackName::as_str);
        push(all, name, "", format!("alias {name}: now owned by {owner}"));
    }
    if old.listen != new.listen {
        let (was, is) = (listeners(&old.listen), listeners(&new.listen));
        push(all, name, ".listen", format!("alias {name}: listens on {was} -> {is}"));
    }
    if old.path != new.path {
        push(
            all,
            name,
            ".path",
            format!("alias {name}: path {} -> {}", old.path.text(), new.path.text()),
        );
    }
    if old.udp != new.udp {
        push(
            all,
            name,
            ".udp",
            format!("alias {name}: udp {} -> {}", old.udp.text(), new.udp.text()),
        );
    }
    if old.add_addresses != new.add_addresses {
        let what = if new.add_addresses {
            "addresses of its listeners are added to this host where they are missing"
        } else {
            "addresses that were added for it are taken away"
        };
        push(all, name, ".add_addresses", format!("alias {name}: {what}"));
    }
    if old.shield != new.shield {
        let word = |on| if on { "on" } else { "off" };
        let (was, is) = (word(old.shield), word(new.shield));
        push(all, name, ".shield", format!("alias {name}: shield {was} -> {is}"));
    }
    for set in old.sets.keys().filter(|set| !new.sets.contains_key(*set)) {
        push(all, name, &format!(".sets.{set}"), format!("set {name}/{set}: removed"));
    }
    for (set_name, set) in &new.sets {
        let what = match old.sets.get(set_name) {
            None => format!("created with {}", backends(set.backends.len())),
            Some(had) if had != set => backends_changed(had, set),
            Some(_) => continue,
        };
        push(
            all,
            name,
            &format!(".sets.{set_name}"),
            format!("set {name}/{set_name}: {what}"),
        );
    }
    if old.split != new.split {
        push(
            all,
            name,
            ".split",
            format!("alias {name}: split {} -> {}", old.split.text(), new.split.text()),
        );
    }
}

fn listeners(listen: &[Listener]) -> String {
    listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn backends(count: usize) -> String {
    if count == 1 {
        "1 backend".to_owned()
    } else {
        format!("{count} backends")
    }
}

/// `backends +10.1.0.3:8080 -10.1.0.2:8080`.
fn backends_changed(old: &Set, new: &Set) -> String {
    const SHOWN_MAX: usize = 8;
    let has = |set: &Set, address: BackendAddress| set.backends.iter().any(|backend| backend.address == address);
    let added = new
        .backends
        .iter()
        .filter(|b| !has(old, b.address))
        .map(|b| format!("+{}", b.address));
    let removed = old
        .backends
        .iter()
        .filter(|b| !has(new, b.address))
        .map(|b| format!("-{}", b.address));
    let all: Vec<String> = added.chain(removed).collect();
    let health = match &new.health {
        _ if new.health == old.health => "",
        Some(_) => "another health check",
        None => "no health check",
    };
    match all.len() {
        0 if !health.is_empty() => health.to_owned(),
        0 if old.containers != new.containers => follows(new),
        0 => "backends in another order".to_owned(),
        count if count > SHOWN_MAX => format!("backends {} and {} more", all[..SHOWN_MAX].join(" "), count - SHOWN_MAX),
        _ => format!("backends {}", all.join(" ")),
    }
}

fn follows(set: &Set) -> String {
    match &set.containers {
        None => "follows no containers any more".to_owned(),
        Some(ContainerSource::Labels) => "follows the containers that are labelled for it".to_owned(),
        Some(ContainerSource::Service { project, service, .. }) => {
            format!("follows the containers of service {service} of {project}")
        }
    }
}
