//! The names that a container knows others by.
//!
//! On networks of the project's own Docker answers for services, by whatever name a link gives them. The agent answers for
//! aliases, and on Docker's `bridge`, where nobody has a name, for services too: a label of the container says which.

use std::collections::HashMap;

use bollard::models::{EndpointSettings, NetworkingConfig};

use super::recipe::{Recipe, is_dockers_own};
use crate::compose::{DEFAULT_NETWORK, Linked};
use crate::discovery::{LINK_ALIAS, LINK_SERVICE};

/// Whom Docker's default `bridge` asks where the host's resolvers are all on loopback (moby's `resolvconf`).
const DOCKERS_RESOLVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// Whom a container asks for names, in order, and the domains that it searches. Empty: as Docker has it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asks {
    pub servers: Vec<String>,
    pub search: Vec<String>,
}

impl Recipe<'_> {
    /// Whom its containers ask. The agent is the first: it refuses what is no alias, and a resolver goes on to the next. From
    /// another it would hear that there is no such alias, and believe it.
    pub(super) fn asks(&self) -> Asks {
        let own = self.service.dns.clone();
        let Some(agent) = self.dns.filter(|_| self.asks_agent()) else {
            let search = Vec::new();
            return Asks { servers: own, search };
        };
        let mut servers = vec![agent.to_string()];
        if self.is_cut_off() && self.network == "bridge" {
            servers.extend(DOCKERS_RESOLVERS.map(str::to_owned));
        } else if own.is_empty() {
            servers.extend(self.resolvers.servers.iter().map(ToString::to_string));
        }
        servers.extend(own);
        let search = self.resolvers.search_after(self.zone.as_str());
        Asks { servers, search }
    }

    /// True where nobody that a container can reach is known to answer names outside.
    fn is_cut_off(&self) -> bool {
        self.resolvers.servers.is_empty() && self.service.dns.is_empty()
    }

    /// On networks of the project Docker's own resolver does reach the host's loopback, but only while it is told of no other.
    /// So there only who links an alias asks the agent.
    fn asks_agent(&self) -> bool {
        let links = &self.service.links;
        !self.is_cut_off()
            || is_dockers_own(&self.network)
            || links.iter().any(|link| self.files.is_alias(&link.target))
    }

    /// What such a host costs its containers, as a sentence.
    fn cut_off(&self) -> Option<String> {
        let by_host = matches!(self.network.as_str(), "host" | "none");
        if self.dns.is_none() || by_host || !self.is_cut_off() {
            return None;
        }
        let cost = match self.network.as_str() {
            "bridge" => format!(
                "names outside are asked of {}, as Docker itself does there",
                DOCKERS_RESOLVERS.join(" and ")
            ),
            _ if self.asks_agent() => "it is answered names of aliases, and no names outside".to_owned(),
            _ => "it asks Docker's own resolver, and knows no alias by its name".to_owned(),
        };
        Some(format!(
            "the host's resolvers are all on its loopback, where containers do not reach them: {cost}; name one that they reach with 'dns:' in the file"
        ))
    }

    /// Every network of its containers: as the files call it, and its name at Docker.
    pub fn networks(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = self
            .service
            .networks
            .iter()
            .map(|joined| {
                (
                    joined.network.clone(),
                    self.files.network_name(self.project, &joined.network),
                )
            })
            .collect();
        if all.is_empty() {
            all.push((DEFAULT_NETWORK.to_owned(), self.network.clone()));
        }
        all
    }

    /// The networks beside the first.
    pub fn more_networks(&self) -> Vec<(String, EndpointSettings)> {
        let more = self.networks().into_iter().skip(1);
        more.map(|(key, network)| (network, self.endpoint(&key))).collect()
    }

    /// On a network of the project a container answers to its service's name.
    pub(super) fn networking(&self) -> Option<NetworkingConfig> {
        if is_dockers_own(&self.network) {
            return None;
        }
        let key = self
            .service
            .networks
            .first()
            .map_or("", |joined| joined.network.as_str());
        Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(self.network.clone(), self.endpoint(key))])),
        })
    }

    fn endpoint(&self, key: &str) -> EndpointSettings {
        let mut aliases = vec![self.name.to_string()];
        for joined in self.service.networks.iter().filter(|joined| joined.network == key) {
            aliases.extend(joined.aliases.iter().cloned());
        }
        // Docker looks the target up at each question: it is the name of all containers that the service has then.
        let renamed = self.service.links.iter().filter(|link| link.name != link.target);
        let links = renamed.filter(|link| !self.files.is_alias(&link.target));
        let links: Vec<String> = links.map(|link| format!("{}:{}", link.target, link.name)).collect();
        EndpointSettings {
            aliases: Some(aliases),
            links: (!links.is_empty()).then_some(links),
            ..EndpointSettings::default()
        }
    }

    /// Links that the agent answers.
    pub(super) fn asked_of_agent(&self) -> impl Iterator<Item = &Linked> {
        let on_bridge = self.network == "bridge";
        let asked = move |link: &&Linked| match self.files.is_alias(&link.target) {
            true => link.name != link.target,
            false => on_bridge,
        };
        self.service.links.iter().filter(asked)
    }

    /// As the label has it.
    pub(super) fn links_text<'l>(&self, links: impl Iterator<Item = &'l Linked>) -> Option<String> {
        let text = |link: &Linked| {
            let kind = if self.files.is_alias(&link.target) {
                LINK_ALIAS
            } else {
                LINK_SERVICE
            };
            format!("{}={kind}{}", link.name, link.target)
        };
        let all: Vec<String> = links.map(text).collect();
        (!all.is_empty()).then(|| all.join(" "))
    }

    /// Sentences about names that nobody answers.
    pub fn unanswered(&self) -> Vec<String> {
        let mut all = self.unanswered_links();
        all.extend(self.cut_off());
        all
    }

    fn unanswered_links(&self) -> Vec<String> {
        let why = match self.network.as_str() {
            "host" | "none" => "a container on that network asks the host's own resolvers",
            _ if self.dns.is_none() => "start the agent with --dns ADDRESS:53",
            _ => return Vec::new(),
        };
        let by_docker = |link: &&Linked| !is_dockers_own(&self.network) && !self.files.is_alias(&link.target);
        let open = self.service.links.iter().filter(|link| !by_docker(link));
        open.map(|link| {
            format!(
                "nobody answers the name '{}' of its link to '{}': {why}",
                link.name, link.target
            )
        })
        .collect()
    }
}
