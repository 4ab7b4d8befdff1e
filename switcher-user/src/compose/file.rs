//! One compose file as a whole.

use super::around::Surroundings;
use super::model::{Form, Origin, Project};
use super::values::Reader;
use super::{COMPOSE, SourceFile, alias, service, shared, tree};
use crate::config::check::{Field, shorten};
use crate::config::node::{Node, Value};
use crate::config::{ConfigError, Location};
use crate::model::{ALIASES_MAX, AliasName, StackName};

const KEYS: &[&str] = &["version", "name", "services", "networks", "volumes"];
/// Most services of one project.
const SERVICES_MAX: usize = 512;

/// Adds what the file says to the project.
pub(super) fn read(source: &SourceFile, around: &Surroundings<'_>, project: &mut Project) -> Result<(), ConfigError> {
    let tree = tree(source)?;
    let mut reader = Reader::new(&source.name, around);
    whole(&mut reader, &tree, project);
    project.warnings.append(&mut reader.warnings);
    ConfigError::from_problems(reader.check.problems).map_or(Ok(()), Err)
}

fn whole(reader: &mut Reader<'_>, tree: &Node, project: &mut Project) {
    let root = Field {
        path: String::new(),
        place: Location::START,
        key_place: Location::START,
        node: tree,
    };
    let form = form_of(tree);
    if *project.form.get_or_insert(form) != form {
        reader.wrong(
            &root,
            "is laid out otherwise than the files before it: one has 'services:', one has its services at the top; use \
             one form",
        );
        return;
    }
    match form {
        Form::First => {
            let entries = reader.check.entries(&root, COMPOSE.beginning);
            services(reader, &root, entries, project);
        }
        Form::Services => with_services(reader, &root, project),
    }
}

/// A file with `services:` at the top has no service of that name: it would need an image.
fn form_of(tree: &Node) -> Form {
    let Value::Mapping(entries) = &tree.value else {
        return Form::First;
    };
    let has = |name: &str, single: bool| {
        entries
            .iter()
            .any(|entry| entry.key.as_deref() == Some(name) && entry.value.value.scalar().is_some() == single)
    };
    if has("services", false) || has("version", true) {
        Form::Services
    } else {
        Form::First
    }
}

fn with_services(reader: &mut Reader<'_>, root: &Field<'_>, project: &mut Project) {
    let entries = reader.check.entries(root, COMPOSE.beginning);
    let mut found = false;
    for (key, field) in entries {
        match key {
            "services" => {
                found = true;
                let entries = reader.check.entries(&field, "name the services below it");
                services(reader, &field, entries, project);
            }
            "version" => version(reader, &field),
            "name" => {
                project.name = reader
                    .word(&field)
                    .and_then(|text| name::<StackName>(reader, &field, &text))
            }
            "networks" => shared::declared(reader, &field, shared::NETWORKS, &mut project.networks),
            "volumes" => shared::declared(reader, &field, shared::VOLUMES, &mut project.volumes),
            extension if extension.starts_with("x-") => {}
            "secrets" | "configs" | "include" => {
                reader.check.problem(
                    field.key_place,
                    &field.path,
                    format_args!("'{key}' is not supported; mount a folder with 'volumes', or write the files as one"),
                );
            }
            other => {
                let message = crate::config::keys::unknown(&shorten(other), KEYS);
                reader.check.problem(field.key_place, &field.path, message);
            }
        }
    }
    if !found {
        reader.wrong(root, "has no 'services'; name the services below that key");
    }
}

fn version(reader: &mut Reader<'_>, field: &Field<'_>) {
    let Some(text) = reader.word(field) else { return };
    let number = text.split('.').next().unwrap_or_default();
    if !matches!(number, "2" | "3") {
        reader.wrong(
            field,
            format_args!(
                "version '{}' is not read; use 2 or 3, or leave the line out",
                shorten(&text)
            ),
        );
    }
}

fn services(reader: &mut Reader<'_>, at: &Field<'_>, entries: Vec<(&str, Field<'_>)>, project: &mut Project) {
    if entries.len() > SERVICES_MAX.min(ALIASES_MAX) {
        reader.wrong(
            at,
            format_args!(
                "has {} services, at most {SERVICES_MAX} are read; divide it",
                entries.len()
            ),
        );
        return;
    }
    if entries.is_empty() && matches!(at.node.value, Value::Mapping(_)) {
        reader.wrong(at, "names no service; name one, as web: {image: nginx}");
    }
    for (key, field) in entries {
        let Some(service_name) = name::<AliasName>(reader, &field, key) else {
            continue;
        };
        let stands = key
            .parse()
            .is_ok_and(|name| project.services.contains_key(&name) || project.inactive.contains_key(&name));
        if stands || project.aliases.contains_key(&service_name) {
            let message =
                "stands in a file before this one too; files that override others are not read: write it once";
            reader.check.problem(field.key_place, &field.path, message);
            continue;
        }
        if project.form == Some(Form::First) && KEYS.contains(&key) && place_of_key(&field, "image").is_none() {
            let message = format!("'{key}' at the top needs 'services:' beside it; put the services below 'services:'");
            reader.check.problem(field.key_place, &field.path, message);
            continue;
        }
        if !matches!(field.node.value, Value::Mapping(_)) {
            let kind = field.node.value.kind();
            reader.wrong(
                &field,
                format_args!("is {kind}, not a service; give it an image, as {key}: {{image: nginx}}"),
            );
            continue;
        }
        origins(reader, key, &field, project);
        match alias::kind(reader, &field) {
            Some(kind) => {
                if let Some(alias) = alias::read(reader, &field, kind) {
                    project.aliases.insert(service_name, alias);
                }
            }
            None => {
                if let (Some(service), Ok(name)) = (service::read(reader, &field), key.parse()) {
                    if reader.around.runs(&service.profiles) {
                        project.services.insert(name, service);
                    } else {
                        project.inactive.insert(name, service.profiles);
                    }
                }
            }
        }
    }
}

/// Where the service stands, and what all files together are judged by.
fn origins(reader: &Reader<'_>, key: &str, field: &Field<'_>, project: &mut Project) {
    let file = || reader.file.to_owned();
    let mut note = |key_of: &str, path: String, place: Location| {
        let origin = Origin {
            file: file(),
            path,
            place,
        };
        project.origins.insert((key.to_owned(), key_of.to_owned()), origin);
    };
    note("", field.path.clone(), field.key_place);
    for key_of in ["links", "ports"] {
        if let Some(place) = place_of_key(field, key_of) {
            note(key_of, format!("{}.{key_of}", field.path), place);
        }
    }
}

fn place_of_key(service: &Field<'_>, key: &str) -> Option<Location> {
    let Value::Mapping(entries) = &service.node.value else {
        return None;
    };
    let entry = entries.iter().find(|entry| entry.key.as_deref() == Some(key))?;
    Some(entry.key_place)
}

fn name<N: std::str::FromStr>(reader: &mut Reader<'_>, field: &Field<'_>, text: &str) -> Option<N>
where
    N::Err: std::fmt::Display,
{
    match shorten(text).parse() {
        Ok(name) => Some(name),
        Err(error) => {
            reader.check.problem(field.key_place, &field.path, error);
            None
        }
    }
}
