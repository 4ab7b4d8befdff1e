//! `switcher-lab bench`: what the switch costs, as ratios to plain routing in interleaved runs. Absolute figures mean
//! nothing on shared machines.

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use std::process::Stdio;
use std::time::Duration;
use switcher_tests::interrupt;
use switcher_tests::lab::{Agent, Lab, Process};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Interleaved rounds; the median of their ratios counts
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Seconds of each run
    #[arg(long, default_value_t = 1)]
    seconds: u32,
    /// Exit 1 when a median ratio is below this
    #[arg(long)]
    at_least: Option<f64>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

/// Two aliases on the same iperf3: one by each path.
const STACK: &str = r#"version: 1
stack: bench
aliases:
  bypass:
    listen: ["198.51.100.11:5201/tcp", "[2001:db8::11]:5201/tcp"]
    path: bypass
    split: {v1: 100}
    sets: {v1: {backends: ["10.1.0.2", "fd00::2"]}}
  stack:
    listen: ["198.51.100.12:5201/tcp", "[2001:db8::12]:5201/tcp"]
    path: stack
    split: {v1: 100}
    sets: {v1: {backends: ["10.1.0.2", "fd00::2"]}}
"#;

/// Plain routing first: the others are told as its multiples.
const WAYS: [(&str, [&str; 2]); 3] = [
    ("plain", ["10.1.0.2", "fd00::2"]),
    ("bypass", ["198.51.100.11", "2001:db8::11"]),
    ("stack", ["198.51.100.12", "2001:db8::12"]),
];
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const DIRECTIONS: [(&str, &[&str]); 2] = [("upload", &[]), ("download", &["-R"])];

#[derive(Serialize)]
struct Ratio {
    path: &'static str,
    family: &'static str,
    direction: &'static str,
    median: f64,
    least: f64,
    most: f64,
}

#[derive(Serialize)]
struct Document {
    schema: u32,
    rounds: u32,
    bulk_to_plain_routing: Vec<Ratio>,
}

/// Runs it.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let lab = Lab::new()?;
    let agent = Agent::start(&lab)?;
    let file = lab.dir().join("bench.yaml");
    std::fs::write(&file, STACK)?;
    agent
        .cli(&["apply", "-f", &file.display().to_string()])?
        .expect_code(&[0])?;
    let _server = serve(&lab)?;
    let mut ratios = Vec::new();
    for (family, family_name) in FAMILIES.iter().enumerate() {
        for (direction, flags) in DIRECTIONS {
            let rounds = (0..arguments.rounds).map(|_| round(&lab, family, flags, arguments.seconds));
            let rounds = rounds.collect::<Result<Vec<_>>>()?;
            for (way, path) in [(1, "bypass"), (2, "stack")] {
                let of_plain = rounds.iter().map(|speeds| speeds[way] / speeds[0]).collect();
                ratios.push(ratio(path, family_name, direction, of_plain));
            }
        }
    }
    report(arguments, ratios)
}

fn report(arguments: &Arguments, ratios: Vec<Ratio>) -> Result<()> {
    if arguments.json {
        let document = Document {
            schema: 1,
            rounds: arguments.rounds,
            bulk_to_plain_routing: ratios,
        };
        println!("{}", serde_json::to_string_pretty(&document)?);
        return judge(arguments, &document.bulk_to_plain_routing);
    }
    println!(
        "bulk (iperf3), as a multiple of plain routing; {} interleaved rounds",
        arguments.rounds
    );
    println!(
        "{:<8} {:<6} {:<9} {:>7} {:>7} {:>7}",
        "path", "family", "direction", "median", "least", "most"
    );
    for r in &ratios {
        println!(
            "{:<8} {:<6} {:<9} {:>7.3} {:>7.3} {:>7.3}",
            r.path, r.family, r.direction, r.median, r.least, r.most
        );
    }
    judge(arguments, &ratios)
}

fn judge(arguments: &Arguments, ratios: &[Ratio]) -> Result<()> {
    let floor = arguments.at_least.unwrap_or(0.0);
    let below = ratios.iter().filter(|ratio| ratio.median < floor).count();
    ensure!(below == 0, "{below} of {} medians are below {floor}", ratios.len());
    Ok(())
}

fn ratio(path: &'static str, family: &'static str, direction: &'static str, mut of_plain: Vec<f64>) -> Ratio {
    of_plain.sort_by(f64::total_cmp);
    let (least, most) = (of_plain[0], of_plain[of_plain.len() - 1]);
    Ratio {
        path,
        family,
        direction,
        median: of_plain[of_plain.len() / 2],
        least,
        most,
    }
}

fn serve(lab: &Lab) -> Result<Process> {
    let mut command = lab.v1().command("iperf3");
    command
        .arg("-s")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let server = Process::spawn("iperf3", &mut command, nix::sys::signal::Signal::SIGTERM)?;
    interrupt::sleep(Duration::from_millis(500))?;
    Ok(server)
}

/// One run of each way, one after the other: what slows the machine slows all three.
fn round(lab: &Lab, family: usize, flags: &[&str], seconds: u32) -> Result<[f64; 3]> {
    let mut speeds = [0.0; 3];
    for (speed, (_, addresses)) in speeds.iter_mut().zip(WAYS) {
        *speed = iperf(lab, addresses[family], flags, seconds)?;
    }
    Ok(speeds)
}

fn iperf(lab: &Lab, to: &str, flags: &[&str], seconds: u32) -> Result<f64> {
    let seconds = seconds.to_string();
    let mut words = vec!["iperf3", "-c", to, "-t", &seconds, "-J"];
    words.extend(flags);
    let outcome = lab.client().run(&words)?.expect_code(&[0])?;
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout)?;
    report["end"]["sum_received"]["bits_per_second"]
        .as_f64()
        .context("iperf3 reports a speed")
}
