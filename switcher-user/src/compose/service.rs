//! A service that runs in containers.

use super::model::{Restart, SCALE_MAX, Service};
use super::values::Reader;
use super::{health, links, ports};
use crate::config::check::{Field, shorten};
use crate::config::keys;
use crate::config::node::Value;

const KEYS: &[&str] = &[
    "image",
    "command",
    "entrypoint",
    "environment",
    "labels",
    "ports",
    "expose",
    "links",
    "depends_on",
    "scale",
    "deploy",
    "restart",
    "tty",
    "stdin_open",
    "healthcheck",
    "network_mode",
    "net",
    "networks",
    "volumes",
    "user",
    "working_dir",
    "hostname",
    "stop_signal",
    "stop_grace_period",
    "cap_add",
    "cap_drop",
    "dns",
    "extra_hosts",
];

/// Keys that compose knows and that are not done here: what to do instead.
const UNSUPPORTED: &[(&str, &str)] = &[
    (
        "build",
        "build the image first (docker build -t NAME .), and name it with 'image'",
    ),
    (
        "container_name",
        "containers are called PROJECT-SERVICE-NUMBER; remove it",
    ),
    ("env_file", "write the variables below 'environment'"),
    ("extends", "write the service out"),
    ("external_links", "name services of these files in 'links'"),
    ("privileged", "name what it needs with 'cap_add'"),
    (
        "devices",
        "run such a container with docker itself, labelled switcher.alias and switcher.set",
    ),
    ("logging", "set it for the whole daemon"),
    ("log_driver", "set it for the whole daemon"),
    ("secrets", "mount a folder with 'volumes'"),
    ("configs", "mount a folder with 'volumes'"),
    ("profiles", "put the services into a file of their own"),
    (
        "pid",
        "run such a container with docker itself, labelled switcher.alias and switcher.set",
    ),
    (
        "mem_limit",
        "run such a container with docker itself, labelled switcher.alias and switcher.set",
    ),
    (
        "cpu_shares",
        "run such a container with docker itself, labelled switcher.alias and switcher.set",
    ),
    (
        "ulimits",
        "run such a container with docker itself, labelled switcher.alias and switcher.set",
    ),
    (
        "sysctls",
        "run such a container with docker itself, labelled switcher.alias and switcher.set",
    ),
    (
        "tmpfs",
        "run such a container with docker itself, labelled switcher.alias and switcher.set",
    ),
    ("volumes_from", "name the volumes with 'volumes'"),
    (
        "security_opt",
        "run such a container with docker itself, labelled switcher.alias and switcher.set",
    ),
];

