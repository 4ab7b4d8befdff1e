//! `cargo xtask rollouts`: many real rollouts of versions that are bad in one way each, and of equal ones, counted.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::build::{self, Profile};
use crate::process::{Ended, Invocation};
use crate::repo::Repo;
use crate::root;
use crate::setup::{self, Scope};
use crate::suites;

/// The tests of `tests/tests/switching/verdict.rs`, one a kind of version.
const KINDS: [&str; 8] = [
    "a_version_that_refuses_is_rolled_back",
    "a_version_that_resets_is_rolled_back",
    "a_version_that_is_silent_is_rolled_back",
    "a_version_that_fails_one_connection_of_fifty_is_rolled_back",
    "a_version_that_is_slow_is_rolled_back",
    "a_version_that_is_slow_beside_a_slow_end_is_rolled_back",
    "a_version_that_answers_500_is_rolled_back_by_its_health_check",
    EQUAL,
];
const EQUAL: &str = "an_equal_version_is_never_rolled_back";
/// One rollout with all that is around it, at the longest.
const ROLLOUT_LIMIT: Duration = Duration::from_secs(60);
/// Cargo's build of the suite, and the lab.
const START_LIMIT: Duration = Duration::from_secs(20 * 60);
/// How a line begins that says what came of a kind.
const LINE: &str = "rollouts: ";

/// Options of `cargo xtask rollouts`.
#[derive(clap::Args)]
pub struct Args {
    /// Rollouts of each kind of version
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    each: u32,
    /// Rollouts of an equal version
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    equal: u32,
    /// How long each step of an equal version is observed, in milliseconds
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(100..=60_000))]
    equal_interval: u32,
    /// Requests a second meanwhile
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..=10_000))]
    rate: u32,
    /// Only kinds whose test's name has this word in it
    #[arg(long)]
    only: Option<String>,
}

/// The verb.
pub fn run(args: &Args) -> Result<()> {
    setup::ensure(Scope::All)?;
    root::require("A rollout")?;
    let repo = Repo::find()?;
    build::ensure(&repo, Profile::Debug)?;
    let kinds: Vec<_> = KINDS
        .into_iter()
        .filter(|kind| args.only.as_ref().is_none_or(|only| kind.contains(only)))
        .collect();
    if kinds.is_empty() {
        bail!(
            "no kind has '{}' in its name; there are: {}",
            args.only.as_deref().unwrap_or_default(),
            KINDS.join(", ")
        );
    }
    println!("{} requests a second; half of them are new connections", args.rate);
    let mut wrong = Vec::new();
    for kind in kinds {
        if !one(&repo, kind, args)? {
            wrong.push(kind);
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("not as it should be: {}", wrong.join(", "))
}

/// Runs one kind and prints its count; true where the test is content.
fn one(repo: &Repo, kind: &str, args: &Args) -> Result<bool> {
    let all = if kind == EQUAL { args.equal } else { args.each };
    let began = Instant::now();
    let test = ["test", "--quiet", "--package", "switcher-tests", "--test", "switching"];
    let only = format!("verdict::{kind}");
    let suite = Invocation::cargo(&repo.root)
        .args(test)
        .args(["--", "--exact", "--nocapture", &only])
        .env("SWITCHER_ROLLOUTS", all.to_string())
        .env("SWITCHER_INTERVAL_MS", args.equal_interval.to_string())
        .env("SWITCHER_RATE", args.rate.to_string())
        .envs(&suites::variables(&repo.binary(Profile::Debug.folder(), "switcher"))?);
    let logs = repo.target.join("rollouts");
    fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let (output, errors) = (logs.join(format!("{kind}.out")), logs.join(format!("{kind}.log")));
    let ended = suite.run_logged(START_LIMIT + ROLLOUT_LIMIT * all, &output, &errors)?;
    let log = fs::read_to_string(&errors).with_context(|| format!("cannot read {}", errors.display()))?;
    let told = log.lines().find_map(|line| line.strip_prefix(LINE));
    let good = matches!(ended, Ended::Itself(status) if status.success());
    let word = if good { "ok   " } else { "WRONG" };
    println!("{word} {} ({} s)", told.unwrap_or(kind), began.elapsed().as_secs());
    if !good {
        println!("      see {}", errors.display());
    }
    Ok(good && told.is_some())
}
