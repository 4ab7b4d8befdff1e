//! One container as the API describes it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, EndpointSettings, PortSummaryTypeEnum};

use super::{LABEL_ALIAS, LABEL_HASH, LABEL_NUMBER, LABEL_ONEOFF, LABEL_PORT, LABEL_PROJECT, LABEL_SERVICE, LABEL_SET};

/// Digits of the hashes that `switcher compose` writes: 128 bits. docker-compose writes 256.
pub const HASH_DIGITS: usize = 32;

/// What a health check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The container has none.
    Unchecked,
    /// Not yet known.
    Starting,
    /// It passes.
    Healthy,
    /// It fails.
    Unhealthy,
}

/// An address of a container, and the network that it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The network's name.
    pub network: String,
    /// The address.
    pub address: IpAddr,
}

/// One container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its image as it was asked for.
    pub image: String,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// Its addresses in one of its networks: the one with the default route.
    pub addresses: Vec<Address>,
    /// TCP ports that it exposes.
    pub ports: Vec<u16>,
    /// It runs, and is not paused.
    pub running: bool,
    /// With which code it ended, where it has.
    pub exit_code: Option<i32>,
    /// It shares the host's network.
    pub on_host_network: bool,
    /// What its health check says.
    pub health: Health,
}

/// Whether new connections may go to a container, and if not, why, as a part of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They may.
    Ready,
    /// Not yet, or not any more.
    Not(&'static str),
}

impl Container {
    /// What the list says of one container; `None`: it has no id.
    pub(super) fn read(summary: ContainerSummary) -> Option<Self> {
        let names = summary.names.unwrap_or_default();
        let name = names.first().map(|name| name.trim_start_matches('/').to_owned());
        let networks = summary
            .network_settings
            .and_then(|settings| settings.networks)
            .unwrap_or_default();
        let status = summary.status.unwrap_or_default();
        let mode = summary.host_config.and_then(|config| config.network_mode);
        let ports = summary.ports.unwrap_or_default().into_iter();
        let mut ports: Vec<u16> = ports
            .filter(|port| port.typ == Some(PortSummaryTypeEnum::TCP))
            .map(|port| port.private_port)
            .collect();
        ports.sort_unstable();
        ports.dedup();
        Some(Self {
            name: name.unwrap_or_default(),
            id: summary.id?,
            image: summary.image.unwrap_or_default(),
            labels: summary.labels.unwrap_or_default(),
            addresses: addresses(&networks),
            ports,
            running: summary.state == Some(ContainerSummaryStateEnum::RUNNING),
            on_host_network: mode.as_deref() == Some("host"),
            exit_code: exit_code(&status),
            health: health(&status),
        })
    }

    /// A container that shares the host's network is where the host is.
    pub fn place_on_host(&mut self, host: &[IpAddr]) {
        if self.on_host_network {
            let at = |address: &IpAddr| Address {
                network: "host".to_owned(),
                address: *address,
            };
            self.addresses = host.iter().map(at).collect();
        }
    }

    /// A label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// `docker compose run` copies all labels of a service to what is to serve nobody.
    fn is_one_off(&self) -> bool {
        self.label(LABEL_ONEOFF)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The alias and set that its labels name.
    #[must_use]
    pub fn alias_and_set(&self) -> Option<(&str, &str)> {
        if self.is_one_off() {
            return None;
        }
        Some((self.label(LABEL_ALIAS)?, self.label(LABEL_SET)?))
    }

    /// The compose project and service that it belongs to; a one-off container belongs to none.
    #[must_use]
    pub fn project_and_service(&self) -> Option<(&str, &str)> {
        if self.is_one_off() {
            return None;
        }
        Some((self.label(LABEL_PROJECT)?, self.label(LABEL_SERVICE)?))
    }

    /// Which container of its service it is.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        self.label(LABEL_NUMBER)?.parse().ok()
    }

    /// What it was made of.
    #[must_use]
    pub fn hash(&self) -> Option<&str> {
        self.label(LABEL_HASH)
    }

    /// True where it was made of other settings than these. What has no such label says nothing of it.
    #[must_use]
    pub fn is_made_of_other_than(&self, hash: &str) -> bool {
        self.hash().is_some_and(|was| was != hash)
    }

    /// True where `switcher compose` made it: docker-compose's hashes are longer, and what is made by hand has none.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.number().is_some() && self.hash().is_some_and(|hash| hash.len() == HASH_DIGITS)
    }

    /// The port that its label names.
    #[must_use]
    pub fn labelled_port(&self) -> Option<NonZeroU16> {
        self.label(LABEL_PORT)?.parse().ok()
    }

    /// True where an alias could have to do with it.
    #[must_use]
    pub fn is_of_interest(&self) -> bool {
        self.alias_and_set().is_some() || self.project_and_service().is_some()
    }
}

