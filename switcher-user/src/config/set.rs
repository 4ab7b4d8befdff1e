//! One set: `backends`, `health`.

use std::collections::HashMap;
use std::num::NonZeroU16;

use super::check::{Check, Field};
use super::health;
use super::node::Value;
use crate::model::{BACKENDS_PER_SET_MAX, BackendAddress, SetSpec};

const KEYS: &[&str] = &["backends", "health"];
const REMEDY: &str = "write it as backends: [\"10.1.0.2:8080\"]";

/// One set. `None`: mistakes were noted. `listener_port`: the port of a backend that names none, if it is known.
pub(super) fn read(check: &mut Check, set: &Field<'_>, listener_port: Option<u16>) -> Option<SetSpec> {
    let problems_before = check.problems.len();
    let fields = check.known(set, KEYS, REMEDY);
    if !matches!(set.node.value, Value::Mapping(_)) {
        return None;
    }
    let Some(field) = fields.get("backends") else {
        check.problem(
            set.place,
            &format!("{}.backends", set.path),
            format_args!("is missing; {REMEDY}"),
        );
        return None;
    };
    let backends = backends(check, field, listener_port);
    let health = fields.get("health").and_then(|field| health::read(check, field));
    (check.problems.len() == problems_before).then_some(SetSpec {
        backends,
        health,
        containers: None,
    })
}

fn backends(check: &mut Check, field: &Field<'_>, listener_port: Option<u16>) -> Vec<BackendAddress> {
    let Some(items) = check.items(field, REMEDY) else {
        return Vec::new();
    };
    if items.is_empty() {
        check.wrong(field, format_args!("the set has no backends; {REMEDY}"));
    }
    if let Some(first_too_many) = items.get(BACKENDS_PER_SET_MAX) {
        let message = format!(
            "the set has {} backends, at most {BACKENDS_PER_SET_MAX} fit; remove {} of them or make a second alias",
            items.len(),
            items.len() - BACKENDS_PER_SET_MAX
        );
        check.wrong(first_too_many, message);
    }
    let mut first_at: HashMap<_, (usize, u32)> = HashMap::new();
    let mut backends = Vec::new();
    for (index, item) in items.iter().take(BACKENDS_PER_SET_MAX).enumerate() {
        let Some(backend) = check.single::<BackendAddress>(item, "write it as \"10.1.0.2:8080\"") else {
            continue;
        };
        // Without a port a backend has the listener's, so ADDR and ADDR:PORT may be one place.
        let port = backend.port.map(NonZeroU16::get).or(listener_port);
        if let Some((first, line)) = first_at.get(&(backend.address, port)) {
            let message = format!("backend '{backend}' is the same as backends[{first}] at line {line}; keep one");
            check.wrong(item, message);
            continue;
        }
        first_at.insert((backend.address, port), (index, item.place.line));
        backends.push(backend);
    }
    backends
}
