//! Who has an address: Docker gives one that became free to the next that asks, and that may be anybody.

use std::net::IpAddr;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};

/// A container that has addresses, whatever it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its addresses in all its networks.
    pub addresses: Vec<IpAddr>,
}

impl Occupant {
    /// `None`: it has no address, or is gone from there.
    pub(super) fn read(summary: &ContainerSummary) -> Option<Self> {
        use ContainerSummaryStateEnum::{PAUSED, RUNNING};
        if !matches!(summary.state, Some(RUNNING | PAUSED)) {
            return None;
        }
        let networks = summary.network_settings.as_ref()?.networks.as_ref()?;
        let texts = networks
            .values()
            .flat_map(|endpoint| [&endpoint.ip_address, &endpoint.global_ipv6_address]);
        let mut addresses: Vec<IpAddr> = texts.filter_map(|text| text.as_deref()?.parse().ok()).collect();
        addresses.sort_unstable();
        let names = summary.names.iter().flatten();
        let name = names.map(|name| name.trim_start_matches('/').to_owned()).next();
        (!addresses.is_empty()).then_some(Self {
            id: summary.id.clone()?,
            name: name.unwrap_or_default(),
            addresses,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::{ContainerSummaryNetworkSettings, EndpointSettings};

    use super::*;

    fn summary(state: ContainerSummaryStateEnum) -> ContainerSummary {
        let at = |address: &str| EndpointSettings {
            ip_address: Some(address.to_owned()),
            global_ipv6_address: Some(String::new()),
            ..EndpointSettings::default()
        };
        ContainerSummary {
            id: Some("c1".to_owned()),
            names: Some(vec!["/plain".to_owned()]),
            state: Some(state),
            network_settings: Some(ContainerSummaryNetworkSettings {
                networks: Some(HashMap::from([
                    ("a".to_owned(), at("172.18.0.2")),
                    ("b".to_owned(), at("172.19.0.2")),
                ])),
            }),
            ..ContainerSummary::default()
        }
    }

    #[test]
    fn a_container_without_a_label_has_all_its_addresses_while_it_is_there() {
        let plain = Occupant::read(&summary(ContainerSummaryStateEnum::RUNNING)).unwrap();
        assert_eq!(plain.name, "plain");
        let addresses: Vec<String> = plain.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["172.18.0.2", "172.19.0.2"]);
        assert!(Occupant::read(&summary(ContainerSummaryStateEnum::PAUSED)).is_some());
        assert_eq!(Occupant::read(&summary(ContainerSummaryStateEnum::EXITED)), None);
    }
}
