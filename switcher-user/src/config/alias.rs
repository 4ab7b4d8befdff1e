//! One alias: `listen`, `path`, `udp`, `shield`, `add_addresses`, `split`, `sets`.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::Location;
use super::check::{Check, Field, shorten};
use super::set;
use super::split;
use crate::model::{
    AliasSpec, LISTENERS_PER_ALIAS_MAX, Listener, PathPolicy, SETS_PER_ALIAS_MAX, SetName, SetSpec, UdpPolicy,
};

const KEYS: &[&str] = &["listen", "path", "udp", "shield", "add_addresses", "split", "sets"];
const LISTEN_REMEDY: &str = "write it as listen: [\"198.51.100.10:80/tcp\"]";
const SETS_REMEDY: &str = "write it as sets: {v1: {backends: [\"10.1.0.2:8080\"]}}";

/// Who has which listener, over the whole file.
#[derive(Debug, Default)]
pub(super) struct Claims {
    places: HashMap<Listener, (String, Location)>,
}

/// One alias. `None`: mistakes were noted.
pub(super) fn read(check: &mut Check, alias: &Field<'_>, claims: &mut Claims) -> Option<AliasSpec> {
    let problems_before = check.problems.len();
    let fields = check.known(alias, KEYS, "give it 'listen', 'split' and 'sets'");
    if !matches!(alias.node.value, super::node::Value::Mapping(_)) {
        return None;
    }
    let listen = match fields.get("listen") {
        Some(field) => listeners(check, field, claims),
        None => missing(
            check,
            alias,
            "listen",
            "is missing; say where clients find the alias",
            LISTEN_REMEDY,
        ),
    };
    let path = fields
        .get("path")
        .and_then(|field| path(check, field))
        .unwrap_or_default();
    let udp = fields
        .get("udp")
        .and_then(|field| udp(check, field))
        .unwrap_or_default();
    let shield = fields.get("shield").and_then(|field| yes_or_no(check, field));
    let add_addresses = fields.get("add_addresses").and_then(|field| yes_or_no(check, field));
    let sets = match fields.get("sets") {
        Some(field) => sets(check, field, common_port(&listen)),
        None => missing(
            check,
            alias,
            "sets",
            "is missing; name the versions and their backends",
            SETS_REMEDY,
        ),
    };
    let split = fields
        .get("split")
        .map(|field| split::read(check, field, fields.get("sets")));
    if let Some(split) = &split {
        for (set, weight) in split {
            if let (false, Some(spec)) = (weight.is_zero(), sets.get(set)) {
                families(check, alias, set, spec, &listen);
            }
        }
    }
    (check.problems.len() == problems_before).then_some(AliasSpec {
        listen,
        path,
        udp,
        shield: shield.unwrap_or_default(),
        add_addresses: add_addresses.unwrap_or_default(),
        split,
        sets,
    })
}

fn missing<T: Default>(check: &mut Check, alias: &Field<'_>, key: &str, what: &str, remedy: &str) -> T {
    check.problem(
        alias.place,
        &format!("{}.{key}", alias.path),
        format_args!("{what}: {remedy}"),
    );
    T::default()
}

fn listeners(check: &mut Check, field: &Field<'_>, claims: &mut Claims) -> Vec<Listener> {
    let Some(items) = check.items(field, LISTEN_REMEDY) else {
        return Vec::new();
    };
    if items.is_empty() {
        check.wrong(field, format_args!("is an empty list; {LISTEN_REMEDY}"));
    }
    if let Some(first_too_many) = items.get(LISTENERS_PER_ALIAS_MAX) {
        let message = format!(
            "the alias has {} listeners, at most {LISTENERS_PER_ALIAS_MAX} fit; divide it into several aliases",
            items.len()
        );
        check.wrong(first_too_many, message);
    }
    let mut listeners = Vec::new();
    for item in items.iter().take(LISTENERS_PER_ALIAS_MAX) {
        let Some(listener) = check.single::<Listener>(item, "write it as \"198.51.100.10:80/tcp\"") else {
            continue;
        };
        if let Some((path, place)) = claims.places.get(&listener) {
            let message = format!(
                "listener '{listener}' is claimed twice, first by {path} at line {}, column {}; keep one",
                place.line, place.column
            );
            check.wrong(item, message);
            continue;
        }
        claims.places.insert(listener, (item.path.clone(), item.place));
        listeners.push(listener);
    }
    listeners
}

