//! `switcher flows`.

use std::fmt::Write as _;

use super::End;
use super::client::Client;
use super::printer::Printer;
use crate::api::{FLOWS_LISTED, FLOWS_LISTED_MAX, FlowStatus, FlowsDocument};
use crate::model::{AliasName, BackendAddress, SetName};

/// What `flows` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The alias.
    alias: AliasName,
    /// Only flows of this set.
    #[arg(long, value_name = "SET")]
    set: Option<SetName>,
    /// Only flows to this backend; without a port: to any port there; again for more.
    #[arg(long = "backend", value_name = "ADDR[:PORT]")]
    backends: Vec<BackendAddress>,
    /// List at most this many, the oldest.
    #[arg(long, value_name = "N", default_value_t = FLOWS_LISTED, value_parser = clap::value_parser!(u32).range(1..=i64::from(FLOWS_LISTED_MAX)))]
    limit: u32,
}

pub(super) async fn run(args: Args, client: &Client, printer: &Printer) -> End {
    let mut path = format!("/v1/aliases/{}/flows?limit={}", args.alias, args.limit);
    if let Some(set) = &args.set {
        let _ = write!(path, "&set={set}");
    }
    if !args.backends.is_empty() {
        let _ = write!(path, "&{}", backends_query(&args.backends));
    }
    let document: FlowsDocument = client.get(&path).await?;
    printer.result(&document, &flows_table(&document));
    Ok(0)
}

/// As the API takes them.
fn backends_query(backends: &[BackendAddress]) -> String {
    let each: Vec<String> = backends.iter().map(ToString::to_string).collect();
    // `[` and `]` of IPv6 are no characters of a query.
    format!("backend={}", each.join(",").replace('[', "%5B").replace(']', "%5D"))
}

fn flows_table(document: &FlowsDocument) -> String {
    if document.flows.is_empty() {
        return "no flows".to_owned();
    }
    let mut table = String::new();
    let _ = writeln!(
        table,
        "{:<5} {:<26} {:<24} {:<24} {:<12} {:<11} {:<6} {:>8} {:>8} {:>9} {:>12} {:>9} {:>12}",
        "proto",
        "client",
        "listener",
        "backend",
        "set",
        "state",
        "path",
        "age",
        "idle",
        "pkts in",
        "bytes in",
        "pkts out",
        "bytes out"
    );
    for flow in &document.flows {
        flow_line(&mut table, flow);
    }
    let listed = document.flows.len() as u64;
    let _ = match document.total {
        total if total > listed => write!(table, "\n{listed} of {total} flows, the oldest; --limit lists more"),
        1 => write!(table, "\n1 flow"),
        total => write!(table, "\n{total} flows"),
    };
    table
}

fn flow_line(table: &mut String, flow: &FlowStatus) {
    let set = flow.set.as_ref().map_or("(removed)", SetName::as_str);
    let _ = writeln!(
        table,
        "{:<5} {:<26} {:<24} {:<24} {:<12} {:<11} {:<6} {:>8} {:>8} {:>9} {:>12} {:>9} {:>12}",
        flow.protocol,
        flow.client.to_string(),
        flow.listener.to_string(),
        flow.backend.to_string(),
        set,
        flow.state,
        flow.path,
        time(flow.age_ms),
        time(flow.idle_ms),
        flow.packets_in,
        flow.bytes_in,
        flow.packets_out,
        flow.bytes_out
    );
}

/// The two largest parts of a time, or seconds with a decimal.
fn time(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0..60 => format!("{seconds}.{}s", ms % 1_000 / 100),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::{flows_table, time};
    use crate::api::FlowsDocument;

    #[test]
    fn times_have_two_parts() {
        let times = [
            (0, "0.0s"),
            (59_999, "59.9s"),
            (60_000, "1m00s"),
            (3_599_000, "59m59s"),
            (7_320_000, "2h02m"),
            (90_000_000, "1d01h"),
        ];
        for (ms, text) in times {
            assert_eq!(time(ms), text);
        }
    }

    #[test]
    fn the_table_says_how_many_there_are_in_all() {
        let flow = serde_json::json!({
            "protocol": "tcp", "client": "[fd00:c::2]:40000", "listener": "[2001:db8::10]:80", "backend": "[fd00::2]:8080",
            "set": null, "state": "established", "path": "stack", "epoch": 2, "age_ms": 61_000, "idle_ms": 500,
            "packets_in": 5, "bytes_in": 700, "packets_out": 4, "bytes_out": 900,
        });
        let document = |total: u64, flows: &[&serde_json::Value]| -> FlowsDocument {
            let text = serde_json::json!({"schema": 1, "alias": "web", "set": null, "total": total, "live": total, "flows": flows});
            serde_json::from_value(text).unwrap()
        };
        assert_eq!(flows_table(&document(0, &[])), "no flows");
        let one = flows_table(&document(1, &[&flow]));
        assert!(
            one.ends_with("\n1 flow") && one.contains("(removed)") && one.contains("1m01s"),
            "{one}"
        );
        let more = flows_table(&document(3_000, &[&flow, &flow]));
        assert!(
            more.ends_with("\n2 of 3000 flows, the oldest; --limit lists more"),
            "{more}"
        );
    }
}
