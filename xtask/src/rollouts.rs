//! `cargo xtask rollouts`: many real rollouts of versions that are bad in one way each, and of equal ones, counted.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::build::{self, Profile};
use crate::process::{Ended, Invocation};
use crate::repo::Repo;
use crate::root;
use crate::setup::{self, Scope};
use crate::suites;

/// The tests of `tests/tests/switching/verdict.rs`, one a kind of version.
const KINDS: [&str; 7] = [
    "an_equal_version_is_never_rolled_back",
    "a_version_that_refuses_is_rolled_back",
    "a_version_that_resets_is_rolled_back",
    "a_version_that_is_silent_is_rolled_back",
    "a_version_that_fails_one_connection_of_fifty_is_rolled_back",
    "a_version_that_is_slow_is_rolled_back",
    "a_version_that_answers_500_is_rolled_back_by_its_health_check",
];
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
    let kinds = KINDS
        .into_iter()
        .filter(|kind| args.only.as_ref().is_none_or(|only| kind.contains(only)));
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
    let test = ["test", "--quiet", "--package", "switcher-tests", "--test", "switching"];
    let only = format!("verdict::{kind}");
    let suite = Invocation::cargo(&repo.root)
        .args(test)
        .args(["--", "--exact", "--nocapture", &only])
        .env("SWITCHER_ROLLOUTS", args.each.to_string())
        .env("SWITCHER_RATE", args.rate.to_string())
        .envs(&suites::variables(&repo.binary(Profile::Debug.folder(), "switcher"))?);
    let logs = repo.target.join("rollouts");
    fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let (output, errors) = (logs.join(format!("{kind}.out")), logs.join(format!("{kind}.log")));
    let ended = suite.run_logged(START_LIMIT + ROLLOUT_LIMIT * args.each, &output, &errors)?;
    let log = fs::read_to_string(&errors).with_context(|| format!("cannot read {}", errors.display()))?;
    let told = log.lines().find_map(|line| line.strip_prefix(LINE));
    let good = matches!(ended, Ended::Itself(status) if status.success());
    println!("{} {}", if good { "ok   " } else { "WRONG" }, told.unwrap_or(kind));
    if !good {
        println!("      see {}", errors.display());
    }
    Ok(good && told.is_some())
}
