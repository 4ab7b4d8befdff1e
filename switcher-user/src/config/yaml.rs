//! From text to a tree, within bounds; a text that is no YAML gets a place and a remedy.

use serde_saphyr::options::AliasLimits;
use serde_saphyr::{Budget, DuplicateKeyPolicy, Error, Options, Spanned};

use super::node::{Node, Raw, Source, place_of};
use super::{ConfigError, FILE_BYTES_MAX, Location, Problem};

/// Deepest nesting: a stack file needs 6; more is a mistake or an attack.
const DEPTH_MAX: usize = 16;
/// Most YAML nodes, those that YAML aliases repeat included: more than a file of the largest size has use for.
const NODES_MAX: usize = 150_000;

/// What kind of file it is, for sentences.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Name of the file as a whole where a field is named.
    pub whole: &'static str,
    /// How one begins.
    pub beginning: &'static str,
}

/// A stack file.
pub(super) const STACK: &Kind = &Kind {
    whole: "stack file",
    beginning: "begin with 'version: 1'",
};

/// Reads `text` as one YAML document.
pub(crate) fn read(text: &str, file_name: &str, kind: &'static Kind) -> Result<Node, ConfigError> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!(
            "has {} bytes, at most {FILE_BYTES_MAX} are read; divide it into several stacks",
            text.len()
        );
        return Err(refuse(file_name, kind, Location::START, message));
    }
    // The reader drops a byte order mark, and its offsets count from after it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Source::new(text);
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(&source.plain(), options()) {
        Ok(raw) => Ok(source.node(raw)),
        Err(error) => {
            let place = error.location().map_or(Location::START, place_of);
            let (place, message) = explain(text, place, &error, kind);
            let field = if several_documents(&error) {
                kind.whole.to_owned()
            } else {
                enclosing_field(text, place.line, kind)
            };
            Err(ConfigError::new(Problem {
                field,
                ..problem(file_name, kind, place, message)
            }))
        }
    }
}

/// The file as a whole is refused.
pub(super) fn refuse(file_name: &str, kind: &Kind, place: Location, message: String) -> ConfigError {
    ConfigError::new(problem(file_name, kind, place, message))
}

fn problem(file_name: &str, kind: &Kind, place: Location, message: String) -> Problem {
    let (file, field) = (file_name.to_owned(), kind.whole.to_owned());
    Problem {
        file,
        line: place.line,
        column: place.column,
        field,
        message,
    }
}

fn options() -> Options {
    Options {
        budget: Some(Budget {
            max_reader_input_bytes: Some(FILE_BYTES_MAX),
            max_events: 2 * NODES_MAX,
            max_aliases: NODES_MAX,
            max_anchors: 10_000,
            max_depth: DEPTH_MAX,
            max_documents: 2,
            max_nodes: NODES_MAX,
            max_total_scalar_bytes: 8 * FILE_BYTES_MAX,
            max_merge_keys: 10_000,
            // One anchor for a hundred aliases is good style; the bounds on nodes hold bombs.
            enforce_alias_anchor_ratio: false,
            ..Budget::default()
        }),
        // Repeated keys are reported by us, with both places.
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        alias_limits: AliasLimits {
            max_total_replayed_events: 2 * NODES_MAX,
            max_replay_stack_depth: DEPTH_MAX,
            ..AliasLimits::default()
        },
        with_snippet: false,
        ..Options::default()
    }
}

const UNKNOWN_ANCHOR: &str =
    "refers to an anchor (*NAME) that is not defined above; define it with &NAME, or put the value in quotes";
const SEVERAL_DOCUMENTS: &str = "holds more than one YAML document; keep one and remove the '---' line";

fn too_large() -> String {
    format!(
        "is nested too deep or repeats too much (at most {DEPTH_MAX} levels and {NODES_MAX} values); write it flatter, \
         with fewer YAML aliases"
    )
}

fn several_documents(error: &Error) -> bool {
    matches!(error.without_snippet(), Error::Message { msg, .. } if msg.starts_with("multiple YAML documents"))
}

/// Where and why `text` is no such file's YAML, for people.
fn explain(text: &str, place: Location, error: &Error, kind: &Kind) -> (Location, String) {
    if let Some(tab) = indenting_tab(text, place.line) {
        return (
            tab,
            "a tab indents this line, YAML takes spaces only; replace the tab by spaces".to_owned(),
        );
    }
    let message = match error.without_snippet() {
        Error::Budget { .. } => too_large(),
        Error::Eof { .. } => format!("is empty or ends too early; {}", kind.beginning),
        Error::UnknownAnchor { .. } => UNKNOWN_ANCHOR.to_owned(),
        _ if several_documents(error) => SEVERAL_DOCUMENTS.to_owned(),
        Error::Message { msg, .. } => explain_message(msg),
        other => format!("is not valid YAML ({other}); check indentation, brackets and quotes"),
    };
    (place, message)
}

fn explain_message(message: &str) -> String {
    if message == "recursion limit exceeded" {
        return too_large();
    }
    if message.ends_with("found unknown anchor") {
        return UNKNOWN_ANCHOR.to_owned();
    }
    if message.starts_with("alias replay") || message.starts_with("alias expansion") {
        return "YAML aliases repeat too much here; write the values out".to_owned();
    }
    if message.starts_with("Recursive references") {
        return "a YAML alias (*NAME) stands inside its own anchor; write the value out".to_owned();
    }
    format!("is not valid YAML ({message}); check indentation and brackets, and put addresses in quotes")
}

/// The first tab in the indentation of a line up to the one where the reader gave up.
fn indenting_tab(text: &str, last_line: u32) -> Option<Location> {
    (1_u32..)
        .zip(text.lines())
        .take_while(|(line, _)| *line <= last_line.saturating_add(1))
        .find_map(|(line, content)| {
            let indent = content.len() - content.trim_start_matches([' ', '\t']).len();
            let tab = content[..indent].find('\t')?;
            let empty = content[indent..].is_empty() || content[indent..].starts_with('#');
            (!empty).then(|| Location {
                line,
                column: u32::try_from(tab + 1).unwrap_or(u32::MAX),
            })
        })
}

/// Best guess at the field a broken line belongs to: the keys above it that are indented less.
fn enclosing_field(text: &str, line: u32, kind: &Kind) -> String {
    let line = usize::try_from(line).unwrap_or(usize::MAX);
    let before: Vec<&str> = text.lines().take(line).collect();
    let mut keys = Vec::new();
    let mut indent_below = usize::MAX;
    for content in before.into_iter().rev() {
        let trimmed = content.trim_start_matches([' ', '\t']);
        let indent = content.len() - trimmed.len();
        if let Some(key) = key_of(trimmed)
            && indent < indent_below
        {
            keys.push(key);
            indent_below = indent;
        }
        if indent_below == 0 {
            break;
        }
    }
    keys.reverse();
    if keys.is_empty() {
        kind.whole.to_owned()
    } else {
        keys.join(".")
    }
}

fn key_of(trimmed: &str) -> Option<&str> {
    let (key, rest) = trimmed.split_once(':')?;
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let plain = !key.is_empty() && key.len() <= 63 && !key.starts_with("- ") && key.chars().all(word);
    (plain && (rest.is_empty() || rest.starts_with([' ', '\t', '\r']))).then_some(key)
}
