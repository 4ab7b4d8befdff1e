//! Values of a service's keys, and the reader's state.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use super::COMPOSE;
use super::around::Surroundings;
use super::interpolate::interpolate;
use super::model::Origin;
use super::words::words;
use crate::config::check::{Check, Field, shorten};
use crate::config::node::Value;

/// Most characters of one value.
const VALUE_CHARS_MAX: usize = 16_384;

/// What reading one file needs.
pub(super) struct Reader<'a> {
    pub check: Check,
    pub file: &'a str,
    pub around: &'a Surroundings<'a>,
    pub warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    pub fn new(file: &'a str, around: &'a Surroundings<'a>) -> Self {
        Self {
            check: Check::new(file, COMPOSE),
            file,
            around,
            warnings: Vec::new(),
        }
    }

    pub fn wrong(&mut self, field: &Field<'_>, message: impl Display) {
        self.check.wrong(field, message);
    }

    /// Notes that something has no effect here.
    pub fn warn(&mut self, field: &Field<'_>, message: impl Display) {
        let place = field.key_place;
        self.warnings.push(format!(
            "{}:{}:{}: {}: {message}",
            self.file, place.line, place.column, field.path
        ));
    }

    pub fn origin(&self, field: &Field<'_>) -> Origin {
        Origin {
            file: self.file.to_owned(),
            path: field.path.clone(),
            place: field.place,
        }
    }

    /// A single value, its variables replaced.
    pub fn text(&mut self, field: &Field<'_>) -> Option<String> {
        let Some(text) = field.node.value.scalar() else {
            let kind = field.node.value.kind();
            self.wrong(field, format_args!("is {kind}, not a single value; write one value"));
            return None;
        };
        if text.len() > VALUE_CHARS_MAX {
            self.wrong(field, format_args!("has more than {VALUE_CHARS_MAX} bytes; shorten it"));
            return None;
        }
        match interpolate(text, self.around.variable) {
            Ok(text) => Some(text),
            Err(why) => {
                self.wrong(field, why);
                None
            }
        }
    }

    /// A single value that is not empty.
    pub fn word(&mut self, field: &Field<'_>) -> Option<String> {
        let text = self.text(field)?;
        if text.is_empty() {
            self.wrong(field, "is empty; write a value");
            return None;
        }
        Some(text)
    }

    pub fn flag(&mut self, field: &Field<'_>) -> Option<bool> {
        match self.text(field)?.as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            other => {
                self.wrong(field, format_args!("'{}' is neither true nor false", shorten(other)));
                None
            }
        }
    }

    pub fn number(&mut self, field: &Field<'_>, least: u32, most: u32) -> Option<u32> {
        let text = self.text(field)?;
        match text.parse::<u32>() {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                let text = shorten(&text);
                self.wrong(
                    field,
                    format_args!("'{text}' is no whole number from {least} to {most}; write one"),
                );
                None
            }
        }
    }

    /// A number of bytes: `512m`, `1.5gb`, `1048576`.
    pub fn bytes(&mut self, field: &Field<'_>) -> Option<i64> {
        let text = self.text(field)?;
        let bytes = bytes_of(&text.to_ascii_lowercase());
        if bytes.is_none() {
            let text = shorten(&text);
            self.wrong(field, format_args!("'{text}' is no size; write it as 512m or 2g"));
        }
        bytes
    }

    pub fn duration(&mut self, field: &Field<'_>) -> Option<Duration> {
        let text = self.text(field)?;
        match humantime::parse_duration(&text) {
            Ok(time) => Some(time),
            Err(_) => {
                self.wrong(
                    field,
                    format_args!("'{}' is no time; write it as 500ms, 30s or 1m30s", shorten(&text)),
                );
                None
            }
        }
    }

    /// A list of single values; one value alone is a list of one.
    pub fn texts(&mut self, field: &Field<'_>) -> Vec<String> {
        if field.node.value.scalar().is_some() {
            return self.word(field).into_iter().collect();
        }
        let Some(items) = self.check.items(field, "write a list of values") else {
            return Vec::new();
        };
        items.iter().filter_map(|item| self.word(item)).collect()
    }

    /// A command: a list of words, or one text that is divided as a shell would.
    pub fn command(&mut self, field: &Field<'_>) -> Option<Vec<String>> {
        match &field.node.value {
            Value::Null => None,
            Value::Sequence(_) => {
                let items = self.check.items(field, "write a list of words")?;
                Some(items.iter().filter_map(|item| self.text(item)).collect())
            }
            _ => match words(&self.text(field)?) {
                Ok(words) => Some(words),
                Err(why) => {
                    self.wrong(field, why);
                    None
                }
            },
        }
    }

    /// `NAME: value`, or a list of `NAME=value`; `None` where no value stands.
    pub fn pairs(&mut self, field: &Field<'_>) -> BTreeMap<String, Option<String>> {
        let mut pairs = BTreeMap::new();
        if matches!(field.node.value, Value::Mapping(_)) {
            for (key, entry) in self.check.entries(field, "write NAME: value") {
                let value = match entry.node.value {
                    Value::Null => None,
                    _ => match self.text(&entry) {
                        Some(value) => Some(value),
                        None => continue,
                    },
                };
                pairs.insert(key.to_owned(), value);
            }
            return pairs;
        }
        let Some(items) = self.check.items(field, "write NAME: value, or a list of NAME=value") else {
            return pairs;
        };
        for item in &items {
            let Some(text) = self.word(item) else { continue };
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text.as_str(), None),
            };
            if pairs.insert(name.to_owned(), value).is_some() {
                self.wrong(item, format_args!("'{}' is given twice; keep one", shorten(name)));
            }
        }
        pairs
    }
}

fn bytes_of(text: &str) -> Option<i64> {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1_i64 << 30,
        _ => return None,
    };
    let number = number.trim_end();
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.len() <= 15 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) {
        return None;
    }
    // Fifteen digits at most: neither product is near its type's end.
    let scale = 10_i64.pow(u32::try_from(part.len()).ok()?);
    let part = i64::try_from(i128::from(part.parse::<i64>().ok()?) * i128::from(factor) / i128::from(scale)).ok()?;
    let bytes = whole.parse::<i64>().ok()?.checked_mul(factor)?.checked_add(part)?;
    (bytes > 0).then_some(bytes)
}
