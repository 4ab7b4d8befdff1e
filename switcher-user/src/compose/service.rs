//! A service that runs in containers.

use super::model::{Restart, SCALE_MAX, Service};
use super::values::Reader;
use super::{environment, health, links, means, mounts, ports, refused, shared};
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
    "env_file",
    "profiles",
    "tmpfs",
    "init",
    "shm_size",
    "mem_limit",
    "read_only",
    "privileged",
    "logging",
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
        if let Some(remedy) = refused::remedy_of(key) {
            let message = format!("'{key}' is not supported; {remedy}");
            reader.check.problem(entry.key_place, &entry.path, message);
        } else if KEYS.contains(&key) {
            what_runs(reader, key, &entry, &mut service);
            where_it_runs(reader, key, &entry, &mut service);
            means::read(reader, key, &entry, &mut service);
        } else {
            let message = keys::unknown(&shorten(key), KEYS);
            reader.check.problem(entry.key_place, &entry.path, message);
        }
    }
    service.after = links::names(reader, &service.written);
    if let (Some(mode), Some(joined)) = (&service.network_mode, service.networks.first()) {
        let message = format!("stand beside 'network_mode: {mode}', and a container has one of both; remove one");
        reader.check.problem(joined.origin.place, &joined.origin.path, message);
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
        "environment" => environment::read(reader, field, service),
        "env_file" => environment::files(reader, field, service),
        "profiles" => service.profiles = reader.texts(field),
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
            service.links = links::inside(reader, &links);
            service.written.append(&mut links);
        }
        "depends_on" => depends_on(reader, field, service),
        "network_mode" | "net" => service.network_mode = network_mode(reader, field),
        "networks" => service.networks = shared::joined(reader, field),
        "volumes" => service.volumes = mounts::read(reader, field),
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
