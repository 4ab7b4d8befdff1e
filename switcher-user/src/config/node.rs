//! The file as a tree in which every node knows its place: read first, judged after, so that all mistakes show at once.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::Location;

/// A node of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Where it begins; for a YAML alias, where the alias stands.
    pub place: Location,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A number or a boolean, exactly as written: `1.10` stays `1.10`.
    Literal(String),
    /// Any other text.
    Text(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in the file's order, repeated keys included.
    Mapping(Vec<Entry>),
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key; `None`: a list or a mapping stands where a word must.
    pub key: Option<String>,
    /// Where the key begins.
    pub key_place: Location,
    /// Its value.
    pub value: Node,
}

impl Value {
    /// The text of a scalar.
    pub fn scalar(&self) -> Option<&str> {
        match self {
            Self::Literal(text) | Self::Text(text) => Some(text),
            Self::Null | Self::Sequence(_) | Self::Mapping(_) => None,
        }
    }

    /// What it is, for a sentence.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "empty",
            Self::Literal(_) | Self::Text(_) => "a single value",
            Self::Sequence(_) => "a list",
            Self::Mapping(_) => "a mapping",
        }
    }
}

/// What the YAML reader hands over: typed as YAML sees it, so numbers have lost how they were written.
pub(crate) enum Raw {
    Null,
    Literal,
    Text(String),
    Sequence(Vec<Spanned<Self>>),
    Mapping(Vec<(Spanned<Self>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Literal)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Literal)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Literal)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Literal)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    // Both loops end with the file, whose events are bounded by the reader's budget.
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Mapping(entries))
    }
}

/// The characters of the file, for what YAML's types do not keep.
pub(crate) struct Source {
    chars: Vec<char>,
}

impl Source {
    pub fn new(text: &str) -> Self {
        Self {
            chars: text.chars().collect(),
        }
    }

    /// The text with one ASCII letter for each character that is not ASCII. The reader counts some of those as one
    /// column, some as several; in this text its places are right. Only comments have use for such characters.
    pub fn plain(&self) -> String {
        self.chars.iter().map(|c| if c.is_ascii() { *c } else { 'x' }).collect()
    }

    /// Turns what YAML read from [`Self::plain`] into nodes.
    pub fn node(&self, raw: Spanned<Raw>) -> Node {
        let place = place_of(raw.referenced);
        let written = self.written(&raw);
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Literal => Value::Literal(written),
            Raw::Text(text) => Value::Text(self.restored(text, written)),
            Raw::Sequence(items) => Value::Sequence(items.into_iter().map(|item| self.node(item)).collect()),
            Raw::Mapping(entries) => {
                Value::Mapping(entries.into_iter().map(|(key, value)| self.entry(key, value)).collect())
            }
        };
        Node { place, value }
    }

    fn entry(&self, key: Spanned<Raw>, value: Spanned<Raw>) -> Entry {
        let key_place = place_of(key.referenced);
        let written = self.written(&key);
        let key = match key.value {
            Raw::Text(text) => Some(self.restored(text, written)),
            Raw::Null | Raw::Literal => Some(written),
            Raw::Sequence(_) | Raw::Mapping(_) => None,
        };
        Entry {
            key,
            key_place,
            value: self.node(value),
        }
    }

    /// The characters a scalar was read from, quotes included; empty for a list or a mapping.
    fn written(&self, raw: &Spanned<Raw>) -> String {
        if matches!(raw.value, Raw::Sequence(_) | Raw::Mapping(_)) {
            return String::new();
        }
        let span = raw.defined.span();
        let end = span.offset().saturating_add(span.len());
        let chars = self
            .chars
            .get(span.offset()..end.min(self.chars.len()))
            .unwrap_or_default();
        chars.iter().collect::<String>().trim_ascii().to_owned()
    }

    /// `text` as read, or as written if it has characters that [`Self::plain`] replaced: no field allows those, so the
    /// text only ever stands in an error.
    fn restored(&self, text: String, written: String) -> String {
        if written.is_ascii() {
            text
        } else {
            written.trim_matches(['"', '\'']).to_owned()
        }
    }
}

/// The reader's place as ours; a place it does not know is the file's beginning.
pub(crate) fn place_of(location: serde_saphyr::Location) -> Location {
    let from_one = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
    Location {
        line: from_one(location.line()),
        column: from_one(location.column()),
    }
}
