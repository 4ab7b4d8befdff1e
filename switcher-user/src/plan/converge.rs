//! `apply`: from what is wanted to what a stack file wants.

use std::collections::BTreeSet;

use super::{Desired, FlowSetIds, Refusal};
use crate::model::{AliasName, AliasSpec, BackendAddress, Listener, SetName, StackName, StackSpec};

/// One thing that a stack file changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field, as a path into the file.
    pub field: String,
    /// What changes, as a sentence.
    pub what: String,
}

/// Everything that a stack file changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Convergence {
    /// In the file's order.
    pub differences: Vec<Difference>,
    /// Sets that go, for the caller to know that they have no flows.
    pub removed_sets: Vec<(AliasName, SetName, u32)>,
    /// Aliases that change or go.
    pub touched: BTreeSet<AliasName>,
}

impl Convergence {
    fn push(&mut self, alias: &AliasName, rest: &str, what: String) {
        self.touched.insert(alias.clone());
        self.differences.push(Difference { field: format!("aliases.{alias}{rest}"), what });
    }
}

impl Desired {
    /// Takes what the file says; with `prune`, removes what its stack owns and the file omits.
    ///
    /// # Errors
    /// When a rule does not hold; `self` may then be half changed and is to be thrown away.
    pub fn converge(
        &mut self,
        spec: &StackSpec,
        prune: bool,
        in_flows: &FlowSetIds,
    ) -> Result<Convergence, Refusal> {
        let mut done = Convergence::default();
        if prune {
            self.prune_aliases(spec, &mut done);
        }
        for (name, alias) in &spec.aliases {
            self.converge_alias(&spec.stack, name, alias, in_flows, &mut done)?;
            if prune {
                self.prune_sets(name, alias, &mut done)?;
            }
        }
        Ok(done)
    }

    fn converge_alias(
        &mut self,
        stack: &StackName,
        name: &AliasName,
        spec: &AliasSpec,
        in_flows: &FlowSetIds,
        done: &mut Convergence,
    ) -> Result<(), Refusal> {
        let old = self.aliases.get(name).cloned();
        match &old {
            None => {
                if spec.split.is_none() {
                    return Err(Refusal::SplitMissing { alias: name.clone() });
                }
                done.push(name, "", format!("alias {name}: created, listens on {}", listeners(&spec.listen)));
            }
            Some(old) => {
                owned_or_free(name, old.stack.as_ref(), stack)?;
                if old.listen != spec.listen {
                    let (was, is) = (listeners(&old.listen), listeners(&spec.listen));
                    done.push(name, ".listen", format!("alias {name}: listens on {was} -> {is}"));
                }
                if old.path != spec.path {
                    let (was, is) = (old.path.text(), spec.path.text());
                    done.push(name, ".path", format!("alias {name}: path {was} -> {is}"));
                }
                if old.stack.is_none() {
                    done.push(name, "", format!("alias {name}: now owned by stack {stack}"));
                }
            }
        }
        self.alias_put(name, &spec.listen, spec.path)?;
        if let Some(alias) = self.aliases.get_mut(name) {
            alias.stack = Some(stack.clone());
        }
        for (set, set_spec) in &spec.sets {
            let had = old.as_ref().and_then(|old| old.sets.get(set));
            let had: Option<Vec<BackendAddress>> =
                had.map(|had| had.backends.iter().map(|backend| backend.address).collect());
            if let Some(what) = backends_difference(had.as_deref(), &set_spec.backends) {
                done.push(name, &format!(".sets.{set}"), format!("set {name}/{set}: {what}"));
                self.set_put(name, set, &set_spec.backends, in_flows)?;
            }
        }
        self.converge_split(name, spec, done)
    }

    fn converge_split(&mut self, name: &AliasName, spec: &AliasSpec, done: &mut Convergence) -> Result<(), Refusal> {
        let Some(weights) = &spec.split else { return Ok(()) };
        let was = self.alias(name)?.split.text();
        if self.split(name, weights)? {
            let is = self.alias(name)?.split.text();
            done.push(name, ".split", format!("alias {name}: split {was} -> {is}"));
        }
        Ok(())
    }

    fn prune_aliases(&mut self, spec: &StackSpec, done: &mut Convergence) {
        let gone: Vec<AliasName> = self
            .aliases
            .iter()
            .filter(|(name, alias)| alias.stack.as_ref() == Some(&spec.stack) && !spec.aliases.contains_key(*name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.aliases.remove(&name);
            done.push(&name, "", format!("alias {name}: removed (its flows stay until they end)"));
        }
    }

    fn prune_sets(&mut self, name: &AliasName, spec: &AliasSpec, done: &mut Convergence) -> Result<(), Refusal> {
        let alias = self.alias(name)?;
        let gone: Vec<(SetName, u32)> = alias
            .sets
            .iter()
            .filter(|(set, _)| !spec.sets.contains_key(*set))
            .map(|(set, had)| (set.clone(), had.id))
            .collect();
        for (set, id) in gone {
            self.set_rm(name, &set)?;
            done.push(name, &format!(".sets.{set}"), format!("set {name}/{set}: removed"));
            done.removed_sets.push((name.clone(), set, id));
        }
        Ok(())
    }
}

fn owned_or_free(name: &AliasName, owner: Option<&StackName>, stack: &StackName) -> Result<(), Refusal> {
    match owner {
        Some(owner) if owner != stack => {
            Err(Refusal::OtherStack { alias: name.clone(), owner: owner.clone(), stack: stack.clone() })
        }
        _ => Ok(()),
    }
}

fn listeners(listen: &[Listener]) -> String {
    listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// `+10.1.0.3:8080 -10.1.0.2:8080`; `None` where they are the same.
fn backends_difference(old: Option<&[BackendAddress]>, new: &[BackendAddress]) -> Option<String> {
    const SHOWN_MAX: usize = 8;
    let Some(old) = old else {
        return Some(format!("created with {} backend(s)", new.len()));
    };
    if old == new {
        return None;
    }
    let added = new.iter().filter(|backend| !old.contains(backend)).map(|backend| format!("+{backend}"));
    let removed = old.iter().filter(|backend| !new.contains(backend)).map(|backend| format!("-{backend}"));
    let all: Vec<String> = added.chain(removed).collect();
    Some(match all.len() {
        0 => "backends in another order".to_owned(),
        count if count > SHOWN_MAX => format!("{} and {} more", all[..SHOWN_MAX].join(" "), count - SHOWN_MAX),
        _ => all.join(" "),
    })
}
