//! Names of stacks, aliases and sets.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest name, in bytes: a DNS label.
const NAME_BYTES_MAX: usize = 63;

/// Why a text is no name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// The text is empty.
    #[error("a name is empty; use 1 to 63 of a-z, 0-9, '-', '_' and '.'")]
    Empty,
    /// The text is longer than 63 bytes.
    #[error("name '{0}' is longer than 63 characters; shorten it")]
    TooLong(String),
    /// The text has a character that no name may have.
    #[error(
        "name '{0}' has a character that is not allowed; use a-z, A-Z, 0-9, '-', '_' and '.', beginning with a letter or digit"
    )]
    BadCharacter(String),
}

fn check(text: &str) -> Result<(), NameError> {
    let first = text.bytes().next().ok_or(NameError::Empty)?;
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong(text.to_owned()));
    }
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !first.is_ascii_alphanumeric() || !text.bytes().all(inner) {
        return Err(NameError::BadCharacter(text.to_owned()));
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                check(&text).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name_type!(
    /// The name of an alias: 1 to 63 of `a-z A-Z 0-9 - _ .`, beginning with a letter or digit.
    AliasName
);
name_type!(
    /// The name of a set (a version) within its alias; the same rule as [`AliasName`].
    SetName
);
name_type!(
    /// The name of a stack: what `--prune` may remove; the same rule as [`AliasName`].
    StackName
);
