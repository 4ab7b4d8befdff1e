//! From a service to what Docker is to make.

use std::collections::HashMap;
use std::net::IpAddr;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HealthConfig, HostConfig, NetworkingConfig, PortBinding, RestartPolicy,
    RestartPolicyNameEnum,
};

use crate::compose::{Form, Healthcheck, Port, Project, Published, Restart, Service, ServiceName};
use crate::discovery::{LABEL_HASH, LABEL_NUMBER, LABEL_PROJECT, LABEL_SERVICE};
use crate::model::{Protocol, StackName, Zone};

/// Makes containers of one service.
#[derive(Debug)]
pub(super) struct Recipe<'a> {
    pub project: &'a StackName,
    pub name: &'a ServiceName,
    pub service: &'a Service,
    /// The network that its containers are on first.
    pub network: String,
    /// Where names of aliases are answered.
    pub dns: Option<IpAddr>,
    /// The zone of these names.
    pub zone: &'a Zone,
    /// Where all other names are answered.
    pub resolvers: &'a [IpAddr],
    /// A port that nobody publishes and that clients outside need: Docker's own rules let them through only to
    /// published ones.
    pub opened: Vec<Port>,
}

/// The network of a service's containers: Docker's own `bridge` in the first form, one of the project's in today's.
pub(super) fn network(project: &Project, stack: &StackName, service: &Service) -> String {
    if let Some(mode) = &service.network_mode {
        return mode.clone();
    }
    match (service.networks.first(), project.form) {
        (Some(network), _) => format!("{stack}_{network}"),
        (None, Some(Form::Services)) => format!("{stack}_default"),
        (None, _) => "bridge".to_owned(),
    }
}

impl Recipe<'_> {
    /// What the containers are made of: where it differs, they are others. It stands in a label for as long as they live, so it
    /// is the same from every build: of the API's own document, its keys in order. What the agent, other services and the host's
    /// resolvers add is no part of it.
    pub fn hash(&self) -> String {
        let bare = Recipe {
            dns: None,
            resolvers: &[],
            opened: Vec::new(),
            network: self.network.clone(),
            ..*self
        };
        let mut document = serde_json::to_value(bare.made_of()).unwrap_or_default();
        document.sort_all_objects();
        format!("{:032x}", fnv_1a(document.to_string().as_bytes()))
    }

    /// `PROJECT-SERVICE-NUMBER`.
    pub fn container_name(&self, number: u32) -> String {
        format!("{}-{}-{number}", self.project, self.name)
    }

    /// What Docker is to make as container `number`.
    pub fn body(&self, number: u32) -> ContainerCreateBody {
        let mut body = self.made_of();
        let labels = body.labels.get_or_insert_default();
        labels.insert(LABEL_PROJECT.to_owned(), self.project.to_string());
        labels.insert(LABEL_SERVICE.to_owned(), self.name.to_string());
        labels.insert(LABEL_NUMBER.to_owned(), number.to_string());
        labels.insert(LABEL_HASH.to_owned(), self.hash());
        body
    }

    fn made_of(&self) -> ContainerCreateBody {
        let service = self.service;
        let environment = service.environment.iter().filter_map(|(name, value)| {
            let value = value.clone().or_else(|| std::env::var(name).ok())?;
            Some(format!("{name}={value}"))
        });
        let exposed: Vec<String> = service
            .container_ports()
            .iter()
            .chain(&self.opened)
            .map(port_text)
            .collect();
        ContainerCreateBody {
            image: Some(service.image.clone()),
            cmd: service.command.clone(),
            entrypoint: service.entrypoint.clone(),
            env: Some(environment.collect()),
            labels: Some(service.labels.clone().into_iter().collect()),
            exposed_ports: Some(exposed),
            tty: Some(service.tty),
            open_stdin: Some(service.stdin_open),
            healthcheck: service.healthcheck.as_ref().map(health),
            user: service.user.clone(),
            working_dir: service.working_dir.clone(),
            hostname: service.hostname.clone(),
            stop_signal: service.stop_signal.clone(),
            stop_timeout: service
                .stop_grace_period
                .and_then(|time| i64::try_from(time.as_secs()).ok()),
            host_config: Some(self.host_config()),
            networking_config: self.networking(),
            ..ContainerCreateBody::default()
        }
    }

    fn host_config(&self) -> HostConfig {
        let service = self.service;
        let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
        for published in &service.ports {
            let of_port = bindings
                .entry(port_text(&published.target))
                .or_insert_with(|| Some(Vec::new()));
            of_port.get_or_insert_default().push(binding(published));
        }
        for port in &self.opened {
            let loopback = PortBinding {
                host_ip: Some("127.0.0.1".to_owned()),
                host_port: Some(String::new()),
            };
            bindings.entry(port_text(port)).or_insert_with(|| Some(vec![loopback]));
        }
        let (name, times) = match service.restart {
            Restart::No => (RestartPolicyNameEnum::NO, None),
            Restart::Always => (RestartPolicyNameEnum::ALWAYS, None),
            Restart::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
            Restart::OnFailure(times) => (RestartPolicyNameEnum::ON_FAILURE, Some(i64::from(times))),
        };
        let mut dns = service.dns.clone();
        if let Some(own) = self.dns {
            // It refuses what is no alias, and a resolver goes on to the next.
            dns.push(own.to_string());
            dns.extend(self.resolvers.iter().map(ToString::to_string));
        }
        let named = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        HostConfig {
            network_mode: Some(self.network.clone()),
            port_bindings: Some(bindings),
            restart_policy: Some(RestartPolicy {
                name: Some(name),
                maximum_retry_count: times,
            }),
            binds: named(&service.volumes),
            cap_add: named(&service.cap_add),
            cap_drop: named(&service.cap_drop),
            dns: named(&dns),
            dns_search: self.dns.map(|_| vec![self.zone.to_string()]),
            extra_hosts: named(&service.extra_hosts),
            ..HostConfig::default()
        }
    }

    /// On a network of the project a container answers to its service's name.
    fn networking(&self) -> Option<NetworkingConfig> {
        if matches!(self.network.as_str(), "bridge" | "host" | "none") {
            return None;
        }
        let endpoint = EndpointSettings {
            aliases: Some(vec![self.name.to_string()]),
            ..EndpointSettings::default()
        };
        Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(self.network.clone(), endpoint)])),
        })
    }
}

