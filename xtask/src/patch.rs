//! A sabotage patch: a fault, and the one test that must see it. `tests/sabotage/README.md` describes the format.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// One file of `tests/sabotage`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The file's name without `.patch`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What its first lines say.
    pub header: Header,
}

/// The lines before the diff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which fault this is, and what a user would suffer from it.
    pub why: String,
    /// Arguments of `cargo test`.
    pub suite: Vec<String>,
    /// The test that fails, as libtest names it.
    pub fails: String,
}

/// All patches of a folder by name, or the named ones.
pub fn load(folder: &Path, names: &[String]) -> Result<Vec<Patch>> {
    let mut patches = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_none_or(|end| end != "patch") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if names.is_empty() || names.contains(&name) {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let header = parse_header(&text).with_context(|| path.display().to_string())?;
            patches.push(Patch { name, path, header });
        }
    }
    patches.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(unknown) = names
        .iter()
        .find(|name| !patches.iter().any(|patch| patch.name == **name))
    {
        bail!("{} has no patch `{unknown}`", folder.display());
    }
    Ok(patches)
}

/// Reads the lines before the diff: `# why:`, `# suite:` and `# fails:`, each once; `# why:` may go on for more lines.
pub fn parse_header(text: &str) -> Result<Header> {
    let mut fields: [(&str, Option<String>); 3] = [("why", None), ("suite", None), ("fails", None)];
    let mut in_why = false;
    let mut diff_found = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("diff --git ") || line.starts_with("--- ") {
            diff_found = true;
            break;
        }
        let Some(comment) = line.strip_prefix('#') else {
            if line.trim().is_empty() {
                continue;
            }
            bail!("line {}: before the diff, lines start with `#`", index + 1);
        };
        let field = fields.iter_mut().find_map(|(key, value)| {
            let text = comment.trim_start().strip_prefix(*key)?.strip_prefix(':')?;
            Some((*key, value, text.trim()))
        });
        match field {
            Some((key, Some(_), _)) => bail!("line {}: `# {key}:` was given before", index + 1),
            Some((key, value, text)) => {
                *value = Some(text.to_owned());
                in_why = key == "why";
            }
            None if in_why => {
                let why = fields[0].1.get_or_insert_default();
                why.push(' ');
                why.push_str(comment.trim());
            }
            None => bail!("line {}: not `# why:`, `# suite:` or `# fails:`", index + 1),
        }
    }
    if !diff_found {
        bail!("no diff follows the header");
    }
    let [why, suite, fails] = fields.map(|(key, value)| {
        value
            .filter(|text| !text.is_empty())
            .with_context(|| format!("the header has no `# {key}: …`"))
    });
    Ok(Header {
        why: why?,
        suite: suite?.split_whitespace().map(str::to_owned).collect(),
        fails: fails?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
# why: the checksum is not updated;
#   clients hang
# suite: -p switcher-tests --test packets
# fails: rewrites::v4

diff --git a/x b/x
--- a/x
+++ b/x
# suite: not a header any more
";

    #[test]
    fn reads_a_header() {
        let header = parse_header(GOOD).unwrap();
        assert_eq!(header.why, "the checksum is not updated; clients hang");
        assert_eq!(header.suite, ["-p", "switcher-tests", "--test", "packets"]);
        assert_eq!(header.fails, "rewrites::v4");
    }

    #[test]
    fn refuses_what_is_not_a_header() {
        let error = |text: &str| parse_header(text).unwrap_err().to_string();
        assert_eq!(
            error("# why: x\n# suite: y\n--- a/x\n"),
            "the header has no `# fails: …`"
        );
        assert_eq!(
            error("# why: x\n# suite:\n# fails: z\n--- a/x\n"),
            "the header has no `# suite: …`"
        );
        assert_eq!(
            error("# why: x\n# suite: y\n# fails: z\n"),
            "no diff follows the header"
        );
        assert_eq!(error("why: x\n"), "line 1: before the diff, lines start with `#`");
        assert_eq!(error("# cause: x\n"), "line 1: not `# why:`, `# suite:` or `# fails:`");
        assert_eq!(
            error(&GOOD.replace("#   clients", "# why: clients")),
            "line 2: `# why:` was given before"
        );
    }
}
