//! Which aliases really lead to containers, whatever the files of today say, and whose aliases are whose.

use std::net::IpAddr;

use super::bring::Site;
use super::stack;
use crate::api::{ApiError, ErrorCode, SetStatus, StatusDocument};
use crate::compose::ServiceName;
use crate::discovery::Container;
use crate::model::{AliasName, ContainerSource, SetName, StackName};

/// Sets with a share where a container is a backend.
pub(super) fn leads_to(status: &StatusDocument, container: &Container) -> Vec<(AliasName, SetName)> {
    // The host's address is more than one container's.
    if !container.running || container.on_host_network {
        return Vec::new();
    }
    let addresses: Vec<IpAddr> = container.addresses.iter().map(|one| one.address).collect();
    sharing(status)
        .filter(|(_, set)| has_one_of(set, &addresses))
        .map(|(alias, set)| (alias.clone(), set.name.clone()))
        .collect()
}

/// Sets with a share that follow a service, or where one of its containers is a backend.
pub(super) fn leads_to_service(
    status: &StatusDocument,
    stack: &StackName,
    name: &ServiceName,
    containers: &[Container],
) -> Vec<(AliasName, SetName)> {
    let own = containers.iter().filter(|one| one.running && !one.on_host_network);
    let addresses: Vec<IpAddr> = own.flat_map(|one| &one.addresses).map(|one| one.address).collect();
    let follows = |set: &SetStatus| matches!(&set.containers, Some(ContainerSource::Service { project, service, .. }) if project == stack && service == name);
    sharing(status)
        .filter(|(_, set)| follows(set) || has_one_of(set, &addresses))
        .map(|(alias, set)| (alias.clone(), set.name.clone()))
        .collect()
}

fn sharing(status: &StatusDocument) -> impl Iterator<Item = (&AliasName, &SetStatus)> {
    let sets = status
        .aliases
        .iter()
        .flat_map(|alias| alias.sets.iter().map(move |set| (&alias.name, set)));
    sets.filter(|(_, set)| set.weight > 0)
}

fn has_one_of(set: &SetStatus, addresses: &[IpAddr]) -> bool {
    set.backends.iter().any(|one| addresses.contains(&one.address.address))
}

impl Site<'_> {
    /// Aliases of the files that somebody else has. Before anything changes.
    pub(super) fn refuse_foreign_aliases(&self, status: &StatusDocument) -> Result<(), ApiError> {
        let own = &self.loaded.name;
        for alias in stack::kernel_aliases(&self.loaded.project)? {
            let name = &alias.name;
            let Some(known) = status.aliases.iter().find(|one| one.name == *name) else {
                continue;
            };
            let whose = match &known.stack {
                Some(stack) if stack == own => continue,
                Some(stack) => format!("belongs to stack '{stack}'"),
                None => "was made by hand (switcher alias put)".to_owned(),
            };
            let text = format!(
                "alias '{name}' of these files (project {own}) is there already and {whose}; nothing was changed: rename it in the files, remove the other with: switcher alias rm {name}, or take it over with: switcher compose up -d --force"
            );
            return Err(ApiError::new(ErrorCode::Refused, text));
        }
        Ok(())
    }
}
