//! What the agent tells whoever answers names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::owner::Owner;
use super::port::{Host, Kernel};
use crate::discovery::{Container, LABEL_LINKS, LINK_ALIAS, LINK_SERVICE, Snapshot};
use crate::dns::Names;

/// Most links of one container; more are left out.
const LINKS_MAX: usize = 64;

impl<K: Kernel, H: Host> Owner<K, H> {
    /// An alias's address of the pool, else all of its addresses; and what containers call others by their links.
    pub(super) fn tell_names(&self) {
        let addresses = self.desired.aliases.iter().map(|(name, alias)| {
            let mut all: Vec<IpAddr> = alias.listen.iter().map(|listener| listener.address).collect();
            all.sort_unstable();
            all.dedup();
            if all.iter().any(|address| self.pool.has(*address)) {
                all.retain(|address| self.pool.has(*address));
            }
            (name.as_str().to_lowercase(), all)
        });
        let addresses = addresses.collect();
        let links = self
            .snapshot()
            .map(|snapshot| links(&snapshot, &addresses))
            .unwrap_or_default();
        let names = Names { addresses, links };
        self.names.send_if_modified(|known| {
            let news = **known != names;
            if news {
                *known = Arc::new(names);
            }
            news
        });
    }
}

/// By the address of each container that has links.
fn links(
    snapshot: &Snapshot,
    aliases: &BTreeMap<String, Vec<IpAddr>>,
) -> BTreeMap<IpAddr, BTreeMap<String, Vec<IpAddr>>> {
    let mut links = BTreeMap::new();
    // What shares the host's network asks from the host's own address: whose question it is cannot be told.
    let own = snapshot
        .containers
        .iter()
        .map(|seen| &seen.container)
        .filter(|one| one.running && !one.on_host_network);
    for container in own {
        let Some(text) = container.label(LABEL_LINKS) else {
            continue;
        };
        let pairs = text.split(' ').take(LINKS_MAX).filter_map(|pair| pair.split_once('='));
        let known: BTreeMap<String, Vec<IpAddr>> = pairs
            .filter_map(|(name, target)| {
                Some((name.to_lowercase(), addresses_of(target, container, snapshot, aliases)?))
            })
            .collect();
        for address in &container.addresses {
            links.insert(address.address, known.clone());
        }
    }
    links
}

/// Where the target of a container's link is; `None`: there is none.
fn addresses_of(
    target: &str,
    asking: &Container,
    snapshot: &Snapshot,
    aliases: &BTreeMap<String, Vec<IpAddr>>,
) -> Option<Vec<IpAddr>> {
    if let Some(alias) = target.strip_prefix(LINK_ALIAS) {
        return aliases.get(&alias.to_lowercase()).cloned();
    }
    let service = target.strip_prefix(LINK_SERVICE)?;
    let (project, _) = asking.project_and_service()?;
    let of_service = || {
        snapshot
            .containers
            .iter()
            .filter(|seen| seen.container.running && seen.container.project_and_service() == Some((project, service)))
    };
    let addresses = |ready_only: bool| -> Vec<IpAddr> {
        of_service()
            .filter(|seen| !ready_only || seen.lacks(&BTreeSet::new()).is_none())
            .flat_map(|seen| seen.container.addresses.iter().map(|address| address.address))
            .collect()
    };
    let ready = addresses(true);
    Some(if ready.is_empty() { addresses(false) } else { ready })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::discovery::{Address, Health, LABEL_PROJECT, LABEL_SERVICE, Readiness, Seen};

    fn seen(project: &str, service: &str, address: &str, links: &str, ready: bool) -> Seen {
        let labels = [(LABEL_PROJECT, project), (LABEL_SERVICE, service), (LABEL_LINKS, links)];
        let labels: HashMap<String, String> = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let container = Container {
            id: address.to_owned(),
            name: format!("{project}-{service}"),
            image: "app".to_owned(),
            labels,
            addresses: vec![Address {
                network: "bridge".to_owned(),
                address: address.parse().unwrap(),
            }],
            ports: Vec::new(),
            running: true,
            exit_code: None,
            on_host_network: false,
            health: Health::Unchecked,
        };
        Seen {
            container,
            readiness: if ready {
                Readiness::Ready
            } else {
                Readiness::Not("not yet")
            },
            asked: BTreeSet::new(),
            open: BTreeSet::new(),
            pid: None,
        }
    }

    #[test]
    fn a_link_is_what_its_own_project_has_by_that_name() {
        let snapshot = Snapshot {
            containers: vec![
                seen(
                    "shop",
                    "web",
                    "172.17.0.2",
                    "database=service/db front=alias/LB nowhere=alias/x",
                    true,
                ),
                seen("shop", "db", "172.17.0.3", "", true),
                seen("shop", "db", "172.17.0.4", "", false),
                seen("blog", "db", "172.17.0.5", "", true),
                seen("blog", "web", "172.17.0.6", "database=service/db", true),
            ],
            ..Snapshot::default()
        };
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        let aliases = BTreeMap::from([("lb".to_owned(), vec![address("198.18.255.2")])]);
        let links = links(&snapshot, &aliases);
        let expected = BTreeMap::from([
            ("database".to_owned(), vec![address("172.17.0.3")]),
            ("front".to_owned(), vec![address("198.18.255.2")]),
        ]);
        assert_eq!(links[&address("172.17.0.2")], expected);
        assert_eq!(links[&address("172.17.0.6")]["database"], [address("172.17.0.5")]);
        assert_eq!(links.len(), 2);
    }
}
