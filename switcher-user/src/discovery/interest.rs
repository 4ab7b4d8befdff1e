//! Where containers are asked whether they take connections: at the ports that aliases lead to. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use super::Container;

/// Most ports at which one container is asked.
pub const PORTS_ASKED_MAX: usize = 32;

/// The ports that somebody wants to lead connections to, by whose containers these are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// By the alias that a label names.
    pub labelled: BTreeMap<String, BTreeSet<u16>>,
    /// By compose project and service.
    pub services: BTreeMap<(String, String), BTreeSet<u16>>,
}

impl Interest {
    /// Where a container is asked: at the port of its label and at those that aliases lead to, else at all that it exposes.
    /// Empty: nowhere, it has none.
    #[must_use]
    pub fn ports_of(&self, container: &Container) -> BTreeSet<u16> {
        let labelled = match container.labelled_port() {
            Some(port) => BTreeSet::from([port.get()]),
            None => {
                let alias = container.alias_and_set().map(|(alias, _)| alias);
                alias
                    .and_then(|alias| self.labelled.get(alias))
                    .cloned()
                    .unwrap_or_default()
            }
        };
        let of_service = container.project_and_service().and_then(|(project, service)| {
            let key = (project.to_owned(), service.to_owned());
            self.services.get(&key)
        });
        let of_service = of_service.into_iter().flatten().copied();
        let wanted: BTreeSet<u16> = labelled.into_iter().chain(of_service).take(PORTS_ASKED_MAX).collect();
        if wanted.is_empty() {
            container.ports.iter().copied().take(PORTS_ASKED_MAX).collect()
        } else {
            wanted
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::{Health, LABEL_ALIAS, LABEL_PORT, LABEL_PROJECT, LABEL_SERVICE, LABEL_SET};
    use super::*;

    fn container(labels: &[(&str, &str)]) -> Container {
        let owned = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Container {
            id: "a".to_owned(),
            name: "a".to_owned(),
            image: "app".to_owned(),
            labels: owned.collect::<HashMap<_, _>>(),
            addresses: Vec::new(),
            ports: vec![80, 9100],
            running: true,
            exit_code: None,
            on_host_network: false,
            health: Health::Unchecked,
        }
    }

    #[test]
    fn a_container_is_asked_where_aliases_lead_to() {
        let interest = Interest {
            labelled: BTreeMap::from([("web".to_owned(), BTreeSet::from([443]))]),
            services: BTreeMap::from([(("shop".to_owned(), "app".to_owned()), BTreeSet::from([8080, 8081]))]),
        };
        let service = [(LABEL_PROJECT, "shop"), (LABEL_SERVICE, "app")];
        let other = [(LABEL_PROJECT, "other"), (LABEL_SERVICE, "app")];
        let alias = [(LABEL_ALIAS, "web"), (LABEL_SET, "v1")];
        let with_port = [(LABEL_ALIAS, "web"), (LABEL_SET, "v1"), (LABEL_PORT, "81")];
        for (labels, ports) in [
            (&service[..], vec![8080, 8081]),
            (&other[..], vec![80, 9100]),
            (&alias[..], vec![443]),
            (&with_port[..], vec![81]),
        ] {
            let asked = interest.ports_of(&container(labels));
            assert_eq!(asked.into_iter().collect::<Vec<_>>(), ports, "{labels:?}");
        }
    }
}
