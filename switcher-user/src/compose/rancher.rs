//! `rancher-compose.yml`: how many, and how they are upgraded.

use super::around::Surroundings;
use super::model::{AliasKind, AliasService, Project, SCALE_MAX, ServiceName};
use super::values::Reader;
use super::{SourceFile, rules, tree};
use crate::config::check::{Field, shorten};
use crate::config::node::{Node, Value};
use crate::config::{ConfigError, Location, keys};

const KEYS: &[&str] = &[
    "scale",
    "load_balancer_config",
    "lb_config",
    "upgrade_strategy",
    "health_check",
    "metadata",
    "retain_ip",
    "start_on_create",
];
const STRATEGY_KEYS: &[&str] = &["start_first", "batch_size", "interval_millis"];

/// Adds what the file says to the services it names.
pub(super) fn read(source: &SourceFile, around: &Surroundings<'_>, project: &mut Project) -> Result<(), ConfigError> {
    let tree = tree(source)?;
    let mut reader = Reader::new(&source.name, around);
    services(&mut reader, &tree, project);
    project.warnings.append(&mut reader.warnings);
    ConfigError::from_problems(reader.check.problems).map_or(Ok(()), Err)
}

fn services(reader: &mut Reader<'_>, tree: &Node, project: &mut Project) {
    let root = Field {
        path: String::new(),
        place: Location::START,
        key_place: Location::START,
        node: tree,
    };
    let mut entries = reader
        .check
        .entries(&root, "name a service of docker-compose.yml, as 'web: {scale: 2}'");
    // The second version of the format has everything below `services`.
    if let Some((_, below)) = entries
        .iter()
        .find(|(key, field)| *key == "services" && !matches!(field.node.value, Value::Text(_)))
    {
        let below = below.clone();
        for (key, field) in &entries {
            if !matches!(*key, "services" | "version") {
                reader.check.problem(
                    field.key_place,
                    &field.path,
                    keys::unknown(&shorten(key), &["version", "services"]),
                );
            }
        }
        entries = reader.check.entries(&below, "name a service below it");
    }
    for (key, field) in entries {
        let inactive = key
            .parse()
            .is_ok_and(|name: ServiceName| project.inactive.contains_key(&name));
        let set: Option<ServiceName> = key.parse().ok().filter(|name| project.services.contains_key(name));
        let alias = key.parse().ok().and_then(|name| project.aliases.get_mut(&name));
        if set.is_none() && alias.is_none() && !inactive {
            let known: Vec<&str> = project.services.keys().map(ServiceName::as_str).collect();
            let remedy = match keys::closest(key, &known) {
                Some(near) => format!("did you mean '{near}'?"),
                None => "add it there, or remove it here".to_owned(),
            };
            let message = format!("service '{}' is not in the compose file; {remedy}", shorten(key));
            reader.check.problem(field.key_place, &field.path, message);
            continue;
        }
        let scale = service(reader, &field, alias);
        if let (Some(scale), Some(service)) = (scale, set.and_then(|name| project.services.get_mut(&name))) {
            service.scale = scale;
        }
    }
}

/// The scale, where it is given.
fn service(reader: &mut Reader<'_>, field: &Field<'_>, mut alias: Option<&mut AliasService>) -> Option<u32> {
    let mut scale = None;
    let is_alias = alias.is_some();
    for (key, entry) in reader.check.entries(field, "write {scale: 2}") {
        match key {
            "scale" => scale = reader.number(&entry, 0, SCALE_MAX),
            "load_balancer_config" if is_alias => balancer(reader, &entry),
            "lb_config" => match &mut alias {
                Some(alias) if alias.kind != AliasKind::Dns => rules::read(reader, &entry, alias),
                _ => reader.wrong(
                    &entry,
                    "belongs to a balancer, and this is none; give it an image: rancher/lb-service-haproxy, or remove it",
                ),
            },
            "upgrade_strategy" => strategy(reader, &entry),
            "health_check" => reader.warn(
                &entry,
                "has no effect: give the service a 'healthcheck' in the compose file",
            ),
            "metadata" => reader.warn(&entry, "has no effect: there is no metadata service"),
            "retain_ip" => reader.warn(
                &entry,
                "has no effect: the alias's address stays, whatever its containers have",
            ),
            "start_on_create" => reader.warn(&entry, "has no effect: containers are started when they are made"),
            other => {
                let message = keys::unknown(&shorten(other), KEYS);
                reader.check.problem(entry.key_place, &entry.path, message);
            }
        }
    }
    if is_alias && scale.is_some_and(|scale| scale != 1) {
        reader.warn(
            field,
            "'scale' has no effect: an alias runs in the kernel, not in containers",
        );
    }
    scale
}

fn balancer(reader: &mut Reader<'_>, field: &Field<'_>) {
    for (key, entry) in reader.check.entries(field, "write {name: a name}") {
        if matches!(key, "certs" | "default_cert") {
            rules::no_certificates(reader, &entry);
        } else if key != "name" {
            reader.warn(
                &entry,
                "has no effect: the kernel carries connections and reads no HTTP",
            );
        }
    }
}

fn strategy(reader: &mut Reader<'_>, field: &Field<'_>) {
    let fields = reader.check.known(field, STRATEGY_KEYS, "write {start_first: true}");
    if let Some(first) = fields.get("start_first")
        && reader.flag(first) == Some(false)
    {
        reader.warn(
            first,
            "has no effect: new containers are always started first; nothing is stopped before",
        );
    }
    for key in ["batch_size", "interval_millis"] {
        if let Some(entry) = fields.get(key) {
            reader.warn(
                entry,
                "has no effect here: give --batch-size and --interval to 'switcher compose upgrade'",
            );
        }
    }
}
