//! `environment` and `env_file`.

use std::collections::BTreeMap;

use super::model::Service;
use super::values::Reader;
use super::{SourceFile, dotenv};
use crate::config::check::{Field, shorten};
use crate::config::node::Value;

const REMEDY: &str = "name a file, as env_file: ./web.env";

/// `environment`: it wins over files. A name alone is as it is where the command runs.
pub(super) fn read(reader: &mut Reader<'_>, field: &Field<'_>, service: &mut Service) {
    for (name, value) in reader.pairs(field) {
        let value = value.or_else(|| (reader.around.variable)(&name));
        let known = service.environment.entry(name).or_default();
        if value.is_some() {
            *known = value;
        }
    }
}

/// `env_file`: one file, or several of which later ones win.
pub(super) fn files(reader: &mut Reader<'_>, field: &Field<'_>, service: &mut Service) {
    let mut all = BTreeMap::new();
    if field.node.value.scalar().is_some() {
        all = file(reader, field, true);
    } else {
        for item in reader.check.items(field, REMEDY).unwrap_or_default() {
            all.extend(match item.node.value {
                Value::Mapping(_) => long(reader, &item),
                _ => file(reader, &item, true),
            });
        }
    }
    for (name, value) in all {
        let known = service.environment.entry(name).or_default();
        known.get_or_insert(value);
    }
}

/// `{path: ./web.env, required: false}`.
fn long(reader: &mut Reader<'_>, item: &Field<'_>) -> BTreeMap<String, String> {
    let fields = reader.check.known(item, &["path", "required"], REMEDY);
    let required = match fields.get("required") {
        Some(field) => reader.flag(field).unwrap_or(true),
        None => true,
    };
    match fields.get("path") {
        Some(path) => file(reader, path, required),
        None => {
            reader.wrong(item, format_args!("names no 'path'; {REMEDY}"));
            BTreeMap::new()
        }
    }
}

fn file(reader: &mut Reader<'_>, field: &Field<'_>, required: bool) -> BTreeMap<String, String> {
    let around = reader.around;
    let Some(text) = reader.word(field) else {
        return BTreeMap::new();
    };
    let read = || {
        let path = around.path(&text)?;
        let shown = path.display().to_string();
        match (around.file)(&path)? {
            Some(text) => {
                let source = SourceFile { name: shown, text };
                dotenv::variables(&source, around.variable).map_err(|error| error.to_string())
            }
            None if required => Err(format!(
                "there is no file {shown}; make it, or write {{path: {}, required: false}}",
                shorten(&text)
            )),
            None => Ok(BTreeMap::new()),
        }
    };
    read().unwrap_or_else(|why| {
        reader.wrong(field, why);
        BTreeMap::new()
    })
}
