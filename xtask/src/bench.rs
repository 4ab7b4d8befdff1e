//! `cargo xtask bench`: what the switch costs, as ratios from interleaved runs.

use anyhow::Result;

use crate::lab;
use crate::process::Invocation;
use crate::repo::Repo;
use crate::root;

/// Rounds of the tests' short form.
const ROUNDS: &str = "3";

/// Below this the switch is broken, not slow: short transfers on a machine that is shared measure less than the truth at times.
const BULK_FLOOR: &str = "0.4";

/// The verb.
pub fn run(args: &lab::Args) -> Result<()> {
    lab::run("bench", "The bench", args)
}

/// The bench as a step of the tests.
pub fn step(repo: &Repo) -> Result<Invocation> {
    let mut words = root::prefix()?;
    words.push(repo.binary("release", "switcher-lab").into());
    let bench = Invocation::new(&words[0], &repo.root).args(&words[1..]);
    let bench = bench.args(["bench", "--rounds", ROUNDS, "--at-least", BULK_FLOOR]);
    Ok(bench.env("SWITCHER_BIN", repo.binary("release", "switcher")))
}
