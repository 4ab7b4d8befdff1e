//! The stack file: YAML in, a checked [`StackSpec`] out, or every mistake with its place and its remedy.

mod alias;
pub(crate) mod check;
mod error;
mod health;
pub(crate) mod keys;
pub(crate) mod node;
mod set;
mod spans;
mod split;
mod stack;
#[cfg(test)]
mod tests;
pub(crate) mod yaml;

pub use error::{ConfigError, Problem};
pub use spans::{Location, Spans};

use self::check::Check;
use crate::model::StackSpec;

/// Largest stack file, in bytes.
pub const FILE_BYTES_MAX: usize = 1_048_576;

/// A stack file that holds, and where each of its fields stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedStack {
    /// What the file asks for.
    pub spec: StackSpec,
    /// Where each field stands in the file.
    pub spans: Spans,
}

/// Reads a stack file. `file_name` is how errors name it; `-` is shown as `<stdin>`.
///
/// # Errors
/// Every mistake found, sorted by place, at most [`ConfigError::PROBLEMS_MAX`] of them.
pub fn parse(text: &str, file_name: &str) -> Result<ParsedStack, ConfigError> {
    let file_name = if file_name == "-" { "<stdin>" } else { file_name };
    let tree = yaml::read(text, file_name, yaml::STACK)?;
    let mut check = Check::new(file_name, yaml::STACK);
    let spec = stack::read(&mut check, &tree);
    match (spec, ConfigError::from_problems(check.problems)) {
        (Some(spec), None) => Ok(ParsedStack {
            spec,
            spans: check.spans,
        }),
        (_, Some(error)) => Err(error),
        // A part that is left out has noted why; should one ever not, the file is refused all the same.
        (None, None) => Err(yaml::refuse(
            file_name,
            yaml::STACK,
            Location::START,
            "could not be read; check it against the docs".to_owned(),
        )),
    }
}
