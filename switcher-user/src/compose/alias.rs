//! A service whose image makes it an alias.

use super::links;
use super::model::{AliasKind, AliasService};
use super::ports;
use super::values::Reader;
use crate::config::check::Field;
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
const NO_EFFECT: &[&str] = &["tty", "stdin_open", "labels", "restart", "scale"];
const LINKS_REMEDY: &str = "name the services behind it, as links: [countdown-v1]";

/// Which alias the service is, if it is one.
pub(super) fn kind(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<AliasKind> {
    let Value::Mapping(entries) = &field.node.value else {
        return None;
    };
    let image = entries.iter().find(|entry| entry.key.as_deref() == Some("image"))?;
    let image = super::interpolate::interpolate(image.value.value.scalar()?, reader.variable).ok()?;
    let name = image.rsplit_once(':').map_or(image.as_str(), |(name, _)| name);
    [AliasKind::Dns, AliasKind::Balancer]
        .into_iter()
        .find(|kind| kind.image() == name)
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
                if alias.written.is_empty() {
                    reader.wrong(&entry, format_args!("names no service; {LINKS_REMEDY}"));
                }
            }
            "ports" => alias.ports = ports::published(reader, &entry),
            key if NO_EFFECT.contains(&key) => {}
            "external_links" => reader.wrong(
                &entry,
                "is not supported; name services of these files in 'links', or use an alias of a stack file",
            ),
            key if key.starts_with("x-") => {}
            other => {
                let message = keys::unknown(&crate::config::check::shorten(other), KEYS);
                let message = format!("{message}: {} runs in no container", kind.image());
                reader.check.problem(entry.key_place, &entry.path, message);
            }
        }
    }
    if !has_links {
        let path = format!("{}.links", field.path);
        reader
            .check
            .problem(field.key_place, &path, format_args!("is missing; {LINKS_REMEDY}"));
    }
    if kind == AliasKind::Balancer && alias.ports.is_empty() && reader.check.problems.len() == problems_before {
        let path = format!("{}.ports", field.path);
        let message = "is missing; say where it is published, as ports: [\"8000:80/tcp\"]";
        reader.check.problem(field.key_place, &path, message);
    }
    alias.links = links::names(reader, &alias.written);
    (reader.check.problems.len() == problems_before).then_some(alias)
}
