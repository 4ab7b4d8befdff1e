//! The file as a whole: `version`, `stack`, `aliases`.

use std::collections::BTreeMap;

use super::Location;
use super::alias::{self, Claims};
use super::check::{Check, Field, shorten};
use super::node::{Node, Value};
use crate::model::{ALIASES_MAX, AliasName, AliasSpec, StackName, StackSpec};

const KEYS: &[&str] = &["version", "stack", "aliases"];
/// The version of the file's format that this agent reads.
const VERSION: &str = "1";

/// The whole file. `None`: mistakes were noted.
pub(super) fn read(check: &mut Check, tree: &Node) -> Option<StackSpec> {
    let root = &Field {
        path: String::new(),
        place: Location::START,
        key_place: Location::START,
        node: tree,
    };
    check.spans.insert("", root.place);
    let fields = check.known(root, KEYS, "begin with 'version: 1', then 'stack: NAME' and 'aliases:'");
    if !matches!(root.node.value, Value::Mapping(_)) {
        return None;
    }
    match fields.get("version") {
        Some(field) => version(check, field),
        None => check.problem(root.place, "version", "is missing; write 'version: 1' at the top"),
    }
    let stack = match fields.get("stack") {
        Some(field) => check.single::<StackName>(field, "write a name, as 'stack: shop'"),
        None => {
            check.problem(
                root.place,
                "stack",
                "is missing; name the owner of these aliases, as 'stack: shop'",
            );
            None
        }
    };
    let aliases = match fields.get("aliases") {
        Some(field) => Some(aliases(check, field)),
        None => {
            check.problem(
                root.place,
                "aliases",
                "is missing; name the aliases, or write 'aliases: {}' for none",
            );
            None
        }
    };
    Some(StackSpec {
        stack: stack?,
        aliases: aliases?,
    })
}

fn version(check: &mut Check, field: &Field<'_>) {
    match field.node.value.scalar() {
        Some(VERSION) => {}
        Some(other) => {
            let message = format!(
                "'{}' is no version that this agent reads; write 'version: 1'",
                shorten(other)
            );
            check.wrong(field, message);
        }
        None => check.wrong(
            field,
            format_args!("is {}, not a number; write 'version: 1'", field.node.value.kind()),
        ),
    }
}

fn aliases(check: &mut Check, field: &Field<'_>) -> BTreeMap<AliasName, AliasSpec> {
    let mut aliases = BTreeMap::new();
    let mut claims = Claims::default();
    let entries = check.entries(field, "name the aliases below it, or write 'aliases: {}' for none");
    if let Some((_, first_too_many)) = entries.get(ALIASES_MAX) {
        let message = format!(
            "the file has {} aliases, at most {ALIASES_MAX} fit one agent; remove some",
            entries.len()
        );
        check.wrong(first_too_many, message);
    }
    for (key, alias) in entries.iter().take(ALIASES_MAX) {
        let name = shorten(key)
            .parse::<AliasName>()
            .map_err(|error| check.wrong(alias, error))
            .ok();
        let spec = alias::read(check, alias, &mut claims);
        if let (Some(name), Some(spec)) = (name, spec) {
            aliases.insert(name, spec);
        }
    }
    aliases
}