/// The service. `None`: mistakes were noted.
pub(super) fn read(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<Service> {
    let problems_before = reader.check.problems.len();
    let mut service = Service {
        scale: 1,
        ..Service::default()
    };
    for (key, entry) in reader.check.entries(field, "") {
        if key.starts_with("x-") {
            continue;
        }
        if let Some((_, remedy)) = UNSUPPORTED.iter().find(|(name, _)| *name == key) {
            let message = format!("'{key}' is not supported; {remedy}");
            reader.check.problem(entry.key_place, &entry.path, message);
        } else if KEYS.contains(&key) {
            what_runs(reader, key, &entry, &mut service);
            where_it_runs(reader, key, &entry, &mut service);
        } else {
            let message = keys::unknown(&shorten(key), KEYS);
            reader.check.problem(entry.key_place, &entry.path, message);
        }
    }
    if service.image.is_empty() && reader.check.problems.len() == problems_before {
        let path = format!("{}.image", field.path);
        reader.check.problem(
            field.key_place,
            &path,
            "is missing; name the image, as image: nginx:1.25",
        );
    }
    (reader.check.problems.len() == problems_before).then_some(service)
}

fn what_runs(reader: &mut Reader<'_>, key: &str, field: &Field<'_>, service: &mut Service) {
    match key {
        "image" => service.image = reader.word(field).unwrap_or_default(),
        "command" => service.command = reader.command(field),
        "entrypoint" => service.entrypoint = reader.command(field),
        "environment" => service.environment = reader.pairs(field),
        "labels" => labels(reader, field, service),
        "scale" => service.scale = reader.number(field, 0, SCALE_MAX).unwrap_or(1),
        "deploy" => deploy(reader, field, service),
        "restart" => service.restart = restart(reader, field).unwrap_or_default(),
        "tty" => service.tty = reader.flag(field).unwrap_or_default(),
        "stdin_open" => service.stdin_open = reader.flag(field).unwrap_or_default(),
        "healthcheck" => service.healthcheck = health::read(reader, field),
        "user" => service.user = reader.word(field),
        "working_dir" => service.working_dir = reader.word(field),
        "stop_signal" => service.stop_signal = reader.word(field),
        "stop_grace_period" => service.stop_grace_period = reader.duration(field),
        "cap_add" => service.cap_add = reader.texts(field),
        "cap_drop" => service.cap_drop = reader.texts(field),
        _ => {}
    }
}

fn where_it_runs(reader: &mut Reader<'_>, key: &str, field: &Field<'_>, service: &mut Service) {
    match key {
        "ports" => service.ports = ports::published(reader, field),
        "expose" => service.expose = ports::exposed(reader, field),
        "links" => {
            let mut links = links::read(reader, field);
            service.after.extend(links::names(reader, &links));
            service.written.append(&mut links);
        }
        "depends_on" => depends_on(reader, field, service),
        "network_mode" | "net" => service.network_mode = network_mode(reader, field),
        "networks" => service.networks = networks(reader, field),
        "volumes" => service.volumes = volumes(reader, field),
        "hostname" => service.hostname = reader.word(field),
        "dns" => service.dns = reader.texts(field),
        "extra_hosts" => service.extra_hosts = reader.texts(field),
        _ => {}
    }
}

fn labels(reader: &mut Reader<'_>, field: &Field<'_>, service: &mut Service) {
    let pairs = reader.pairs(field);
    if let Some(name) = pairs.keys().find(|name| name.starts_with("com.docker.compose.")) {
        reader.wrong(
            field,
            format_args!("sets '{name}', which compose keeps for itself; remove it"),
        );
    }
    service.labels = pairs
        .into_iter()
        .map(|(name, value)| (name, value.unwrap_or_default()))
        .collect();
}

fn deploy(reader: &mut Reader<'_>, field: &Field<'_>, service: &mut Service) {
    for (key, entry) in reader.check.entries(field, "write deploy: {replicas: 2}") {
        match key {
            "replicas" => service.scale = reader.number(&entry, 0, SCALE_MAX).unwrap_or(1),
            other => {
                let message = format!("'{}' is not supported; only 'replicas' is read here", shorten(other));
                reader.check.problem(entry.key_place, &entry.path, message);
            }
        }
    }
}

fn restart(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<Restart> {
    let text = reader.text(field)?;
    match text.as_str() {
        // Without quotes YAML 1.1 readers took `no` for false.
        "no" | "false" | "" => Some(Restart::No),
        "always" => Some(Restart::Always),
        "unless-stopped" => Some(Restart::UnlessStopped),
        "on-failure" => Some(Restart::OnFailure(0)),
        other => {
            let count = other.strip_prefix("on-failure:").and_then(|count| count.parse().ok());
            if count.is_none() {
                reader.wrong(
                    field,
                    format_args!(
                        "'{}' is no restart policy; use no, always, unless-stopped or on-failure[:TIMES]",
                        shorten(other)
                    ),
                );
            }
            count.map(Restart::OnFailure)
        }
    }
}

/// A list of names, or a mapping from name to `{condition: …}`: readiness is waited for in any case.
fn depends_on(reader: &mut Reader<'_>, field: &Field<'_>, service: &mut Service) {
    if matches!(field.node.value, Value::Mapping(_)) {
        for (key, entry) in reader.check.entries(field, "write a list of services") {
            let fields = reader.check.known(
                &entry,
                &["condition", "restart", "required"],
                "write {condition: service_healthy}",
            );
            if let Some(condition) = fields.get("condition")
                && reader
                    .word(condition)
                    .is_some_and(|word| word == "service_completed_successfully")
            {
                reader.wrong(
                    condition,
                    "is not supported: services here stay up; use service_started or service_healthy",
                );
            }
            service.written.push(super::model::Link {
                target: key.to_owned(),
                known_as: String::new(),
                origin: reader.origin(&entry),
            });
        }
    } else {
        let mut links = links::read(reader, field);
        service.written.append(&mut links);
    }
    let names = links::names(reader, &service.written.clone());
    service.after = names;
}

fn network_mode(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<String> {
    let mode = reader.word(field)?;
    if matches!(mode.as_str(), "host" | "bridge" | "none") {
        return Some(mode);
    }
    reader.wrong(
        field,
        format_args!(
            "'{}' is not supported; use bridge, host or none, or 'networks'",
            shorten(&mode)
        ),
    );
    None
}

fn networks(reader: &mut Reader<'_>, field: &Field<'_>) -> Vec<String> {
    if !matches!(field.node.value, Value::Mapping(_)) {
        return reader.texts(field);
    }
    let mut names = Vec::new();
    for (key, entry) in reader.check.entries(field, "write a list of networks") {
        if !matches!(entry.node.value, Value::Null) {
            reader.wrong(
                &entry,
                "has settings, which are not supported; leave only the network's name",
            );
        }
        names.push(key.to_owned());
    }
    names
}

/// `SOURCE:TARGET[:ro|rw]`: an absolute folder of the host, or a volume by name.
fn volumes(reader: &mut Reader<'_>, field: &Field<'_>) -> Vec<String> {
    let Some(items) = reader.check.items(field, "write a list, as [\"/srv/www:/www:ro\"]") else {
        return Vec::new();
    };
    let mut volumes = Vec::new();
    for item in &items {
        let Some(text) = reader.word(item) else { continue };
        let parts: Vec<&str> = text.split(':').collect();
        let good = match parts.as_slice() {
            [source, target] | [source, target, "ro" | "rw"] => {
                !source.is_empty() && !source.starts_with(['.', '~']) && target.starts_with('/')
            }
            _ => false,
        };
        if good {
            volumes.push(text);
        } else {
            let text = shorten(&text);
            reader.wrong(
                item,
                format_args!(
                    "'{text}' is not SOURCE:TARGET[:ro]; name an absolute folder or a volume, and where it is mounted"
                ),
            );
        }
    }
    volumes
}
