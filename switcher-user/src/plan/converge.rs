//! `apply`: from what is wanted to what a stack file wants.

use super::{Desired, FlowSetIds, Refusal};
use crate::model::{AliasName, AliasPolicy, AliasSpec, SetName, StackName, StackSpec};

/// How far a stack file reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// What its stack owns and the file omits goes.
    pub prune: bool,
    /// Aliases of other stacks become its own.
    pub take_over: bool,
}

impl Desired {
    /// Takes what the file says.
    ///
    /// # Errors
    /// When a rule does not hold; `self` may then be half changed and is to be thrown away.
    pub fn converge(&mut self, spec: &StackSpec, reach: Reach, taken: &FlowSetIds) -> Result<(), Refusal> {
        if reach.prune {
            self.aliases
                .retain(|name, alias| alias.stack.as_ref() != Some(&spec.stack) || spec.aliases.contains_key(name));
        }
        for (name, alias) in &spec.aliases {
            if !reach.take_over {
                self.is_own(&spec.stack, name)?;
            }
            self.converge_alias(&spec.stack, name, alias, taken)?;
            if reach.prune {
                self.prune_sets(name, alias)?;
            }
        }
        Ok(())
    }

    fn is_own(&self, stack: &StackName, name: &AliasName) -> Result<(), Refusal> {
        let owner = self.aliases.get(name).and_then(|alias| alias.stack.clone());
        match owner.filter(|owner| owner != stack) {
            Some(owner) => Err(Refusal::OtherStack {
                alias: name.clone(),
                owner,
                stack: stack.clone(),
            }),
            None => Ok(()),
        }
    }

    fn converge_alias(
        &mut self,
        stack: &StackName,
        name: &AliasName,
        spec: &AliasSpec,
        taken: &FlowSetIds,
    ) -> Result<(), Refusal> {
        if spec.split.is_none() && !self.aliases.contains_key(name) {
            return Err(Refusal::SplitMissing { alias: name.clone() });
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
