//! What a container is given: memory, folders in it, rights, a log.

use std::collections::BTreeMap;

use super::attached::Logging;
use super::model::Service;
use super::values::Reader;
use crate::config::check::{Field, shorten};

pub(super) fn read(reader: &mut Reader<'_>, key: &str, field: &Field<'_>, service: &mut Service) {
    match key {
        "tmpfs" => service.tmpfs = tmpfs(reader, field),
        "init" => service.init = reader.flag(field),
        "shm_size" => service.shm_bytes = reader.bytes(field),
        "mem_limit" => service.memory_bytes = reader.bytes(field),
        "read_only" => service.read_only = reader.flag(field).unwrap_or_default(),
        "privileged" => service.privileged = reader.flag(field).unwrap_or_default(),
        "logging" => service.logging = logging(reader, field),
        _ => {}
    }
}

fn tmpfs(reader: &mut Reader<'_>, field: &Field<'_>) -> Vec<String> {
    let folders = reader.texts(field);
    if let Some(bad) = folders.iter().find(|folder| !folder.starts_with('/')) {
        let bad = shorten(bad);
        reader.wrong(
            field,
            format_args!("'{bad}' does not begin with /; name the folder inside"),
        );
    }
    folders
}

fn logging(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<Logging> {
    let fields = reader
        .check
        .known(field, &["driver", "options"], "write {driver: json-file}");
    let options: BTreeMap<_, _> = match fields.get("options") {
        Some(options) => reader.pairs(options),
        None => BTreeMap::new(),
    };
    Some(Logging {
        driver: fields.get("driver").and_then(|driver| reader.word(driver)),
        options: options
            .into_iter()
            .map(|(name, value)| (name, value.unwrap_or_default()))
            .collect(),
    })
}