fn binding(published: &Published) -> PortBinding {
    PortBinding {
        host_ip: published.address.map(|address| address.to_string()),
        host_port: Some(published.published.map_or_else(String::new, |port| port.to_string())),
    }
}

fn port_text(port: &Port) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{}/{protocol}", port.number)
}

fn health(check: &Healthcheck) -> HealthConfig {
    let nanoseconds = |time: std::time::Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    HealthConfig {
        test: (!check.test.is_empty()).then(|| check.test.clone()),
        interval: check.interval.map(nanoseconds),
        timeout: check.timeout.map(nanoseconds),
        retries: check.retries.map(i64::from),
        start_period: check.start_period.map(nanoseconds),
        start_interval: None,
    }
}

/// FNV-1a of 128 bits: short, and the same for ever, which the standard library's hashers are not.
fn fnv_1a(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes
        .iter()
        .fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::{SourceFile, parse};

    fn hash(text: &str, opened: Vec<Port>) -> String {
        with_recipe(text, opened, |recipe| recipe.hash())
    }

    fn with_recipe<R>(text: &str, opened: Vec<Port>, look: impl FnOnce(&Recipe<'_>) -> R) -> R {
        let source = SourceFile {
            name: "compose.yaml".to_owned(),
            text: text.to_owned(),
        };
        let project = parse(&[source], None, &|_| None).unwrap();
        let (name, service) = project.services.first_key_value().unwrap();
        let stack = "shop".parse().unwrap();
        let zone: Zone = "shop.example".parse().unwrap();
        let recipe = Recipe {
            project: &stack,
            name,
            service,
            network: network(&project, &stack, service),
            dns: opened.first().map(|_| "172.17.0.1".parse().unwrap()),
            zone: &zone,
            resolvers: &[],
            opened,
        };
        look(&recipe)
    }

    const APP: &str =
        "services:\n  app: {image: \"app:1\", ports: [\"80\"], environment: {A: b, C: d}, labels: {x: y, z: w}}\n";

    #[test]
    fn a_hash_is_the_same_from_every_build() {
        // Published test values of FNV-1a.
        assert_eq!(fnv_1a(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv_1a(b"foobar"), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
        // Another number here means that every container of every user is "made of other settings".
        assert_eq!(hash(APP, Vec::new()), "cd0e94f17c020a0551730f3a01e0e430");
    }

    #[test]
    fn a_container_asks_the_agent_and_searches_its_zone() {
        let port = Port {
            number: 8080.try_into().unwrap(),
            protocol: Protocol::Tcp,
        };
        let asks = |opened| {
            let body = with_recipe(APP, opened, |recipe| recipe.body(1));
            let host = body.host_config.unwrap();
            (host.dns, host.dns_search)
        };
        let list = |word: &str| Some(vec![word.to_owned()]);
        assert_eq!(asks(vec![port]), (list("172.17.0.1"), list("shop.example")));
        assert_eq!(asks(Vec::new()), (None, None), "where no names are answered");
    }

    #[test]
    fn a_hash_tells_settings_apart_and_nothing_else() {
        let port = Port {
            number: 8080.try_into().unwrap(),
            protocol: Protocol::Tcp,
        };
        assert_eq!(hash(APP, vec![port]), hash(APP, Vec::new()));
        for (old, new) in [
            ("app:1", "app:2"),
            ("A: b", "A: c"),
            ("[\"80\"]", "[\"81\"]"),
            ("x: y", "x: v"),
        ] {
            assert_ne!(hash(&APP.replace(old, new), Vec::new()), hash(APP, Vec::new()), "{new}");
        }
    }
}
