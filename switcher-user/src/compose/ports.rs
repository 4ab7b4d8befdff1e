//! `ports` and `expose`.

use std::net::IpAddr;
use std::num::NonZeroU16;

use super::model::{Port, Published};
use super::values::Reader;
use crate::config::check::{Field, shorten};
use crate::config::node::Value;
use crate::model::Protocol;

const REMEDY: &str = "write it as \"8000:80/tcp\", \"80/tcp\" or \"10.0.0.1:8000:80/tcp\"";
const LONG_KEYS: &[&str] = &["target", "published", "protocol", "host_ip", "mode"];

/// The lines of `ports`, no two alike.
pub(super) fn published(reader: &mut Reader<'_>, field: &Field<'_>) -> Vec<Published> {
    let Some(items) = reader.check.items(field, REMEDY) else {
        return Vec::new();
    };
    let mut all: Vec<(Published, u32)> = Vec::new();
    for item in &items {
        let Some(one) = line(reader, item) else { continue };
        let same = |other: &Published| other.published.is_some() && clashes(other, &one);
        if let Some((_, first)) = all.iter().find(|(other, _)| same(other) || *other == one) {
            let message = format!("is the same port as the one at line {first}; keep one");
            reader.wrong(item, message);
            continue;
        }
        all.push((one, item.place.line));
    }
    all.into_iter().map(|(published, _)| published).collect()
}

/// True where both want one port of one address.
pub(super) fn clashes(one: &Published, other: &Published) -> bool {
    one.published == other.published
        && one.target.protocol == other.target.protocol
        && (one.address == other.address || one.address.is_none() || other.address.is_none())
}

/// The ports of `expose`.
pub(super) fn exposed(reader: &mut Reader<'_>, field: &Field<'_>) -> Vec<Port> {
    let Some(items) = reader.check.items(field, "write a list of ports, as [\"80\"]") else {
        return Vec::new();
    };
    let mut ports = Vec::new();
    for item in &items {
        let Some(text) = reader.word(item) else { continue };
        match port(&text) {
            Ok(port) => ports.push(port),
            Err(why) => reader.wrong(item, format_args!("{why}; write it as \"80\" or \"53/udp\"")),
        }
    }
    ports
}

fn line(reader: &mut Reader<'_>, item: &Field<'_>) -> Option<Published> {
    if matches!(item.node.value, Value::Mapping(_)) {
        return long(reader, item);
    }
    let text = reader.word(item)?;
    match short(&text) {
        Ok(published) => Some(published),
        Err(why) => {
            reader.wrong(item, format_args!("{why}; {REMEDY}"));
            None
        }
    }
}

fn short(text: &str) -> Result<Published, String> {
    let (places, target) = match text.rsplit_once(':') {
        Some((places, target)) => (Some(places), target),
        None => (None, text),
    };
    let target = port(target)?;
    let (address, published) = match places.and_then(|places| places.rsplit_once(':')) {
        Some((address, published)) => (host(address)?, published),
        None => (None, places.unwrap_or_default()),
    };
    let published = match published {
        "" => None,
        published => Some(number(published)?),
    };
    Ok(Published {
        address,
        published,
        target,
    })
}

/// An address of the host; the unspecified one stands for all.
fn host(text: &str) -> Result<Option<IpAddr>, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => Ok(None),
        Ok(address) => Ok(Some(address)),
        Err(_) => Err(format!("'{}' is no address", shorten(text))),
    }
}

fn number(text: &str) -> Result<NonZeroU16, String> {
    if text.contains('-') {
        return Err(format!("'{}' is a range of ports; write each port", shorten(text)));
    }
    text.parse()
        .map_err(|_| format!("'{}' is no port from 1 to 65535", shorten(text)))
}

fn port(text: &str) -> Result<Port, String> {
    let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        other => return Err(format!("protocol '{}' is neither tcp nor udp", shorten(other))),
    };
    let number = number(text)?;
    Ok(Port { number, protocol })
}

/// The long form: `{target: 80, published: 8000}`.
fn long(reader: &mut Reader<'_>, item: &Field<'_>) -> Option<Published> {
    let fields = reader.check.known(item, LONG_KEYS, REMEDY);
    let Some(target) = fields.get("target") else {
        reader.wrong(item, "names no 'target'; write the container's port, as {target: 80}");
        return None;
    };
    let mut text = reader.word(target)?;
    if let Some(protocol) = fields.get("protocol") {
        text = format!("{text}/{}", reader.word(protocol)?);
    }
    if let Some(mode) = fields.get("mode")
        && reader.word(mode)? != "host"
    {
        reader.warn(mode, "has no effect: ports are always those of this host");
    }
    let published = match fields.get("published") {
        Some(field) => reader.word(field)?,
        None => String::new(),
    };
    let address = match fields.get("host_ip") {
        Some(field) => reader.word(field)?,
        None => String::new(),
    };
    let line = match (published.is_empty(), address.is_empty()) {
        (true, true) => text,
        (_, true) => format!("{published}:{text}"),
        (_, false) => format!("{address}:{published}:{text}"),
    };
    match short(&line) {
        Ok(published) => Some(published),
        Err(why) => {
            reader.wrong(item, format_args!("{why}; {REMEDY}"));
            None
        }
    }
}
