//! Links: read from one file, checked over all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::attached::Linked;
use super::model::{AliasService, Link, Origin, Project, Published, Service, ServiceName};
use super::values::Reader;
use super::{one, ports};
use crate::config::check::{Field, shorten};
use crate::config::keys::closest;
use crate::config::{ConfigError, Location, Problem};

const REMEDY: &str = "write a list of service names, as [countdown-v1]";

/// The lines of `links`: `SERVICE`, `SERVICE:NAME` or `SERVICE:`.
pub(super) fn read(reader: &mut Reader<'_>, field: &Field<'_>) -> Vec<Link> {
    let Some(items) = reader.check.items(field, REMEDY) else {
        return Vec::new();
    };
    let mut links: Vec<Link> = Vec::new();
    for item in &items {
        let Some(text) = reader.word(item) else { continue };
        let (target, known_as) = text.split_once(':').unwrap_or((&text, ""));
        if let Some(first) = links
            .iter()
            .find(|link| link.target == target && link.known_as == known_as)
        {
            let line = first.origin.place.line;
            reader.wrong(
                item,
                format_args!("links '{}' twice, first at line {line}; keep one", shorten(target)),
            );
            continue;
        }
        links.push(Link {
            target: target.to_owned(),
            known_as: known_as.to_owned(),
            origin: reader.origin(item),
        });
    }
    links
}

/// The names that a container knows others by, each of one only.
pub(super) fn inside(reader: &mut Reader<'_>, links: &[Link]) -> Vec<Linked> {
    let mut all: Vec<Linked> = Vec::new();
    for link in links {
        let name = if link.known_as.is_empty() {
            &link.target
        } else {
            &link.known_as
        };
        if !name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        {
            let message = format!("'{}' is no name of a host; use a-z, 0-9 and '-'", shorten(name));
            reader.check.problem(link.origin.place, &link.origin.path, message);
            continue;
        }
        if let Some(other) = all.iter().find(|other| other.name == *name) {
            let message = format!(
                "calls '{}' by the name '{}', which is '{}' already; give each a name of its own",
                shorten(&link.target),
                shorten(name),
                shorten(&other.target)
            );
            reader.check.problem(link.origin.place, &link.origin.path, message);
            continue;
        }
        all.push(Linked {
            name: name.clone(),
            target: link.target.clone(),
        });
    }
    all
}

/// The services that an alias's links name, each once.
pub(super) fn names(reader: &mut Reader<'_>, links: &[Link]) -> Vec<ServiceName> {
    let mut names: Vec<ServiceName> = Vec::new();
    for link in links {
        match link.target.parse() {
            Ok(name) if names.contains(&name) => {}
            Ok(name) => names.push(name),
            Err(error) => reader.check.problem(link.origin.place, &link.origin.path, error),
        }
    }
    names
}

/// What only all files together can show: links to nowhere, circles, ports that are published twice.
pub(super) fn check(project: &Project) -> Result<(), ConfigError> {
    for link in project.aliases.values().flat_map(|alias| &alias.written) {
        check_alias_link(project, link)?;
    }
    for service in project.services.values() {
        for link in &service.written {
            check_service_link(project, link)?;
        }
    }
    circles(project)?;
    published_twice(project)?;
    for (name, service) in &project.services {
        one_port_for_many(project, name.as_str(), service)?;
    }
    for (name, alias) in &project.aliases {
        has_services(project, name.as_str(), alias)?;
        names_a_port(project, name.as_str(), alias)?;
    }
    Ok(())
}

pub(super) fn refuse(origin: &Origin, message: String) -> ConfigError {
    one(Problem {
        file: origin.file.clone(),
        line: origin.place.line,
        column: origin.place.column,
        field: origin.path.clone(),
        message,
    })
}

fn check_alias_link(project: &Project, link: &Link) -> Result<(), ConfigError> {
    if project.is_alias(&link.target) {
        let message = format!(
            "links to '{}', which is an alias itself; link to the services behind it",
            shorten(&link.target)
        );
        return Err(circle_at(project, &link.target).unwrap_or_else(|| refuse(&link.origin, message)));
    }
    is_there(project, link)
}

fn check_service_link(project: &Project, link: &Link) -> Result<(), ConfigError> {
    if project.is_alias(&link.target) {
        return Ok(());
    }
    is_there(project, link)
}

fn is_there(project: &Project, link: &Link) -> Result<(), ConfigError> {
    if project.services.keys().any(|name| name.as_str() == link.target) {
        return Ok(());
    }
    if let Some((_, profiles)) = project.inactive.iter().find(|(name, _)| name.as_str() == link.target) {
        let message = format!(
            "links to service '{}', which runs only with one of the profiles {}; set COMPOSE_PROFILES={}, or remove the link",
            link.target,
            profiles.join(", "),
            profiles.first().map_or("", String::as_str)
        );
        return Err(refuse(&link.origin, message));
    }
    let known: Vec<&str> = project.services.keys().map(ServiceName::as_str).collect();
    let remedy = match closest(&link.target, &known) {
        Some(near) => format!("did you mean '{near}'?"),
        None => "add it, or remove the link".to_owned(),
    };
    let message = format!(
        "links to service '{}', which is in none of the files; {remedy}",
        shorten(&link.target)
    );
    Err(refuse(&link.origin, message))
}

