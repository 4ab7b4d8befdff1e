//! The split: which share of new flows each set gets.

use std::collections::BTreeMap;

use super::check::{Check, Field, shorten};
use super::keys;
use super::node::Value;
use crate::model::{SETS_PER_ALIAS_MAX, SetName, Weight};

const REMEDY: &str = "write it as split: {v1: 100}, or remove it to leave the split as it is";

/// The weights of the sets named. Mistakes are noted.
pub(super) fn read(check: &mut Check, field: &Field<'_>, sets: Option<&Field<'_>>) -> BTreeMap<SetName, Weight> {
    let problems_before = check.problems.len();
    let known = sets.map(set_names);
    let mut split = BTreeMap::new();
    let shares = check.entries(field, REMEDY);
    if let Some((_, first_too_many)) = shares.get(SETS_PER_ALIAS_MAX) {
        let message = format!(
            "the split names {} sets, an alias has at most {SETS_PER_ALIAS_MAX}; remove some",
            shares.len()
        );
        check.wrong(first_too_many, message);
    }
    for (key, share) in shares.into_iter().take(SETS_PER_ALIAS_MAX) {
        let name = shorten(key).parse::<SetName>().ok();
        if let Some(known) = &known
            && !known.contains(&key)
        {
            check.wrong(&share, unknown_set(&shorten(key), known));
        }
        if let (Some(weight), Some(name)) = (weight(check, &share), name) {
            split.insert(name, weight);
        }
    }
    if check.problems.len() == problems_before && split.values().all(|weight| weight.is_zero()) {
        let what = if split.is_empty() {
            "names no set"
        } else {
            "gives every set weight 0"
        };
        check.wrong(
            field,
            format_args!("{what}, so no new flow would be served; give one set a weight from 1 to 1000"),
        );
    }
    split
}

fn weight(check: &mut Check, share: &Field<'_>) -> Option<Weight> {
    match &share.node.value {
        Value::Text(text) if text.parse::<i64>().is_ok() => {
            check.wrong(
                share,
                format_args!(
                    "weight \"{}\" is a text; write the number without quotes",
                    shorten(text)
                ),
            );
            None
        }
        Value::Text(text) | Value::Literal(text) if text.parse::<i64>().is_err() => {
            check.wrong(
                share,
                format_args!("weight '{}' is no whole number; use one from 0 to 1000", shorten(text)),
            );
            None
        }
        _ => check.single::<Weight>(share, "write a whole number from 0 to 1000"),
    }
}

/// Names of the sets; those past the limit are refused where they stand.
fn set_names<'n>(sets: &Field<'n>) -> Vec<&'n str> {
    match &sets.node.value {
        Value::Mapping(entries) => entries
            .iter()
            .filter_map(|entry| entry.key.as_deref())
            .take(SETS_PER_ALIAS_MAX)
            .collect(),
        _ => Vec::new(),
    }
}

fn unknown_set(name: &str, known: &[&str]) -> String {
    /// Most set names an error lists.
    const LISTED_MAX: usize = 10;
    let listed: Vec<String> = known.iter().take(LISTED_MAX).map(|known| shorten(known)).collect();
    let more = if known.len() > LISTED_MAX { ", …" } else { "" };
    let remedy = match keys::closest(name, known) {
        Some(near) => format!("did you mean '{}'?", shorten(near)),
        None => "add it below 'sets', or remove it here".to_owned(),
    };
    let list = if listed.is_empty() {
        "none".to_owned()
    } else {
        listed.join(", ")
    };
    format!("the alias has no set '{name}'; {remedy} (its sets: {list}{more})")
}
