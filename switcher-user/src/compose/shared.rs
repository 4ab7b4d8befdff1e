//! `networks` and `volumes`: what services share, and what of it they name.

use std::collections::BTreeMap;

use super::attached::{Joined, MountSource, Shared};
use super::links::refuse;
use super::model::{Form, Origin, Project, Service};
use super::values::Reader;
use crate::config::ConfigError;
use crate::config::check::{Field, shorten};
use crate::config::keys;
use crate::config::node::Value;

/// The network that services are on which name none.
pub const DEFAULT_NETWORK: &str = "default";
const KEYS: &[&str] = &["name", "external", "driver"];

/// One of the two kinds.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    word: &'static str,
    key: &'static str,
    driver: &'static str,
}

pub(super) const NETWORKS: Kind = Kind {
    word: "network",
    key: "networks",
    driver: "bridge",
};
pub(super) const VOLUMES: Kind = Kind {
    word: "volume",
    key: "volumes",
    driver: "local",
};

/// What stands below the key at the top, added to what other files declare.
pub(super) fn declared(reader: &mut Reader<'_>, field: &Field<'_>, kind: Kind, known: &mut BTreeMap<String, Shared>) {
    for (key, entry) in reader.check.entries(field, "write NAME: below it") {
        if !is_name(key) {
            let message = format!(
                "'{}' is no name of a {}; use a-z, 0-9, '-' and '_'",
                shorten(key),
                kind.word
            );
            reader.check.problem(entry.key_place, &entry.path, message);
            continue;
        }
        let Some(shared) = one(reader, &entry, kind) else {
            continue;
        };
        if known.get(key).is_some_and(|other| *other != shared) {
            let message = "stands in a file before this one, with other settings; keep one";
            reader.check.problem(entry.key_place, &entry.path, message);
            continue;
        }
        known.insert(key.to_owned(), shared);
    }
}

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(fits)
}

fn one(reader: &mut Reader<'_>, field: &Field<'_>, kind: Kind) -> Option<Shared> {
    let mut shared = Shared::default();
    if matches!(field.node.value, Value::Null) {
        return Some(shared);
    }
    let problems_before = reader.check.problems.len();
    for (key, entry) in reader.check.entries(field, "write {external: true}, or nothing") {
        match key {
            "name" => shared.name = docker_name(reader, &entry, kind),
            "external" if matches!(entry.node.value, Value::Mapping(_)) => {
                // As version 3.4 and before write it.
                let fields = reader.check.known(&entry, &["name"], "write external: true");
                shared.external = true;
                if let Some(name) = fields.get("name") {
                    shared.name = docker_name(reader, name, kind);
                }
            }
            "external" => shared.external = reader.flag(&entry).unwrap_or_default(),
            "driver" => driver(reader, &entry, kind),
            "driver_opts" | "ipam" | "internal" | "attachable" | "enable_ipv6" | "enable_ipv4" | "labels" => {
                let message = format!(
                    "'{key}' is not supported; make the {word} first (docker {word} create), and write external: true",
                    word = kind.word
                );
                reader.check.problem(entry.key_place, &entry.path, message);
            }
            other if other.starts_with("x-") => {}
            other => {
                let message = keys::unknown(&shorten(other), KEYS);
                reader.check.problem(entry.key_place, &entry.path, message);
            }
        }
    }
    (reader.check.problems.len() == problems_before).then_some(shared)
}

fn docker_name(reader: &mut Reader<'_>, field: &Field<'_>, kind: Kind) -> Option<String> {
    let name = reader.word(field)?;
    if is_name(&name) {
        return Some(name);
    }
    let shown = shorten(&name);
    reader.wrong(
        field,
        format_args!("'{shown}' is no name of a {}; use a-z, 0-9, '-' and '_'", kind.word),
    );
    None
}

fn driver(reader: &mut Reader<'_>, field: &Field<'_>, kind: Kind) {
    let Some(driver) = reader.word(field) else { return };
    if driver != kind.driver {
        reader.wrong(
            field,
            format_args!(
                "driver '{}' is not supported; use {}, or make the {word} first (docker {word} create) and write external: true",
                shorten(&driver),
                kind.driver,
                word = kind.word
            ),
        );
    }
}

/// `networks` of a service: a list of names, or a mapping to `{aliases: […]}`.
pub(super) fn joined(reader: &mut Reader<'_>, field: &Field<'_>) -> Vec<Joined> {
    if !matches!(field.node.value, Value::Mapping(_)) {
        return listed(reader, field);
    }
    let mut all = Vec::new();
    for (key, entry) in reader.check.entries(field, "write a list of networks") {
        let mut aliases = Vec::new();
        if !matches!(entry.node.value, Value::Null) {
            let fields = reader.check.known(
                &entry,
                &["aliases"],
                "leave only the network's name, or write {aliases: [name]}",
            );
            if let Some(field) = fields.get("aliases") {
                aliases = reader.texts(field);
            }
        }
        all.push(Joined {
            network: key.to_owned(),
            aliases,
            origin: reader.origin(&entry),
        });
    }
    all
}

fn listed(reader: &mut Reader<'_>, field: &Field<'_>) -> Vec<Joined> {
    let Some(items) = reader.check.items(field, "write a list of networks") else {
        return Vec::new();
    };
    let mut all: Vec<Joined> = Vec::new();
    for item in &items {
        let Some(network) = reader.word(item) else { continue };
        if all.iter().any(|other| other.network == network) {
            reader.wrong(item, format_args!("names '{}' twice; keep one", shorten(&network)));
            continue;
        }
        all.push(Joined {
            network,
            aliases: Vec::new(),
            origin: reader.origin(item),
        });
    }
    all
}

/// What services name has to be declared: nothing is made because somebody mistyped.
pub(super) fn check(project: &Project) -> Result<(), ConfigError> {
    for service in project.services.values() {
        for joined in &service.networks {
            let is_default = project.form == Some(Form::Services) && joined.network == DEFAULT_NETWORK;
            if !is_default {
                is_declared(project, NETWORKS, &project.networks, &joined.network, &joined.origin)?;
            }
        }
        volumes(project, service)?;
    }
    Ok(())
}

/// Files of the first form cannot declare volumes: theirs are Docker's own, by name.
fn volumes(project: &Project, service: &Service) -> Result<(), ConfigError> {
    if project.form != Some(Form::Services) {
        return Ok(());
    }
    for mount in &service.volumes {
        if let MountSource::Volume(name) = &mount.source {
            is_declared(project, VOLUMES, &project.volumes, name, &mount.origin)?;
        }
    }
    Ok(())
}

fn is_declared(
    project: &Project,
    kind: Kind,
    declared: &BTreeMap<String, Shared>,
    name: &str,
    origin: &Origin,
) -> Result<(), ConfigError> {
    if declared.contains_key(name) {
        return Ok(());
    }
    let (word, key, shown) = (kind.word, kind.key, shorten(name));
    if project.form != Some(Form::Services) {
        let message = format!(
            "names {word} '{shown}', and files without 'services:' declare none; remove it, or put the services below 'services:'"
        );
        return Err(refuse(origin, message));
    }
    let known: Vec<&str> = declared.keys().map(String::as_str).collect();
    let remedy = match keys::closest(name, &known) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("declare it at the top, as {key}: {{{shown}: {{}}}}"),
    };
    Err(refuse(
        origin,
        format!("names {word} '{shown}', which the files do not declare; {remedy}"),
    ))
}