/// All addresses of the network that it answers by, else of the first one by name that gives it any: one place is enough, and
/// the same each time. What has no gateway is internal: Docker lets nobody in from outside, and no answer out.
fn addresses(networks: &HashMap<String, EndpointSettings>) -> Vec<Address> {
    let mut names: Vec<&String> = networks.keys().collect();
    names.sort_unstable_by_key(|name| {
        let endpoint = &networks[*name];
        let gateways = [&endpoint.gateway, &endpoint.ipv6_gateway];
        let is_internal = gateways.into_iter().flatten().all(String::is_empty);
        // Docker's own order: the highest priority has the default route, among equals the first by name.
        (is_internal, Reverse(endpoint.gw_priority.unwrap_or(0)), *name)
    });
    for name in names {
        let endpoint = &networks[name];
        let texts = [&endpoint.ip_address, &endpoint.global_ipv6_address];
        let found: Vec<Address> = texts
            .into_iter()
            .filter_map(|text| text.as_deref()?.parse().ok())
            .map(|address| Address {
                network: name.clone(),
                address,
            })
            .collect();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// Lists have it in words only: `Exited (1) 2 seconds ago`.
fn exit_code(status: &str) -> Option<i32> {
    let (code, _) = status.strip_prefix("Exited (")?.split_once(')')?;
    code.parse().ok()
}

/// Lists have it in words only (`Up 2 minutes (healthy)`) before version 1.52 of the API.
fn health(status: &str) -> Health {
    if status.ends_with("(healthy)") {
        Health::Healthy
    } else if status.ends_with("(unhealthy)") {
        Health::Unhealthy
    } else if status.ends_with("(health: starting)") || status.ends_with("(starting)") {
        Health::Starting
    } else {
        Health::Unchecked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(v4: &str, v6: &str) -> EndpointSettings {
        EndpointSettings {
            ip_address: Some(v4.to_owned()),
            global_ipv6_address: Some(v6.to_owned()),
            ..EndpointSettings::default()
        }
    }

    #[test]
    fn what_a_list_says_is_read() {
        let summary = ContainerSummary {
            id: Some("c1".to_owned()),
            names: Some(vec!["/shop-web-1".to_owned()]),
            state: Some(ContainerSummaryStateEnum::RUNNING),
            status: Some("Up 2 minutes (healthy)".to_owned()),
            labels: Some(HashMap::from([
                (LABEL_ALIAS.to_owned(), "web".to_owned()),
                (LABEL_SET.to_owned(), "v1".to_owned()),
                (LABEL_PORT.to_owned(), "8080".to_owned()),
            ])),
            network_settings: Some(bollard::models::ContainerSummaryNetworkSettings {
                networks: Some(HashMap::from([
                    ("b".to_owned(), endpoint("172.18.0.2", "")),
                    ("a".to_owned(), endpoint("172.17.0.2", "fd00::2")),
                ])),
            }),
            ..ContainerSummary::default()
        };
        let container = Container::read(summary).unwrap();
        assert_eq!(container.name, "shop-web-1");
        assert!(container.running && container.is_of_interest());
        assert_eq!(container.health, Health::Healthy);
        assert_eq!(container.alias_and_set(), Some(("web", "v1")));
        assert_eq!(container.labelled_port().map(NonZeroU16::get), Some(8080));
        let addresses: Vec<String> = container.addresses.iter().map(|a| a.address.to_string()).collect();
        assert_eq!(addresses, ["172.17.0.2", "fd00::2"]);
        assert_eq!(container.addresses[0].network, "a");
    }

    #[test]
    fn a_one_off_container_is_of_no_service_and_no_set() {
        let labelled = |oneoff: &str| {
            let labels = [
                (LABEL_ALIAS, "web"),
                (LABEL_SET, "v1"),
                (LABEL_PROJECT, "shop"),
                (LABEL_SERVICE, "app"),
                (LABEL_ONEOFF, oneoff),
            ];
            let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
            Container::read(ContainerSummary {
                id: Some("c1".to_owned()),
                labels: Some(labels.into()),
                ..ContainerSummary::default()
            })
            .unwrap()
        };
        let (one_off, of_service) = (labelled("True"), labelled("False"));
        assert_eq!((one_off.project_and_service(), one_off.alias_and_set()), (None, None));
        assert!(!one_off.is_of_interest());
        assert_eq!(of_service.project_and_service(), Some(("shop", "app")));
        assert_eq!(of_service.alias_and_set(), Some(("web", "v1")));
    }

    #[test]
    fn a_container_is_where_its_default_route_is() {
        let at = |address: &str, gateway: &str, priority: i64| EndpointSettings {
            gateway: Some(gateway.to_owned()),
            gw_priority: Some(priority),
            ..endpoint(address, "")
        };
        let mut networks = HashMap::from([
            ("a".to_owned(), at("172.17.0.2", "", 0)),
            ("b".to_owned(), at("172.18.0.2", "172.18.0.1", 0)),
            ("c".to_owned(), at("172.19.0.2", "172.19.0.1", 0)),
        ]);
        let network = |networks: &HashMap<String, EndpointSettings>| addresses(networks)[0].network.clone();
        assert_eq!(network(&networks), "b", "an internal one is the last");
        networks.get_mut("c").unwrap().gw_priority = Some(1);
        assert_eq!(network(&networks), "c", "the priority decides");
        networks.retain(|name, _| name == "a");
        assert_eq!(network(&networks), "a", "an internal one is better than none");
    }

    #[test]
    fn an_exit_code_is_read_from_words() {
        assert_eq!(exit_code("Exited (137) About an hour ago"), Some(137));
        assert_eq!(exit_code("Up 3 seconds"), None);
        assert_eq!(exit_code("Created"), None);
    }

    #[test]
    fn health_is_read_from_words() {
        let cases = [
            ("Up 3 seconds (health: starting)", Health::Starting),
            ("Up 3 seconds (unhealthy)", Health::Unhealthy),
            ("Up About an hour (healthy)", Health::Healthy),
            ("Up 3 seconds", Health::Unchecked),
        ];
        for (status, expected) in cases {
            assert_eq!(health(status), expected, "{status}");
        }
    }
}
