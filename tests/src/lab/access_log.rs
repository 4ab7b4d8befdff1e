//! nginx's access log, a request a line.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};

/// One request that nginx answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The request's `X-Request-Id`, `-` if it had none.
    pub id: String,
    /// Who asked.
    pub remote: SocketAddr,
    /// nginx's number of the connection.
    pub connection: u64,
    /// Which request of its connection it was, from 1.
    pub request_of_connection: u64,
    /// The status it was answered with.
    pub status: u16,
    /// The request's length in bytes, head and body.
    pub request_bytes: u64,
}

/// Reads a whole log.
///
/// # Errors
/// If the file cannot be read or a line is not one the lab's format writes.
pub fn read_access_log(path: &Path) -> Result<Vec<LogEntry>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines()
        .enumerate()
        .map(|(at, line)| parse(line).with_context(|| format!("{}:{}: {line:?}", path.display(), at + 1)))
        .collect()
}

fn parse(line: &str) -> Result<LogEntry> {
    let fields: Vec<&str> = line.split(' ').collect();
    let [
        id,
        _time,
        address,
        port,
        _server_port,
        connection,
        request,
        status,
        bytes,
        _sent,
    ] = fields[..]
    else {
        anyhow::bail!("{} fields, expected 10", fields.len());
    };
    Ok(LogEntry {
        id: id.to_owned(),
        remote: SocketAddr::new(address.parse::<IpAddr>()?, port.parse()?),
        connection: connection.parse()?,
        request_of_connection: request.parse()?,
        status: status.parse()?,
        request_bytes: bytes.parse()?,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_line_of_each_family() {
        let entry = parse("a-1 1700000000.123 10.0.0.2 4000 8080 7 2 200 120 310").unwrap();
        assert_eq!(
            (entry.id.as_str(), entry.remote),
            ("a-1", "10.0.0.2:4000".parse().unwrap())
        );
        assert_eq!(
            (entry.connection, entry.request_of_connection, entry.status),
            (7, 2, 200)
        );
        let entry = parse("- 1700000000.123 fd00:c::2 4000 8080 7 2 201 52428900 310").unwrap();
        assert_eq!(entry.remote, "[fd00:c::2]:4000".parse().unwrap());
        assert_eq!(entry.request_bytes, 52_428_900);
        assert!(parse("a-1 10.0.0.2 4000").is_err());
    }
}
