//! `lb_config` of a balancer: rules that say which service is behind which port.
//!
//! The kernel carries connections and reads no HTTP. A rule that asks for a host name, a path or TLS is refused: without it, the
//! traffic of all hosts would go to one service.

use std::num::NonZeroU16;

use super::model::{AliasService, Link, Origin};
use super::values::Reader;
use crate::config::check::{Field, shorten};
use crate::config::keys;
use crate::config::node::Value;
use crate::model::Protocol;

const KEYS: &[&str] = &["port_rules", "certs", "default_cert", "config", "stickiness_policy"];
const RULE_KEYS: &[&str] = &[
    "source_port",
    "target_port",
    "service",
    "protocol",
    "priority",
    "backend_name",
];
const REMEDY: &str = "write it as {source_port: 80, target_port: 8080, service: web, protocol: tcp}";
const HTTP_REMEDY: &str =
    "needs somebody who reads HTTP: put a proxy that does (nginx, HAProxy) behind this balancer, and link that";
const TLS_REMEDY: &str =
    "needs somebody who ends TLS: let the service itself, or a proxy before it, and write protocol: tcp";

/// One rule that the kernel can follow.
pub(super) struct Rule {
    source: NonZeroU16,
    target: NonZeroU16,
    protocol: Protocol,
    priority: Option<u32>,
    link: Link,
    origin: Origin,
}

/// `lb_config`: adds what its rules say to the balancer.
pub(super) fn read(reader: &mut Reader<'_>, field: &Field<'_>, alias: &mut AliasService) {
    for (key, entry) in reader.check.entries(field, "write {port_rules: [...]}") {
        match key {
            "port_rules" => {
                let problems_before = reader.check.problems.len();
                let rules = rules(reader, &entry);
                if reader.check.problems.len() == problems_before {
                    follow(reader, &entry, alias, rules);
                }
            }
            "certs" | "default_cert" => no_certificates(reader, &entry),
            "config" | "stickiness_policy" => {
                if !is_nothing(&entry) {
                    reader.warn(
                        &entry,
                        "has no effect: the kernel carries connections and reads no HTTP",
                    );
                }
            }
            other => {
                let message = keys::unknown(&shorten(other), KEYS);
                reader.check.problem(entry.key_place, &entry.path, message);
            }
        }
    }
}

/// Certificates of a balancer: clients that speak TLS would reach services that do not.
pub(super) fn no_certificates(reader: &mut Reader<'_>, field: &Field<'_>) {
    if !is_nothing(field) {
        reader.check.problem(field.key_place, &field.path, TLS_REMEDY);
    }
}

fn is_nothing(field: &Field<'_>) -> bool {
    match &field.node.value {
        Value::Null => true,
        Value::Sequence(items) => items.is_empty(),
        Value::Mapping(entries) => entries.is_empty(),
        Value::Literal(text) | Value::Text(text) => text.is_empty(),
    }
}

fn rules(reader: &mut Reader<'_>, field: &Field<'_>) -> Vec<Rule> {
    let items = reader.check.items(field, "write a list of rules").unwrap_or_default();
    if items.is_empty() {
        reader.wrong(field, format_args!("has no rule; {REMEDY}"));
    }
    items.iter().filter_map(|item| rule(reader, item)).collect()
}

/// `None`: it was refused.
fn rule(reader: &mut Reader<'_>, item: &Field<'_>) -> Option<Rule> {
    let problems_before = reader.check.problems.len();
    let (mut source, mut target, mut priority, mut service) = (None, None, None, None);
    let mut protocol = Protocol::Tcp;
    for (key, entry) in reader.check.entries(item, REMEDY) {
        match key {
            "hostname" | "path" | "selector" if is_nothing(&entry) => {}
            "hostname" | "path" => reader.check.problem(entry.key_place, &entry.path, HTTP_REMEDY),
            "selector" => {
                let message =
                    "chooses services by labels, which is not supported; write one rule for each, as service: web";
                reader.check.problem(entry.key_place, &entry.path, message);
            }
            "source_port" => source = port(reader, &entry),
            "target_port" => target = port(reader, &entry),
            "priority" => priority = reader.number(&entry, 0, u32::MAX),
            "service" => service = service_of(reader, &entry),
            "protocol" => protocol = protocol_of(reader, &entry),
            "backend_name" => reader.warn(&entry, "has no effect: it names a part of HAProxy's own text"),
            other => {
                let message = keys::unknown(&shorten(other), RULE_KEYS);
                reader.check.problem(entry.key_place, &entry.path, message);
            }
        }
    }
    if reader.check.problems.len() > problems_before {
        return None;
    }
    let (Some(source), Some(link)) = (source, service) else {
        reader.wrong(item, format_args!("names no source_port or no service; {REMEDY}"));
        return None;
    };
    Some(Rule {
        source,
        target: target.unwrap_or(source),
        protocol,
        priority,
        link,
        origin: reader.origin(item),
    })
}

