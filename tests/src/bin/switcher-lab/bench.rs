//! `switcher-lab bench`: what the switch costs, as ratios to the same route without it. Absolute figures mean nothing on
//! shared machines.

use anyhow::{Result, ensure};
use serde::Serialize;
use switcher_tests::bulk::{self, Amount, Row, STALL_SHARE, Spread};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Interleaved rounds; the median of their ratios counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Megabytes of each transfer
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..=4096))]
    megabytes: u32,
    /// Exit 1 when Switcher itself (the last column) leaves less than this of any way, or less than half of it in each round of a row
    #[arg(long)]
    at_least: Option<f64>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Ratio {
    hook: String,
    path: String,
    server: String,
    client: String,
    family: String,
    direction: String,
    /// Of the same route without Switcher.
    of_plain: Spread,
    /// Of a connection past the alias, by the same XDP program; null with tc.
    of_passed: Option<Spread>,
    stalls: bool,
}

#[derive(Serialize)]
struct Document {
    schema: u32,
    rounds: u32,
    megabytes: u32,
    bulk: Vec<Ratio>,
}

const NOTES: &str = "\
median, least, most: multiples of the same route without Switcher, measured right before in a lab beside.
own: the same median; with xdp the multiple of a connection past the alias by the same program, because a native XDP
program on a veth switches the other end's segmentation offload off, whatever it does. driver: XDP on tap devices.";

/// Runs it.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let amount = Amount {
        rounds: arguments.rounds,
        megabytes: arguments.megabytes,
    };
    if !arguments.json {
        println!(
            "bulk (iperf3), as a multiple of plain routing; {} interleaved rounds of {} MB",
            arguments.rounds, arguments.megabytes
        );
        println!(
            "{:<6} {:<7} {:<10} {:<13} {:<6} {:<9} {:>7} {:>7} {:>7} {:>7}",
            "hook", "path", "server", "client", "family", "direction", "median", "least", "most", "own"
        );
    }
    let rows = bulk::measure(amount, |row| {
        if !arguments.json {
            print(row);
        }
    })?;
    if arguments.json {
        let document = Document {
            schema: 1,
            rounds: amount.rounds,
            megabytes: amount.megabytes,
            bulk: rows.iter().map(ratio).collect(),
        };
        println!("{}", serde_json::to_string_pretty(&document)?);
    } else {
        println!("{NOTES}");
        print_ways(&rows);
    }
    judge(arguments.at_least, &rows)
}

fn print(row: &Row) {
    let Row { way, of_plain, .. } = row;
    println!(
        "{:<6} {:<7} {:<10} {:<13} {:<6} {:<9} {:>7.3} {:>7.3} {:>7.3} {:>7.3}{}",
        way.hook,
        way.path,
        way.server,
        way.client,
        row.family,
        row.direction,
        of_plain.median,
        of_plain.least,
        of_plain.most,
        row.own_cost(),
        if row.stalls() { "  STALLS" } else { "" }
    );
}

/// Each way in a line: what `--at-least` judges.
fn print_ways(rows: &[Row]) {
    println!("\nown, over both families and directions");
    for (way, own) in bulk::own_costs(rows) {
        println!(
            "{:<6} {:<7} {:<10} {:<13} {own:>7.3}",
            way.hook, way.path, way.server, way.client
        );
    }
}

fn ratio(row: &Row) -> Ratio {
    Ratio {
        hook: row.way.hook.to_string(),
        path: row.way.path.to_string(),
        server: row.way.server.to_string(),
        client: row.way.client.to_string(),
        family: row.family.to_string(),
        direction: row.direction.to_string(),
        of_plain: row.of_plain,
        of_passed: row.of_passed,
        stalls: row.stalls(),
    }
}

/// A stall fails it in any case, slowness only if asked for.
fn judge(floor: Option<f64>, rows: &[Row]) -> Result<()> {
    let stalled = rows.iter().filter(|row| row.stalls()).count();
    ensure!(
        stalled == 0,
        "{stalled} of {} rows stall: less than {STALL_SHARE} of plain routing",
        rows.len()
    );
    let floor = floor.unwrap_or(0.0);
    let below: Vec<String> = bulk::own_costs(rows)
        .into_iter()
        .filter(|(_, own)| *own < floor)
        .map(|(way, own)| format!("{} {} {} {}: {own:.3}", way.hook, way.path, way.server, way.client))
        .collect();
    ensure!(below.is_empty(), "below {floor}: {}", below.join("; "));
    let one_sided = rows.iter().filter(|row| row.own_best() < floor / 2.0).count();
    ensure!(
        one_sided == 0,
        "{one_sided} of {} rows reach half of {floor} in no round",
        rows.len()
    );
    Ok(())
}
