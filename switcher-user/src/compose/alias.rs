//! A service whose image makes it an alias.

use super::links;
use super::model::{AliasKind, AliasService};
use super::ports;
use super::values::Reader;
use crate::config::check::{Field, shorten};
use crate::config::keys;
use crate::config::node::Value;

const KEYS: &[&str] = &[
    "image",
    "links",
    "ports",
    "tty",
    "stdin_open",
    "labels",
    "restart",
    "scale",
];
/// Keys of a container: an alias runs in none.
const NO_EFFECT: &[&str] = &["tty", "stdin_open", "restart", "scale"];
const LINKS_REMEDY: &str = "name the services behind it, as links: [countdown-v1]";
/// What Rancher's first balancer took as labels: rules by host name and path, TLS, PROXY protocol.
const BALANCER_LABELS: &str = "io.rancher.loadbalancer.";

/// Which alias the service is, if it is one.
pub(super) fn kind(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<AliasKind> {
    let Value::Mapping(entries) = &field.node.value else {
        return None;
    };
    let image = entries.iter().find(|entry| entry.key.as_deref() == Some("image"))?;
    let image = super::interpolate::interpolate(image.value.value.scalar()?, reader.around.variable).ok()?;
    AliasKind::of_image(&image)
}

/// The alias. `None`: mistakes were noted.
pub(super) fn read(reader: &mut Reader<'_>, field: &Field<'_>, kind: AliasKind) -> Option<AliasService> {
    let problems_before = reader.check.problems.len();
    let mut alias = AliasService {
        kind,
        ports: Vec::new(),
        links: Vec::new(),
        written: Vec::new(),
    };
    let mut has_links = false;
    for (key, entry) in reader.check.entries(field, "") {
        match key {
            "image" => {}
            "links" => {
                has_links = true;
                alias.written = links::read(reader, &entry);
                if alias.written.is_empty() && kind != AliasKind::RuledBalancer {
                    reader.wrong(&entry, format_args!("names no service; {LINKS_REMEDY}"));
                }
            }
            "ports" => alias.ports = ports::published(reader, &entry),
            "labels" => labels(reader, &entry),
            key if NO_EFFECT.contains(&key) => {}
            "external_links" => reader.wrong(
                &entry,
                "is not supported; name services of these files in 'links', or use an alias of a stack file",
            ),
            key if key.starts_with("x-") => {}
            other => {
                let message = keys::unknown(&shorten(other), KEYS);
                let message = format!("{message}: {} runs in no container", kind.image());
                reader.check.problem(entry.key_place, &entry.path, message);
            }
        }
    }
    // What is behind the other kind, rancher-compose.yml may say: links::check looks once all is read.
    if !has_links && kind != AliasKind::RuledBalancer {
        let path = format!("{}.links", field.path);
        reader
            .check
            .problem(field.key_place, &path, format_args!("is missing; {LINKS_REMEDY}"));
    }
    if kind != AliasKind::Dns && alias.ports.is_empty() && reader.check.problems.len() == problems_before {
        let path = format!("{}.ports", field.path);
        let message = "is missing; say where it is published, as ports: [\"8000:80/tcp\"]";
        reader.check.problem(field.key_place, &path, message);
    }
    alias.links = links::names(reader, &alias.written);
    (reader.check.problems.len() == problems_before).then_some(alias)
}

/// Labels have no effect where nothing runs, but for those by which Rancher's balancer told hosts apart: without them, the
/// traffic of all hosts would go to all services.
fn labels(reader: &mut Reader<'_>, field: &Field<'_>) {
    for (name, _) in reader.pairs(field) {
        let Some(rule) = name.strip_prefix(BALANCER_LABELS) else {
            continue;
        };
        let message = match rule.starts_with("target.") {
            true => {
                "needs somebody who reads HTTP: put a proxy that does (nginx, HAProxy) behind this balancer and link that; a \
                 port alone goes into 'ports', as \"8000:8080\""
            }
            false => {
                "needs somebody who ends TLS or speaks the PROXY protocol: let the service itself, or a proxy before it, and \
                 remove the label"
            }
        };
        reader.wrong(field, format_args!("label '{}' {message}", shorten(&name)));
    }
}
