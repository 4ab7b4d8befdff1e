//! The notes taken while a file is judged, and the steps that every part shares.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use super::keys;
use super::node::{Entry, Node, Value};
use super::yaml::Kind;
use super::{Location, Problem, Spans};

/// Longest text that an error repeats; longer ones are cut.
const SHOWN_CHARS_MAX: usize = 80;

/// One field: its path, where to point, and what stands there.
#[derive(Clone, Debug)]
pub(crate) struct Field<'n> {
    /// Its path, such as `aliases.web.listen[0]`.
    pub path: String,
    /// Where to point: at a single value itself, at the key of anything larger.
    pub place: Location,
    /// Where its key stands; for an item of a list, the item.
    pub key_place: Location,
    /// What stands there.
    pub node: &'n Node,
}

/// What was found so far.
#[derive(Debug)]
pub(crate) struct Check {
    file: String,
    kind: &'static Kind,
    /// Every mistake.
    pub problems: Vec<Problem>,
    /// Every field.
    pub spans: Spans,
}

impl Check {
    pub fn new(file_name: &str, kind: &'static Kind) -> Self {
        Self {
            file: file_name.to_owned(),
            kind,
            problems: Vec::new(),
            spans: Spans::default(),
        }
    }

    /// Notes a mistake.
    pub fn problem(&mut self, place: Location, path: &str, message: impl Display) {
        self.problems.push(Problem {
            file: self.file.clone(),
            line: place.line,
            column: place.column,
            field: if path.is_empty() {
                self.kind.whole.to_owned()
            } else {
                visible(path)
            },
            message: visible(&message.to_string()),
        });
    }

    /// Notes a mistake at `field`.
    pub fn wrong(&mut self, field: &Field<'_>, message: impl Display) {
        self.problem(field.place, &field.path, message);
    }

    /// The field `path` whose value is `entry`'s.
    fn field<'n>(&mut self, path: String, entry: &'n Entry) -> Field<'n> {
        let single = entry.value.value.scalar().is_some();
        let place = if single { entry.value.place } else { entry.key_place };
        self.spans.insert(&path, place);
        Field {
            path,
            place,
            key_place: entry.key_place,
            node: &entry.value,
        }
    }

    /// The entries of a mapping by name, in the file's order. Not a mapping: noted, none.
    pub fn entries<'n>(&mut self, field: &Field<'n>, remedy: &str) -> Vec<(&'n str, Field<'n>)> {
        let Value::Mapping(entries) = &field.node.value else {
            self.wrong(
                field,
                format_args!("is {}, not a mapping; {remedy}", field.node.value.kind()),
            );
            return Vec::new();
        };
        let mut first_places = BTreeMap::new();
        let mut found = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(key) = entry.key.as_deref() else {
                self.problem(
                    entry.key_place,
                    &field.path,
                    "a key is a list or a mapping; write a plain word",
                );
                continue;
            };
            let path = join(&field.path, &shorten(key));
            if let Some(first) = first_places.get(key) {
                let Location { line, column } = *first;
                let message = format!("is given twice, first at line {line}, column {column}; keep one");
                self.problem(entry.key_place, &path, message);
                continue;
            }
            first_places.insert(key, entry.key_place);
            found.push((key, self.field(path, entry)));
        }
        found
    }

    /// The entries of a mapping with fixed keys. Unknown keys are noted.
    pub fn known<'n>(
        &mut self,
        field: &Field<'n>,
        keys: &'static [&'static str],
        remedy: &str,
    ) -> BTreeMap<&'n str, Field<'n>> {
        let mut found = BTreeMap::new();
        for (key, child) in self.entries(field, remedy) {
            if keys.contains(&key) {
                found.insert(key, child);
            } else {
                self.problem(child.key_place, &child.path, keys::unknown(&shorten(key), keys));
            }
        }
        found
    }

    /// The items of a list. Not a list: noted, none.
    pub fn items<'n>(&mut self, field: &Field<'n>, remedy: &str) -> Option<Vec<Field<'n>>> {
        let Value::Sequence(nodes) = &field.node.value else {
            self.wrong(
                field,
                format_args!("is {}, not a list; {remedy}", field.node.value.kind()),
            );
            return None;
        };
        let item = |(index, node): (usize, &'n Node)| {
            let path = format!("{}[{index}]", field.path);
            self.spans.insert(&path, node.place);
            Field {
                path,
                place: node.place,
                key_place: node.place,
                node,
            }
        };
        Some(nodes.iter().enumerate().map(item).collect())
    }

    /// A single value as a `T`. Anything else is noted.
    pub fn single<T>(&mut self, field: &Field<'_>, remedy: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let Some(text) = field.node.value.scalar() else {
            self.wrong(
                field,
                format_args!("is {}, not a single value; {remedy}", field.node.value.kind()),
            );
            return None;
        };
        shorten(text).parse().map_err(|error| self.wrong(field, error)).ok()
    }
}

/// `path` with one more name.
fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// `text`, cut to what an error may repeat. A cut text ends with a character that no field allows, so it is never valid.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `text` without characters that cannot be seen or would move a terminal's cursor.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || (c.is_whitespace() && c != ' ') {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}