fn port(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<NonZeroU16> {
    let number = reader.number(field, 1, u32::from(u16::MAX))?;
    NonZeroU16::new(u16::try_from(number).ok()?)
}

fn service_of(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<Link> {
    let target = reader.word(field)?;
    if target.contains('/') {
        let shown = shorten(&target);
        reader.wrong(
            field,
            format_args!("'{shown}' is of another stack, which is not supported; name a service of these files"),
        );
        return None;
    }
    Some(Link {
        target,
        known_as: String::new(),
        origin: reader.origin(field),
    })
}

fn protocol_of(reader: &mut Reader<'_>, field: &Field<'_>) -> Protocol {
    let text = reader.word(field).unwrap_or_default();
    match text.as_str() {
        // An HTTP connection is a TCP connection; what a proxy would add to it is told.
        "http" => reader.warn(
            field,
            "http is carried as tcp: no header is added, and the service sees the client's own address",
        ),
        "tcp" | "" => {}
        "udp" => return Protocol::Udp,
        "https" | "tls" | "sni" => reader.wrong(field, format_args!("'{text}' {TLS_REMEDY}")),
        other => {
            let other = shorten(other);
            reader.wrong(field, format_args!("'{other}' is not supported; use tcp, udp or http"));
        }
    }
    Protocol::Tcp
}

/// Rules onto ports and links; whatever they say that one set of backends at one port each cannot is refused.
fn follow(reader: &mut Reader<'_>, field: &Field<'_>, alias: &mut AliasService, rules: Vec<Rule>) {
    let problems_before = reader.check.problems.len();
    same_way(reader, &rules);
    for rule in &rules {
        let fits = |port: &super::Published| port.target.number == rule.source && port.target.protocol == rule.protocol;
        if !alias.ports.iter().any(fits) {
            let source = rule.source;
            let message = format!(
                "source_port {source} is in no 'ports' of the service; publish it there, as \"{source}:{source}\" (a name that is inside only is an image: rancher/dns-service)"
            );
            refuse(reader, &rule.origin, message);
        }
    }
    for link in &alias.written {
        if !rules.iter().any(|rule| rule.link.target == link.target) {
            let message = format!(
                "'{}' is linked, and no rule names it, so it would get nothing; add a rule, or remove the link",
                shorten(&link.target)
            );
            reader.check.problem(field.key_place, &field.path, message);
        }
    }
    for port in &mut alias.ports {
        let leads = |rule: &&Rule| rule.source == port.target.number && rule.protocol == port.target.protocol;
        match rules.iter().find(leads) {
            Some(rule) => port.target.number = rule.target,
            None => {
                let message = format!(
                    "port {} of the service's 'ports' has no rule; add one, or remove the port",
                    port.target.number
                );
                reader.check.problem(field.key_place, &field.path, message);
            }
        }
    }
    if reader.check.problems.len() > problems_before {
        return;
    }
    for rule in rules {
        if !alias.written.iter().any(|link| link.target == rule.link.target) {
            alias.written.push(rule.link);
        }
    }
    alias.links = super::links::names(reader, &alias.written);
}

fn refuse(reader: &mut Reader<'_>, origin: &Origin, message: String) {
    reader.check.problem(origin.place, &origin.path, message);
}

/// All rules of one port have one target and no order; all ports have the same services behind them.
fn same_way(reader: &mut Reader<'_>, rules: &[Rule]) {
    for rule in rules {
        let of_port = |other: &&Rule| other.source == rule.source && other.protocol == rule.protocol;
        let Some(first) = rules.iter().find(of_port) else {
            continue;
        };
        let line = first.origin.place.line;
        if first.target != rule.target {
            let message = format!(
                "leads port {} to another target_port than the rule at line {line}; let both services listen at one port",
                rule.source
            );
            refuse(reader, &rule.origin, message);
        }
        if first.priority != rule.priority && first.link.target != rule.link.target {
            let message = format!(
                "has another priority than the rule of the same port at line {line}, which only rules by host name or path have use for; give both the same, or leave one"
            );
            refuse(reader, &rule.origin, message);
        }
        let Some(any) = rules.first() else { continue };
        if services(rules, any) != services(rules, rule) {
            let message = format!(
                "port {} has other services behind it than port {}, and a balancer has one split; make a balancer of its own for it",
                rule.source, any.source
            );
            refuse(reader, &rule.origin, message);
        }
    }
}

/// The services behind a rule's port.
fn services<'r>(rules: &'r [Rule], of: &Rule) -> std::collections::BTreeSet<&'r str> {
    let same = |rule: &&Rule| rule.source == of.source && rule.protocol == of.protocol;
    rules
        .iter()
        .filter(same)
        .map(|rule| rule.link.target.as_str())
        .collect()
}
