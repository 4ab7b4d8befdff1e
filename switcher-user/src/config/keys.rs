//! What to say about a key that is not known.

/// Keys of later versions: refused by name, so that nobody believes they work.
const LATER_KEYS: &[&str] = &[
    "check",
    "confirm",
    "drain_action",
    "drain_timeout",
    "fail_on",
    "hold",
    "hook",
    "idle_timeout",
    "idle_timeout_s",
    "interval",
    "min_flows",
    "step_by",
    "steps",
    "udp",
];

/// The sentence for the unknown key `key` where only `known` keys stand.
pub(crate) fn unknown(key: &str, known: &[&str]) -> String {
    let list = known.join(", ");
    let plain = key.trim_start_matches('-').replace('-', "_");
    if LATER_KEYS.contains(&plain.as_str()) {
        return format!("'{key}' is not supported in this version; remove it (known here: {list})");
    }
    if key.starts_with("--") {
        return format!("'{key}' is an option of a command, no key of a stack file; remove it (known here: {list})");
    }
    match closest(key, known) {
        Some(near) => format!("unknown key '{key}'; did you mean '{near}'? (known here: {list})"),
        None => format!("unknown key '{key}'; remove it (known here: {list})"),
    }
}

/// The one of `known` that `word` was probably meant to be.
pub(crate) fn closest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word = word.to_lowercase();
    let score = |name: &&&str| (strsim::normalized_damerau_levenshtein(&word, &name.to_lowercase()) * 1_000.0) as u32;
    let best = known.iter().max_by_key(score)?;
    (score(&best) >= 600).then_some(*best)
}
