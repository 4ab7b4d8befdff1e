//! `volumes` of a service.

use super::attached::{Mount, MountSource};
use super::values::Reader;
use crate::config::check::{Field, shorten};
use crate::config::node::Value;

const REMEDY: &str = "write a list, as [\"/srv/www:/www:ro\"]";
const LONG_KEYS: &[&str] = &["type", "source", "target", "read_only"];
/// What Docker takes after the second colon.
const MODES: &[&str] = &["ro", "rw", "z", "Z", "nocopy", "cached", "delegated", "consistent"];

pub(super) fn read(reader: &mut Reader<'_>, field: &Field<'_>) -> Vec<Mount> {
    let Some(items) = reader.check.items(field, REMEDY) else {
        return Vec::new();
    };
    let mut mounts: Vec<(Mount, u32)> = Vec::new();
    for item in &items {
        let read = match item.node.value {
            Value::Mapping(_) => long(reader, item),
            _ => short(reader, item),
        };
        let Some(mount) = read else { continue };
        if let Some((_, line)) = mounts.iter().find(|(other, _)| other.target == mount.target) {
            let target = shorten(&mount.target);
            reader.wrong(
                item,
                format_args!("mounts at '{target}', as line {line} does; keep one"),
            );
            continue;
        }
        mounts.push((mount, item.place.line));
    }
    mounts.into_iter().map(|(mount, _)| mount).collect()
}

/// `SOURCE:TARGET[:MODE]`, or a `TARGET` alone.
fn short(reader: &mut Reader<'_>, item: &Field<'_>) -> Option<Mount> {
    let text = reader.word(item)?;
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [target] if target.starts_with('/') => {
            return Some(Mount {
                source: MountSource::Anonymous,
                target: (*target).to_owned(),
                mode: None,
                origin: reader.origin(item),
            });
        }
        [source, target] => (*source, *target, None),
        [source, target, mode] if mode.split(',').all(|one| MODES.contains(&one)) => (*source, *target, Some(*mode)),
        _ => ("", "", None),
    };
    if source.is_empty() || !target.starts_with('/') {
        let text = shorten(&text);
        reader.wrong(
            item,
            format_args!("'{text}' is not SOURCE:TARGET[:ro]; name a folder or a volume, and where it is mounted"),
        );
        return None;
    }
    Some(Mount {
        source: source_of(reader, item, source)?,
        target: target.to_owned(),
        mode: mode.map(str::to_owned),
        origin: reader.origin(item),
    })
}

/// A folder has a slash, or begins with a dot or `~`; all else names a volume.
fn source_of(reader: &mut Reader<'_>, field: &Field<'_>, text: &str) -> Option<MountSource> {
    if text.starts_with(['/', '.', '~']) {
        return folder(reader, field, text);
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if text.chars().all(fits) {
        return Some(MountSource::Volume(text.to_owned()));
    }
    let text = shorten(text);
    reader.wrong(
        field,
        format_args!("'{text}' is neither a volume's name nor a folder; begin a folder with / or ./"),
    );
    None
}

fn folder(reader: &mut Reader<'_>, field: &Field<'_>, text: &str) -> Option<MountSource> {
    if text.starts_with('/') {
        return Some(MountSource::Folder(text.to_owned()));
    }
    match reader.around.path(text) {
        Ok(path) => Some(MountSource::Folder(path.to_string_lossy().into_owned())),
        Err(why) => {
            reader.wrong(field, why);
            None
        }
    }
}

/// `{type: bind, source: ./www, target: /www, read_only: true}`.
fn long(reader: &mut Reader<'_>, item: &Field<'_>) -> Option<Mount> {
    let fields = reader.check.known(item, LONG_KEYS, REMEDY);
    let needed = |reader: &mut Reader<'_>, key: &str| {
        let Some(field) = fields.get(key) else {
            reader.wrong(
                item,
                format_args!("names no '{key}'; write it as {{type: bind, source: ./www, target: /www}}"),
            );
            return None;
        };
        Some((field.clone(), reader.word(field)?))
    };
    let (kind_field, kind) = needed(reader, "type")?;
    let (target_field, target) = needed(reader, "target")?;
    if !target.starts_with('/') {
        reader.wrong(
            &target_field,
            format_args!("'{}' does not begin with /; name the folder inside", shorten(&target)),
        );
        return None;
    }
    let source = match (kind.as_str(), fields.contains_key("source")) {
        ("volume", false) => MountSource::Anonymous,
        ("volume", true) => {
            let (field, name) = needed(reader, "source")?;
            match source_of(reader, &field, &name)? {
                MountSource::Folder(_) => {
                    reader.wrong(&field, "is a folder, and 'type' says volume; write type: bind");
                    return None;
                }
                volume => volume,
            }
        }
        ("bind", _) => {
            let (field, path) = needed(reader, "source")?;
            // Without a dot before it, too: a bind is never a volume.
            let path = if path.starts_with(['/', '.', '~']) {
                path
            } else {
                format!("./{path}")
            };
            folder(reader, &field, &path)?
        }
        (other, _) => {
            let other = shorten(other);
            reader.wrong(
                &kind_field,
                format_args!("'{other}' is not supported; use bind or volume, or 'tmpfs' of the service"),
            );
            return None;
        }
    };
    let read_only = match fields.get("read_only") {
        Some(field) => reader.flag(field)?,
        None => false,
    };
    Some(Mount {
        source,
        target,
        mode: read_only.then(|| "ro".to_owned()),
        origin: reader.origin(item),
    })
}
