//! The health check of one set: `health`.

use super::check::{Check, Field};
use super::node::Value;
use crate::model::{HealthSpec, Probe};

const KEYS: &[&str] = &[
    "tcp", "http", "https", "command", "status", "interval", "timeout", "rise", "fall",
];
const REMEDY: &str = "write it as health: {http: /healthz, interval: 1s}";

/// One check. `None`: mistakes were noted.
pub(super) fn read(check: &mut Check, field: &Field<'_>) -> Option<HealthSpec> {
    let fields = check.known(field, KEYS, REMEDY);
    if !matches!(field.node.value, Value::Mapping(_)) {
        return None;
    }
    let status: Option<String> = match fields.get("status") {
        Some(one) => Some(check.single(one, "write it as 200 or 200-399")?),
        None => None,
    };
    let mut probes = Vec::new();
    for kind in ["tcp", "http", "https", "command"] {
        let Some(one) = fields.get(kind) else { continue };
        let text: String = check.single(one, REMEDY)?;
        let probe = match (kind, text.as_str()) {
            ("tcp", "true") => Ok(Probe::Tcp),
            ("tcp", _) => {
                check.wrong(one, "is true, or is left out");
                return None;
            }
            ("http" | "https", text) => match &status {
                Some(status) => format!("{kind}:{text} {status}").parse(),
                None => format!("{kind}:{text}").parse(),
            },
            (kind, text) => format!("{kind}:{text}").parse(),
        };
        match probe {
            Ok(probe) => probes.push(probe),
            Err(error) => {
                check.wrong(one, error);
                return None;
            }
        }
    }
    let mut times = [1_000, 1_000];
    for (key, time) in ["interval", "timeout"].iter().zip(&mut times) {
        let Some(one) = fields.get(key) else { continue };
        let text: String = check.single(one, "write it as 1s")?;
        match humantime::parse_duration(&text) {
            Ok(parsed) => *time = u64::try_from(parsed.as_millis()).unwrap_or(u64::MAX),
            Err(_) => check.wrong(one, format_args!("'{text}' is no time; write it as 500ms or 1s")),
        }
    }
    let mut rows = [1, 3];
    for (key, row) in ["rise", "fall"].iter().zip(&mut rows) {
        let Some(one) = fields.get(key) else { continue };
        *row = check.single(one, "write it as a number, as 3")?;
    }
    let [probe] = <[Probe; 1]>::try_from(probes)
        .map_err(|_| check.wrong(field, format_args!("has one of tcp, http, https and command; {REMEDY}")))
        .ok()?;
    if let (Some(one), Probe::Tcp | Probe::Command(_)) = (fields.get("status"), &probe) {
        check.wrong(one, "is for http and https");
        return None;
    }
    let spec = HealthSpec {
        probe,
        interval_ms: times[0],
        timeout_ms: times[1],
        rise: rows[0],
        fall: rows[1],
    };
    if let Some(mistake) = spec.mistake() {
        check.wrong(field, mistake);
        return None;
    }
    Some(spec)
}
