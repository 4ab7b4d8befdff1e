//! `apply`: from what is wanted to what a stack file wants.

use super::{Desired, FlowSetIds, Refusal};
use crate::model::{AliasName, AliasPolicy, AliasSpec, SetName, StackName, StackSpec};

impl Desired {
    /// Takes what the file says; with `prune`, removes what its stack owns and the file omits.
    ///
    /// # Errors
    /// When a rule does not hold; `self` may then be half changed and is to be thrown away.
    pub fn converge(&mut self, spec: &StackSpec, prune: bool, taken: &FlowSetIds) -> Result<(), Refusal> {
        if prune {
            self.aliases
                .retain(|name, alias| alias.stack.as_ref() != Some(&spec.stack) || spec.aliases.contains_key(name));
        }
        for (name, alias) in &spec.aliases {
            self.converge_alias(&spec.stack, name, alias, taken)?;
            if prune {
                self.prune_sets(name, alias)?;
            }
        }
        Ok(())
    }

    fn converge_alias(
        &mut self,
        stack: &StackName,
        name: &AliasName,
        spec: &AliasSpec,
        taken: &FlowSetIds,
    ) -> Result<(), Refusal> {
        let owner = match self.aliases.get(name) {
            None if spec.split.is_none() => return Err(Refusal::SplitMissing { alias: name.clone() }),
            None => None,
            Some(old) => old.stack.clone(),
        };
        if let Some(owner) = owner.filter(|owner| owner != stack) {
            return Err(Refusal::OtherStack {
                alias: name.clone(),
                owner,
                stack: stack.clone(),
            });
        }
        let policy = AliasPolicy {
            path: spec.path,
            udp: spec.udp,
            shield: spec.shield,
            add_addresses: spec.add_addresses,
        };
        self.alias_put(name, &spec.listen, policy)?;
        if let Some(alias) = self.aliases.get_mut(name) {
            alias.stack = Some(stack.clone());
        }
        for (set, set_spec) in &spec.sets {
            self.set_put(name, set, &set_spec.backends, taken)?;
            // Compose files know no health of a set: what somebody gave it stays.
            if set_spec.health.is_some() || set_spec.containers.is_none() {
                self.set_health(name, set, set_spec.health.as_ref())?;
            }
            self.set_containers(name, set, set_spec.containers.clone())?;
        }
        if let Some(weights) = &spec.split {
            self.split(name, weights)?;
        }
        Ok(())
    }

    fn prune_sets(&mut self, name: &AliasName, spec: &AliasSpec) -> Result<(), Refusal> {
        let sets = self.alias(name)?.sets.keys();
        let gone: Vec<SetName> = sets.filter(|set| !spec.sets.contains_key(*set)).cloned().collect();
        gone.iter().try_for_each(|set| self.set_rm(name, set))
    }
}
