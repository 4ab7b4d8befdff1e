//! `${NAME}` in values.

/// Replaces `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?why}`, `${NAME?why}`; `$$` is a dollar sign.
///
/// # Errors
/// A sentence: what cannot be replaced, and what to do.
pub(super) fn interpolate(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // Each round takes at least the dollar sign away.
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some(inner) = after.strip_prefix('{') {
            let end = inner
                .find('}')
                .ok_or("has '${' without '}'; close it, or write $$ for a dollar sign")?;
            out.push_str(&braced(&inner[..end], variable)?);
            rest = &inner[end + 1..];
        } else {
            let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
            if end == 0 {
                return Err("has a '$' that names no variable; write $$ for a dollar sign".to_owned());
            }
            out.push_str(&known(&after[..end], variable)?);
            rest = &after[end..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

const fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn braced(inner: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let end = inner.find(|c| !is_name(c)).unwrap_or(inner.len());
    let (name, operator) = inner.split_at(end);
    if name.is_empty() {
        return Err(format!("has '${{{inner}}}', which names no variable; write ${{NAME}}"));
    }
    let value = variable(name);
    let filled = value.clone().filter(|value| !value.is_empty());
    let refusal = |why: &str| format!("needs the variable {name}: {why}; set it");
    if operator.is_empty() {
        return known(name, variable);
    }
    if let Some(default) = operator.strip_prefix(":-") {
        return Ok(filled.unwrap_or_else(|| default.to_owned()));
    }
    if let Some(default) = operator.strip_prefix('-') {
        return Ok(value.unwrap_or_else(|| default.to_owned()));
    }
    if let Some(why) = operator.strip_prefix(":?") {
        return filled.ok_or_else(|| refusal(why));
    }
    if let Some(why) = operator.strip_prefix('?') {
        return value.ok_or_else(|| refusal(why));
    }
    Err(format!(
        "has '${{{inner}}}', which is not read; write ${{NAME}}, ${{NAME:-default}} or ${{NAME:?why}}"
    ))
}

fn known(name: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    variable(name).ok_or_else(|| {
        format!(
            "uses the variable {name}, which is not set; set it, or write ${{{name}:-default}} ($$ is a dollar sign)"
        )
    })
}
