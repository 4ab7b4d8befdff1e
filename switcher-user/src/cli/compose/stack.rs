//! From aliases of a project to what the agent is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use crate::api::{ApiError, ApplyRequest, ErrorCode, PlacePort, Places};
use crate::compose::{AliasService, Port, Project, Published, ServiceName};
use crate::model::{
    AliasName, AliasSpec, BackendAddress, ContainerSource, Listener, PathPolicy, Protocol, SetSpec, StackName,
    StackSpec, UdpPolicy, Weight,
};

/// The containers of a service that serve it.
#[derive(Clone, Debug, Default)]
pub(super) struct Serving {
    /// Where they are.
    pub addresses: Vec<std::net::IpAddr>,
    /// Only those that were made of one of these; empty: all.
    pub hashes: Vec<String>,
}

impl Serving {
    /// All containers of the service, which are there.
    pub const fn all(addresses: Vec<std::net::IpAddr>) -> Self {
        Self {
            addresses,
            hashes: Vec::new(),
        }
    }
}

/// The containers of each service that serve it.
pub(super) type Running = BTreeMap<ServiceName, Serving>;

/// One alias as the kernel knows it: ports that lead to different ports of the containers are aliases of their own.
#[derive(Clone, Debug)]
pub(super) struct KernelAlias<'p> {
    pub name: AliasName,
    pub alias: &'p AliasService,
    /// The port of the backends; `None`: the listener's.
    pub target: Option<NonZeroU16>,
    ports: Vec<Published>,
    inside: Vec<Port>,
}

impl KernelAlias<'_> {
    /// The TCP ports of containers that it leads to; one of them is to take connections.
    pub(super) fn target_ports(&self) -> BTreeSet<u16> {
        let tcp = |port: &&Port| port.protocol == Protocol::Tcp;
        let ports = self.inside.iter().filter(tcp);
        ports.map(|port| self.target.unwrap_or(port.number).get()).collect()
    }
}

/// The aliases of a project, balancers with several targets divided. The first target in the files has the alias's name, so that
/// another port beside it renames nothing.
pub(super) fn kernel_aliases(project: &Project) -> Result<Vec<KernelAlias<'_>>, ApiError> {
    let mut all: Vec<KernelAlias<'_>> = Vec::new();
    for (name, alias) in &project.aliases {
        let mut targets: Vec<NonZeroU16> = Vec::new();
        for target in alias.ports.iter().map(|port| port.target.number) {
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        if targets.is_empty() {
            all.push(KernelAlias {
                name: name.clone(),
                alias,
                target: None,
                ports: Vec::new(),
                inside: project.inside_ports(alias),
            });
        }
        for target in &targets {
            let ports: Vec<Published> = alias
                .ports
                .iter()
                .filter(|port| port.target.number == *target)
                .copied()
                .collect();
            let name = if targets.first() == Some(target) {
                name.clone()
            } else {
                let text = format!("{name}-{target}");
                text.parse()
                    .map_err(|error| ApiError::new(ErrorCode::Invalid, format!("alias {text}: {error}")))?
            };
            if project.aliases.contains_key(&name) && targets.first() != Some(target) {
                let text = format!(
                    "alias '{name}' is in the files, and is also what port {target} of another alias would be called; rename one of them"
                );
                return Err(ApiError::new(ErrorCode::Invalid, text));
            }
            let inside = ports.iter().map(Published::port).collect();
            all.push(KernelAlias {
                name,
                alias,
                target: Some(*target),
                ports,
                inside,
            });
        }
    }
    Ok(all)
}

/// What the agent is asked for. Shares are by containers: each gets as much as each other.
pub(super) fn request(stack: &StackName, project: &Project, running: &Running) -> Result<ApplyRequest, ApiError> {
    let mut request = ApplyRequest {
        spec: StackSpec {
            stack: stack.clone(),
            aliases: BTreeMap::new(),
        },
        dry_run: false,
        prune: false,
        force: false,
        take_over: false,
        places: BTreeMap::new(),
    };
    for one in kernel_aliases(project)? {
        let mut spec = AliasSpec {
            listen: listeners(&one),
            path: PathPolicy::Auto,
            udp: UdpPolicy::Stay,
            shield: true,
            add_addresses: false,
            split: None,
            sets: BTreeMap::new(),
        };
        let mut split = BTreeMap::new();
        for link in &one.alias.links {
            let Some(serving) = running.get(link).filter(|serving| !serving.addresses.is_empty()) else {
                continue;
            };
            let weight = i64::try_from(containers_at(&serving.addresses)).unwrap_or(1);
            split.insert(link.clone(), Weight::try_from(weight).map_err(invalid)?);
            spec.sets.insert(link.clone(), set(stack, link, serving, one.target));
        }
        if split.is_empty() {
            let text = format!(
                "alias '{}' has no container behind it: all services it links have scale 0",
                one.name
            );
            return Err(ApiError::new(ErrorCode::Invalid, text));
        }
        spec.split = Some(split);
        request.places.insert(one.name.clone(), places(&one));
        request.spec.aliases.insert(one.name, spec);
    }
    Ok(request)
}

/// How many containers have these addresses: one of a family each, so that one with both counts as much as one with either.
fn containers_at(addresses: &[std::net::IpAddr]) -> usize {
    let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
    v4.max(addresses.len() - v4)
}

fn invalid(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::Invalid, error.to_string())
}

pub(super) fn set(stack: &StackName, service: &ServiceName, serving: &Serving, port: Option<NonZeroU16>) -> SetSpec {
    let mut backends: Vec<BackendAddress> = serving
        .addresses
        .iter()
        .map(|address| BackendAddress {
            address: *address,
            port,
        })
        .collect();
    backends.sort_unstable();
    SetSpec {
        backends,
        health: None,
        containers: Some(ContainerSource::Service {
            project: stack.clone(),
            service: service.clone(),
            hashes: serving.hashes.clone(),
            port,
        }),
    }
}

fn listeners(one: &KernelAlias<'_>) -> Vec<Listener> {
    let named = one.ports.iter().filter_map(|published| {
        Some(Listener {
            address: published.address?,
            port: published.port().number.get(),
            protocol: published.target.protocol,
        })
    });
    named.collect()
}

fn places(one: &KernelAlias<'_>) -> Places {
    let place = |port: Port| PlacePort {
        port: port.number,
        protocol: port.protocol,
    };
    let everywhere = one.ports.iter().filter(|published| published.address.is_none());
    Places {
        inside: one.inside.iter().copied().map(place).collect(),
        published: everywhere.map(|published| place(published.port())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_with_both_families_counts_once() {
        for (addresses, containers) in [
            (&["172.17.0.2", "172.17.0.3"][..], 2),
            (&["172.17.0.2", "fd00::2", "172.17.0.3", "fd00::3"], 2),
            (&["fd00::2", "fd00::3", "172.17.0.3"], 2),
            (&[], 0),
        ] {
            let addresses: Vec<_> = addresses.iter().map(|one| one.parse().unwrap()).collect();
            assert_eq!(containers_at(&addresses), containers, "{addresses:?}");
        }
    }
}
