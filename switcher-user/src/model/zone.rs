//! The zone that names of aliases are in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The zone unless told otherwise: `internal` is kept free for such uses.
const DEFAULT: &str = "switcher.internal";
/// Longest label (RFC 1035).
const LABEL_BYTES_MAX: usize = 63;
/// Longest zone: a name of 63 characters and a dot before it come to 253, the longest name there is.
const ZONE_BYTES_MAX: usize = 189;

/// Why a text is no zone.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ZoneError {
    /// A name would not fit before it.
    #[error(
        "zone '{0}' is longer than {ZONE_BYTES_MAX} characters, and names of aliases come before it; use a shorter one"
    )]
    TooLong(String),
    /// A label is empty or too long.
    #[error("zone '{0}' has a label that is empty or longer than {LABEL_BYTES_MAX} characters; write it as {DEFAULT}")]
    BadLabel(String),
    /// A label has a character that none may have.
    #[error(
        "zone '{0}' has a label with a character that is not allowed there; use a-z, 0-9 and '-', beginning and ending with a letter or digit, as in {DEFAULT}"
    )]
    BadCharacter(String),
    /// It ends like an address.
    #[error("zone '{0}' ends in a number, as addresses do, and resolvers take it for one; write it as {DEFAULT}")]
    Number(String),
}

/// A zone, in small letters, without the dot at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(String);

impl Zone {
    /// The zone as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self(DEFAULT.to_owned())
    }
}

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(text: &str) -> Result<Self, ZoneError> {
        let zone = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if zone.len() > ZONE_BYTES_MAX {
            return Err(ZoneError::TooLong(text.to_owned()));
        }
        for label in zone.split('.') {
            if label.is_empty() || label.len() > LABEL_BYTES_MAX {
                return Err(ZoneError::BadLabel(text.to_owned()));
            }
            let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            if label.starts_with('-') || label.ends_with('-') || !label.bytes().all(inner) {
                return Err(ZoneError::BadCharacter(text.to_owned()));
            }
        }
        let last = zone.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ZoneError::Number(text.to_owned()));
        }
        Ok(Self(zone))
    }
}

impl TryFrom<String> for Zone {
    type Error = ZoneError;

    fn try_from(text: String) -> Result<Self, ZoneError> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.0
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_labels_in_small_letters() {
        for (text, zone) in [
            ("switcher.internal", "switcher.internal"),
            ("Shop.Example.COM.", "shop.example.com"),
            ("lan", "lan"),
            ("a-b.2c.x1", "a-b.2c.x1"),
        ] {
            assert_eq!(text.parse::<Zone>().unwrap().as_str(), zone);
        }
        assert_eq!(Zone::default(), DEFAULT.parse().unwrap());
    }

    #[test]
    fn what_no_resolver_could_ask_for_is_no_zone() {
        let (long, longest) = ("a".repeat(64), format!("{0}.{0}.{0}", "a".repeat(62)));
        assert!(longest.parse::<Zone>().is_ok(), "a name of 63 fits before it");
        let bad = |text: &str| text.parse::<Zone>().unwrap_err();
        for text in ["", ".", "a..b", ".a", &long] {
            assert_eq!(bad(text), ZoneError::BadLabel(text.to_owned()));
        }
        for text in ["a b", "-a.b", "a-.b", "a_b.c", "straße.de", "*.lan"] {
            assert_eq!(bad(text), ZoneError::BadCharacter(text.to_owned()));
        }
        for text in ["10.0.0.1", "53"] {
            assert_eq!(bad(text), ZoneError::Number(text.to_owned()));
        }
        let text = format!("{longest}aa");
        assert_eq!(bad(&text), ZoneError::TooLong(text.clone()));
    }
}
