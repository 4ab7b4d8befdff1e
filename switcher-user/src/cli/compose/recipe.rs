//! From a service to what Docker is to make.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, PortBinding, RestartPolicy,
    RestartPolicyNameEnum,
};

use super::resolvers::Resolvers;
use crate::compose::{
    DEFAULT_NETWORK, Form, Healthcheck, Logging, Mount, MountSource, Port, Project, Published, Restart, Service,
    ServiceName,
};
use crate::discovery::{LABEL_HASH, LABEL_LINKS, LABEL_NUMBER, LABEL_PROJECT, LABEL_SERVICE};
use crate::model::{Protocol, StackName, Zone};

/// Makes containers of one service.
#[derive(Debug)]
pub(super) struct Recipe<'a> {
    pub project: &'a StackName,
    pub name: &'a ServiceName,
    pub service: &'a Service,
    /// What the files say of networks, volumes and links.
    pub files: &'a Project,
    /// The network that its containers are on first.
    pub network: String,
    /// Where names of aliases are answered.
    pub dns: Option<IpAddr>,
    /// The zone of these names.
    pub zone: &'a Zone,
    /// Where the host itself asks.
    pub resolvers: &'a Resolvers,
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
        (Some(joined), _) => project.network_name(stack, &joined.network),
        (None, Some(Form::Services)) => project.network_name(stack, DEFAULT_NETWORK),
        (None, _) => "bridge".to_owned(),
    }
}

/// A network that is always there, and on which no container has names.
pub(super) fn is_dockers_own(network: &str) -> bool {
    matches!(network, "bridge" | "host" | "none")
}

impl Recipe<'_> {
    /// What the containers are made of: where it differs, they are others. It stands in a label for as long as they live, so it
    /// is the same from every build: of the API's own document, its keys in order. What the agent, other services and the host's
    /// resolvers add is no part of it.
    pub fn hash(&self) -> String {
        let bare = Recipe {
            dns: None,
            opened: Vec::new(),
            network: self.network.clone(),
            ..*self
        };
        let mut document = serde_json::to_value(bare.made_of()).unwrap_or_default();
        let more: BTreeMap<_, _> = self.more_networks().into_iter().collect();
        if !more.is_empty() {
            document["MoreNetworks"] = serde_json::to_value(more).unwrap_or_default();
        }
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
        if let Some(names) = self.links_text(self.asked_of_agent()) {
            labels.insert(LABEL_LINKS.to_owned(), names);
        }
        body
    }

    fn made_of(&self) -> ContainerCreateBody {
        let service = self.service;
        let environment = service
            .environment
            .iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
        let mut labels: HashMap<String, String> = service.labels.clone().into_iter().collect();
        // Plain links are in no hash: containers from before them are made of the same settings.
        let renamed = self.asked_of_agent().filter(|link| link.name != link.target);
        labels.extend(self.links_text(renamed).map(|names| (LABEL_LINKS.to_owned(), names)));
        let anonymous = service
            .volumes
            .iter()
            .filter(|mount| mount.source == MountSource::Anonymous);
        let anonymous: Vec<String> = anonymous.map(|mount| mount.target.clone()).collect();
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
            labels: Some(labels),
            volumes: (!anonymous.is_empty()).then_some(anonymous),
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
        let asks = self.asks();
        let named = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        HostConfig {
            network_mode: Some(self.network.clone()),
            port_bindings: Some(bindings),
            restart_policy: Some(RestartPolicy {
                name: Some(name),
                maximum_retry_count: times,
            }),
            binds: named(&self.binds()),
            cap_add: named(&service.cap_add),
            cap_drop: named(&service.cap_drop),
            dns: named(&asks.servers),
            dns_search: named(&asks.search),
            extra_hosts: named(&service.extra_hosts),
            tmpfs: (!service.tmpfs.is_empty()).then(|| service.tmpfs.iter().map(|line| tmpfs(line)).collect()),
            init: service.init,
            shm_size: service.shm_bytes,
            memory: service.memory_bytes,
            readonly_rootfs: service.read_only.then_some(true),
            privileged: service.privileged.then_some(true),
            log_config: service.logging.as_ref().map(log_config),
            ..HostConfig::default()
        }
    }

    fn binds(&self) -> Vec<String> {
        let bind = |mount: &Mount| {
            let source = match &mount.source {
                MountSource::Folder(path) => path.clone(),
                MountSource::Volume(key) => self.files.volume_name(self.project, key),
                MountSource::Anonymous => return None,
            };
            let mode = mount.mode.iter().map(|mode| format!(":{mode}"));
            Some(format!("{source}:{}{}", mount.target, mode.collect::<String>()))
        };
        self.service.volumes.iter().filter_map(bind).collect()
    }
}

fn tmpfs(line: &str) -> (String, String) {
    let (target, options) = line.split_once(':').unwrap_or((line, ""));
    (target.to_owned(), options.to_owned())
}

fn log_config(logging: &Logging) -> HostConfigLogConfig {
    HostConfigLogConfig {
        typ: logging.driver.clone(),
        config: Some(logging.options.clone().into_iter().collect()),
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
mod tests;
