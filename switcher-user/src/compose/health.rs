//! `healthcheck`.

use super::model::Healthcheck;
use super::values::Reader;
use crate::config::check::Field;
use crate::config::node::Value;

const KEYS: &[&str] = &["test", "interval", "timeout", "start_period", "retries", "disable"];
const REMEDY: &str = "write it as healthcheck: {test: \"wget -q -O /dev/null http://localhost/\", interval: 1s}";

pub(super) fn read(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<Healthcheck> {
    let fields = reader.check.known(field, KEYS, REMEDY);
    let mut health = Healthcheck::default();
    if let Some(field) = fields.get("disable")
        && reader.flag(field)?
    {
        health.test = vec!["NONE".to_owned()];
        return Some(health);
    }
    if let Some(field) = fields.get("test") {
        health.test = match &field.node.value {
            Value::Sequence(_) => list(reader, field)?,
            _ => vec!["CMD-SHELL".to_owned(), reader.word(field)?],
        };
    }
    health.interval = fields.get("interval").and_then(|field| reader.duration(field));
    health.timeout = fields.get("timeout").and_then(|field| reader.duration(field));
    health.start_period = fields.get("start_period").and_then(|field| reader.duration(field));
    health.retries = fields.get("retries").and_then(|field| reader.number(field, 1, 1_000));
    Some(health)
}

fn list(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<Vec<String>> {
    let words = reader.command(field)?;
    match words.first().map(String::as_str) {
        Some("CMD" | "CMD-SHELL" | "NONE") => Some(words),
        _ => {
            reader.wrong(
                field,
                "does not begin with CMD, CMD-SHELL or NONE; write it as [\"CMD\", \"program\", \"word\"]",
            );
            None
        }
    }
}
