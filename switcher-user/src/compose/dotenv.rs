//! Files of variables: `.env`, and those that `env_file` names.

use std::collections::BTreeMap;

use super::interpolate::interpolate;
use super::{SourceFile, one};
use crate::config::check::shorten;
use crate::config::{ConfigError, Problem};

/// Most lines of one file.
const LINES_MAX: usize = 10_000;

/// The variables of a file of `NAME=value` lines. In values that are not in single quotes, `${NAME}` stands for what `variable`
/// knows, or for a line above. A line with a name alone: what `variable` knows, if it does.
///
/// # Errors
/// The first line that is none.
pub fn variables(
    source: &SourceFile,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut found = BTreeMap::new();
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    for (number, content) in (1_u32..).zip(text.lines()) {
        if found.len() >= LINES_MAX {
            let message = format!("has more than {LINES_MAX} variables; divide it");
            return Err(wrong(source, number, "variables", message));
        }
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let content = content.strip_prefix("export ").unwrap_or(content).trim_start();
        let (name, value) = match content.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(value.trim_start())),
            None => (content, None),
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if name.is_empty() || !name.chars().all(fits) {
            let message = "is no variable; write NAME=value, or # before a comment";
            return Err(wrong(source, number, &shorten(name), message.to_owned()));
        }
        let value = match value {
            None => variable(name),
            Some(value) => {
                let known = |name: &str| variable(name).or_else(|| found.get(name).cloned());
                let read = read_value(value, &known).map_err(|why| wrong(source, number, name, why))?;
                Some(read)
            }
        };
        found.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(found)
}

fn wrong(source: &SourceFile, line: u32, field: &str, message: String) -> ConfigError {
    one(Problem {
        file: source.name.clone(),
        line,
        column: 1,
        field: field.to_owned(),
        message,
    })
}

fn read_value(value: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    if let Some(rest) = value.strip_prefix('\'') {
        let (inner, after) = rest.split_once('\'').ok_or_else(|| not_closed('\''))?;
        nothing_after(after)?;
        return Ok(inner.to_owned());
    }
    if let Some(rest) = value.strip_prefix('"') {
        let (inner, after) = in_double_quotes(rest)?;
        nothing_after(after)?;
        return interpolate(&inner, variable);
    }
    let comment = value.char_indices().find(|(at, c)| {
        let before = value[..*at].chars().next_back();
        *c == '#' && before.is_none_or(char::is_whitespace)
    });
    let end = comment.map_or(value.len(), |(at, _)| at);
    interpolate(value[..end].trim_end(), variable).map_err(|why| format!("{why}; in single quotes all stays as it is"))
}

/// What stands before the closing quote, a dollar sign that was escaped written twice, and what stands after it.
fn in_double_quotes(text: &str) -> Result<(String, &str), String> {
    let mut inner = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((inner, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => inner.push('\n'),
                Some((_, 'r')) => inner.push('\r'),
                Some((_, 't')) => inner.push('\t'),
                Some((_, '$')) => inner.push_str("$$"),
                Some((_, other)) => inner.push(other),
                None => break,
            },
            c => inner.push(c),
        }
    }
    Err(not_closed('"'))
}

fn not_closed(quote: char) -> String {
    format!("has a {quote} that is not closed on its line; close it (\\n in double quotes is a line's end)")
}

fn nothing_after(text: &str) -> Result<(), String> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(());
    }
    Err(format!(
        "has '{}' after the closing quote; remove it, or put it inside",
        shorten(text)
    ))
}
