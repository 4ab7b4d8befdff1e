//! `${NAME}` in values.

/// Deepest `${A:-${B:-…}}`.
const DEPTH_MAX: usize = 8;

/// Replaces `$NAME`, `${NAME}`, and `${NAME` with `:-default}`, `-default}`, `:?why}`, `?why}`, `:+other}` or `+other}`, in
/// which variables are replaced too; `$$` is a dollar sign.
///
/// # Errors
/// A sentence: what cannot be replaced, and what to do.
pub(super) fn interpolate(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    replaced(text, variable, DEPTH_MAX)
}

fn replaced(text: &str, variable: &dyn Fn(&str) -> Option<String>, depth: usize) -> Result<String, String> {
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
            if depth == 0 {
                return Err(format!(
                    "has '${{' inside '${{' more than {DEPTH_MAX} deep; write it flatter"
                ));
            }
            let end = closing(inner).ok_or("has '${' without '}'; close it, or write $$ for a dollar sign")?;
            out.push_str(&braced(&inner[..end], variable, depth - 1)?);
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

/// Where the brace ends that `text` stands in.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut open) = (0, 0_usize);
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'$', Some(b'$')) => at += 1,
            (b'$', Some(b'{')) => {
                open += 1;
                at += 1;
            }
            (b'}', _) if open == 0 => return Some(at),
            (b'}', _) => open -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

pub(super) const fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn braced(inner: &str, variable: &dyn Fn(&str) -> Option<String>, depth: usize) -> Result<String, String> {
    let end = inner.find(|c| !is_name(c)).unwrap_or(inner.len());
    let (name, operator) = inner.split_at(end);
    if name.is_empty() {
        return Err(format!("has '${{{inner}}}', which names no variable; write ${{NAME}}"));
    }
    if operator.is_empty() {
        return known(name, variable);
    }
    // With a colon an empty variable is as good as none.
    let (operator, value) = match operator.strip_prefix(':') {
        Some(operator) => (operator, variable(name).filter(|value| !value.is_empty())),
        None => (operator, variable(name)),
    };
    // Only the word that counts is looked at.
    let word = |word: &str| replaced(word, variable, depth);
    match (operator.split_at_checked(1), value) {
        (Some(("-" | "?", _)), Some(value)) => Ok(value),
        (Some(("-", default)), None) => word(default),
        (Some(("+", other)), Some(_)) => word(other),
        (Some(("+", _)), None) => Ok(String::new()),
        (Some(("?", "")), None) => Err(format!("needs the variable {name}; set it")),
        (Some(("?", why)), None) => Err(format!("needs the variable {name}: {}; set it", word(why)?)),
        _ => Err(format!(
            "has '${{{inner}}}', which is not read; write ${{NAME}}, ${{NAME:-default}}, ${{NAME:?why}} or ${{NAME:+other}}"
        )),
    }
}

fn known(name: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    variable(name).ok_or_else(|| {
        format!(
            "uses the variable {name}, which is not set; set it, or write ${{{name}:-default}} ($$ is a dollar sign)"
        )
    })
}
