//! `switcher-lab smoke`: is the lab sound, and does a switch happen at all?

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use switcher_tests::lab::{
    Agent, CLIENT_POOL_V4, CLIENT_POOL_V6, LISTENER_V4, LISTENER_V6, Lab, Nginx, Outcome, V1_V4, V1_V6,
};
use switcher_tests::traffic::{Generator, LoadPlan, Plan, Sources, TransferPlan, Work};
use switcher_tests::{interrupt, traffic::LoadReport};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// First this many seconds of load straight to v1, without the agent
    #[arg(long, default_value_t = 0)]
    plain_seconds: u32,
    /// Requests a second of that load
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    /// Stop after the load
    #[arg(long)]
    plain_only: bool,
}

const MEGABYTE: u64 = 1 << 20;

/// Runs it.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let lab = Lab::new()?;
    let mut v1 = Nginx::start(&lab, lab.v1(), "v1")?;
    let _v2 = Nginx::start(&lab, lab.v2(), "v2")?;
    eprintln!("lab {}: up", lab.id());
    if arguments.plain_seconds > 0 {
        plain(&lab, &mut v1, arguments)?;
        v1 = Nginx::start(&lab, lab.v1(), "v1")?;
    }
    if arguments.plain_only {
        return Ok(());
    }
    let agent = Agent::start(&lab)?;
    let stack = lab.dir().join("shop.yaml");
    std::fs::write(&stack, include_str!("../../../../docs/examples/shop-v1.yaml"))?;
    let said = agent
        .cli(&["apply", "-f", &stack.display().to_string()])?
        .expect_code(&[0])?;
    tell("apply", &said);
    expect_version(&lab, "v1")?;
    let said = agent.cli(&["upgrade", "web", "--to", "v2"])?.expect_code(&[0])?;
    tell("upgrade", &said);
    expect_version(&lab, "v2")?;
    drop(v1);
    eprintln!("smoke: v1 before, v2 after, over IPv4 and IPv6");
    Ok(())
}

fn tell(what: &str, said: &Outcome) {
    let took_ms = said.took.as_secs_f64() * 1e3;
    eprintln!("{what}: {took_ms:.1} ms\n{}{}", said.stdout, said.stderr);
}

fn expect_version(lab: &Lab, version: &str) -> Result<()> {
    for listener in [LISTENER_V4, LISTENER_V6] {
        let url = format!("http://{listener}/");
        let answer = lab
            .client()
            .run(&["curl", "-sSg", "--max-time", "5", &url])?
            .expect_code(&[0])?;
        ensure!(
            answer.stdout.trim() == version,
            "{url} answered {:?}, expected {version}",
            answer.stdout
        );
        eprintln!("{url}: {version}");
    }
    Ok(())
}

/// The generator's own test: straight to v1, all must be well and nginx must have seen each id once.
fn plain(lab: &Lab, v1: &mut Nginx, arguments: &Arguments) -> Result<()> {
    v1.publish("big", 50 * MEGABYTE, 2)?;
    let pace = 50 * MEGABYTE / u64::from(arguments.plain_seconds) / 2;
    let transfer = |path: &str, seed| {
        Some(TransferPlan {
            path: path.to_owned(),
            bytes: 50 * MEGABYTE,
            pace_bytes_per_s: pace,
            seed,
        })
    };
    let plan = Plan {
        run: "plain".to_owned(),
        targets: vec![V1_V4.parse()?, V1_V6.parse()?],
        sources: Sources {
            v4: Some(CLIENT_POOL_V4),
            v6: Some(CLIENT_POOL_V6),
        },
        work: Work::Load(LoadPlan {
            rate_per_s: arguments.rate,
            seconds_max: 600,
            kept_alive: 64,
            upload: transfer("/uploads/big", 1),
            download: transfer("/files/big", 2),
            pings: false,
        }),
    };
    let mut load = Generator::load(lab, &plan)?;
    interrupt::sleep(std::time::Duration::from_secs(arguments.plain_seconds.into()))?;
    let report = load.stop()?;
    v1.quit()?;
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for entry in v1.log()? {
        *seen.entry(entry.id).or_default() += 1;
    }
    summary(&report);
    ensure!(report.ok == report.due, "of {} due, {} were ok", report.due, report.ok);
    for number in 0..report.due {
        let times = seen.get(&format!("plain-{number}")).copied().unwrap_or(0);
        ensure!(times == 1, "nginx logged plain-{number} {times} times");
    }
    ensure!(seen.len() as u64 == report.due + 2, "nginx logged {} ids", seen.len());
    Ok(())
}

fn summary(report: &LoadReport) {
    eprintln!(
        "due {} ok {} late {} failed {} {:?}; p50 {} us p99 {} us p99.9 {} us max {} us; upload {:?}; download {:?}",
        report.due,
        report.ok,
        report.late,
        report.failed,
        report.failures,
        report.latency.p50_us,
        report.latency.p99_us,
        report.latency.p999_us,
        report.latency.max_us,
        report.upload,
        report.download
    );
    for sample in &report.failure_samples {
        eprintln!("  {sample}");
    }
}