/// Everything that a service or alias needs, by name.
fn needs(project: &Project) -> BTreeMap<&str, &[Link]> {
    let aliases = project
        .aliases
        .iter()
        .map(|(name, alias)| (name.as_str(), alias.written.as_slice()));
    let services = project
        .services
        .iter()
        .map(|(name, service)| (name.as_str(), service.written.as_slice()));
    aliases.chain(services).collect()
}

fn circles(project: &Project) -> Result<(), ConfigError> {
    for name in needs(project).keys() {
        if let Some(error) = circle_at(project, name) {
            return Err(error);
        }
    }
    Ok(())
}

/// The circle that `start` is on, if it is on one.
fn circle_at(project: &Project, start: &str) -> Option<ConfigError> {
    let needs = needs(project);
    let mut way: Vec<&Link> = Vec::new();
    let mut seen = BTreeSet::new();
    // Depth first; each name is entered once, so this ends.
    let mut open: Vec<(usize, &Link)> = needs.get(start)?.iter().map(|link| (0, link)).collect();
    while let Some((depth, link)) = open.pop() {
        way.truncate(depth);
        way.push(link);
        if link.target == start {
            let names: Vec<&str> = way.iter().map(|link| link.target.as_str()).collect();
            let message = format!("links go round: {start} -> {}; remove one of them", names.join(" -> "));
            return Some(refuse(&way.first()?.origin, message));
        }
        if seen.insert(link.target.as_str()) {
            let next = needs.get(link.target.as_str()).copied().unwrap_or_default();
            open.extend(next.iter().map(|link| (depth + 1, link)));
        }
    }
    None
}

/// Two services that want one port of the host.
fn published_twice(project: &Project) -> Result<(), ConfigError> {
    let mut taken: Vec<(&str, &Published)> = Vec::new();
    let aliases = project
        .aliases
        .iter()
        .map(|(name, alias)| (name.as_str(), &alias.ports));
    let services = project
        .services
        .iter()
        .map(|(name, service)| (name.as_str(), &service.ports));
    for (name, published) in aliases.chain(services) {
        for one in published.iter().filter(|one| one.published.is_some()) {
            if let Some((other, _)) = taken.iter().find(|(_, other)| ports::clashes(one, other)) {
                let port = one.published.map_or(0, std::num::NonZero::get);
                let message = format!("port {port} of the host is published by '{other}' and by '{name}'; change one");
                return Err(about(project, name, "ports", message));
            }
            taken.push((name, one));
        }
    }
    Ok(())
}

/// A port of the host is one container's.
fn one_port_for_many(project: &Project, name: &str, service: &Service) -> Result<(), ConfigError> {
    let on_host = service.network_mode.as_deref() == Some("host");
    let fixed = service
        .ports
        .iter()
        .find_map(|port| Some((port.published?, port.target.number)));
    match fixed {
        Some((port, target)) if service.scale > 1 && !on_host => {
            let scale = service.scale;
            let message = format!(
                "port {port} of the host cannot be that of {scale} containers; write \"{target}\" here, and publish an alias that links '{name}' (image: rancher/load-balancer-service)"
            );
            Err(about(project, name, "ports", message))
        }
        _ => Ok(()),
    }
}

/// What is behind a balancer with rules is known once all files are read.
fn has_services(project: &Project, name: &str, alias: &AliasService) -> Result<(), ConfigError> {
    if !alias.links.is_empty() {
        return Ok(());
    }
    let message = format!(
        "has no service behind it; write links: [web], or in rancher-compose.yml: {name}: {{lb_config: {{port_rules: [...]}}}}"
    );
    Err(about(project, name, "", message))
}

/// An alias that is not published answers at the ports of its services; it needs to know one.
fn names_a_port(project: &Project, name: &str, alias: &AliasService) -> Result<(), ConfigError> {
    let known = |service: &ServiceName| {
        project
            .services
            .get(service)
            .is_some_and(|s| !s.container_ports().is_empty())
    };
    if !alias.ports.is_empty() || alias.links.iter().any(known) {
        return Ok(());
    }
    let service = alias.links.first().map_or("", ServiceName::as_str);
    let message = format!(
        "no service behind it names a port, so nobody could connect; say which, as {service}: {{expose: [\"80\"]}}"
    );
    Err(about(project, name, "links", message))
}

/// An error about a key of a service that has it.
fn about(project: &Project, name: &str, key: &str, message: String) -> ConfigError {
    let origin = project.origins.get(&(name.to_owned(), key.to_owned())).cloned();
    let origin = origin.unwrap_or_else(|| Origin {
        file: String::new(),
        path: format!("{name}.{key}"),
        place: Location::START,
    });
    refuse(&origin, message)
}