fn udp(check: &mut Check, field: &Field<'_>) -> Option<UdpPolicy> {
    match field.node.value.scalar() {
        Some("stay") => return Some(UdpPolicy::Stay),
        Some("move") => return Some(UdpPolicy::Move),
        Some(other) => check.wrong(
            field,
            format_args!("'{}' is not known; use stay or move", shorten(other)),
        ),
        None => {
            let kind = field.node.value.kind();
            check.wrong(field, format_args!("is {kind}, not a single value; use stay or move"));
        }
    }
    None
}

fn yes_or_no(check: &mut Check, field: &Field<'_>) -> Option<bool> {
    match field.node.value.scalar() {
        Some("true") => return Some(true),
        Some("false") => return Some(false),
        Some(other) => check.wrong(
            field,
            format_args!("'{}' is not known; use true or false", shorten(other)),
        ),
        None => {
            let kind = field.node.value.kind();
            check.wrong(field, format_args!("is {kind}, not a single value; use true or false"));
        }
    }
    None
}

fn path(check: &mut Check, field: &Field<'_>) -> Option<PathPolicy> {
    match field.node.value.scalar() {
        Some("auto") => Some(PathPolicy::Auto),
        Some("bypass") => Some(PathPolicy::Bypass),
        Some("stack") => Some(PathPolicy::Stack),
        Some(other) => {
            check.wrong(
                field,
                format_args!("'{}' is no path; use auto, bypass or stack", shorten(other)),
            );
            None
        }
        None => {
            let kind = field.node.value.kind();
            check.wrong(
                field,
                format_args!("is {kind}, not a single value; use auto, bypass or stack"),
            );
            None
        }
    }
}

/// The port that a backend without one has, if it is the same for all listeners.
fn common_port(listeners: &[Listener]) -> Option<u16> {
    let first = listeners.first()?.port;
    listeners.iter().all(|listener| listener.port == first).then_some(first)
}

fn sets(check: &mut Check, field: &Field<'_>, listener_port: Option<u16>) -> BTreeMap<SetName, SetSpec> {
    let problems_before = check.problems.len();
    let entries = check.entries(field, SETS_REMEDY);
    if entries.is_empty() && check.problems.len() == problems_before {
        check.wrong(field, format_args!("names no set; {SETS_REMEDY}"));
    }
    if let Some((_, first_too_many)) = entries.get(SETS_PER_ALIAS_MAX) {
        let message = format!(
            "the alias has {} sets, at most {SETS_PER_ALIAS_MAX} fit; remove old ones",
            entries.len()
        );
        check.wrong(first_too_many, message);
    }
    let mut sets = BTreeMap::new();
    for (key, entry) in entries.iter().take(SETS_PER_ALIAS_MAX) {
        let name = shorten(key)
            .parse::<SetName>()
            .map_err(|error| check.wrong(entry, error))
            .ok();
        let spec = set::read(check, entry, listener_port);
        if let (Some(name), Some(spec)) = (name, spec) {
            sets.insert(name, spec);
        }
    }
    sets
}

/// A set with a share has a backend of each listener's family: nothing is translated between families.
fn families(check: &mut Check, alias: &Field<'_>, set: &SetName, spec: &SetSpec, listeners: &[Listener]) {
    type Family = (&'static str, fn(&IpAddr) -> bool);
    let families: [Family; 2] = [("IPv4", IpAddr::is_ipv4), ("IPv6", IpAddr::is_ipv6)];
    for (name, of_family) in families {
        let Some(listener) = listeners.iter().find(|listener| of_family(&listener.address)) else {
            continue;
        };
        if spec.backends.iter().any(|backend| of_family(&backend.address)) {
            continue;
        }
        let path = format!("{}.sets.{set}.backends", alias.path);
        let place = check.spans.locate(&path).unwrap_or(alias.place);
        let message = format!(
            "set '{set}' has a share but no {name} backend for listener '{listener}'; add one, give the set weight 0, \
             or remove the listener"
        );
        check.problem(place, &path, message);
    }
}
