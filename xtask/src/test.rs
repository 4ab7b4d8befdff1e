//! `cargo xtask test`: every check, in order, the cheap ones first; the first failure ends it.

use std::time::Duration;

use anyhow::Result;

use crate::bench;
use crate::build::{self, Profile};
use crate::demo;
use crate::machine;
use crate::process::Invocation;
use crate::repo::Repo;
use crate::root;
use crate::sabotage;
use crate::setup::{self, Scope};
use crate::steps::Steps;
use crate::suites;

/// Everything together, for a person; continuous integration has its own.
const BUDGET: Duration = Duration::from_secs(3 * 3600);

/// A step that only compiles, or runs unit tests.
const COMPILE_LIMIT: Duration = Duration::from_secs(20 * 60);

/// One suite, or one demo.
const SUITE_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Sabotage in a run of all checks; `cargo xtask sabotage` runs every patch.
const SABOTAGE_LIMIT: Duration = Duration::from_secs(6 * 60);

/// The release build, the demos and the bench.
const AFTER_SABOTAGE: Duration = Duration::from_secs(16 * 60);

/// Path and hook of each demo in the tests.
const DEMOS: [(&str, &str); 4] = [("bypass", "auto"), ("stack", "tc"), ("auto", "auto"), ("auto", "xdp")];

/// Cutovers of each demo in the tests: enough to go there and back more than once.
const CUTOVERS: u32 = 3;

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Args {
    /// Without sabotage and the demo
    #[arg(long)]
    fast: bool,
}

/// The verb.
pub fn run(args: &Args) -> Result<()> {
    every_check(args.fast, BUDGET)
}

/// All checks within `budget`.
pub fn every_check(fast: bool, budget: Duration) -> Result<()> {
    let repo = Repo::find()?;
    let mut steps = Steps::within(budget);
    steps.step("setup", |_| setup::ensure(Scope::All))?;
    steps.step("machine", |_| {
        root::require("Testing")?;
        machine::check(&repo)
    })?;
    style(&repo, &mut steps)?;
    unit_tests(&repo, &mut steps)?;
    suites_as_root(&repo, &mut steps)?;
    if !fast {
        steps.step("sabotage", |steps| {
            sabotage::in_turn(&repo, steps.left().saturating_sub(AFTER_SABOTAGE).min(SABOTAGE_LIMIT))
        })?;
        steps.program(
            "build: release",
            COMPILE_LIMIT,
            &build::binaries(&repo, Profile::Release),
        )?;
        for (path, hook) in DEMOS {
            steps.program(
                &format!("demo: {path}, hook {hook}"),
                SUITE_LIMIT,
                &demo::step(&repo, path, hook, CUTOVERS)?,
            )?;
        }
        steps.program("bench: bulk", SUITE_LIMIT, &bench::step(&repo)?)?;
    }
    steps.print_table();
    Ok(())
}

fn style(repo: &Repo, steps: &mut Steps) -> Result<()> {
    let fmt = Invocation::cargo(&repo.root).args(["fmt", "--all", "--check"]);
    steps.program("style: fmt", COMPILE_LIMIT, &fmt)?;
    let clippy = Invocation::cargo(&repo.root).args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    steps.program("style: clippy", COMPILE_LIMIT, &clippy)
}

/// Without root: the crates' unit and property tests, their examples, and the native suites.
fn unit_tests(repo: &Repo, steps: &mut Steps) -> Result<()> {
    let test = |args: &[&str]| Invocation::cargo(&repo.root).args(["test", "--workspace"]).args(args);
    steps.program("unit tests", COMPILE_LIMIT, &test(&["--lib", "--bins"]))?;
    steps.program("documentation tests", COMPILE_LIMIT, &test(&["--doc"]))?;
    for suite in suites::all(&repo.root)?.iter().filter(|suite| suite.is_native()) {
        let test = Invocation::cargo(&repo.root).args(["test"]).args(suite.args());
        steps.program(&format!("native: {}", suite.name), COMPILE_LIMIT, &test)?;
    }
    Ok(())
}

/// The kernel's tables of packets, then end to end, with the agent as it was built for them.
fn suites_as_root(repo: &Repo, steps: &mut Steps) -> Result<()> {
    steps.program("build: debug", COMPILE_LIMIT, &build::binaries(repo, Profile::Debug))?;
    let variables = suites::variables(&repo.binary("debug", "switcher"))?;
    for suite in suites::all(&repo.root)?.iter().filter(|suite| !suite.is_native()) {
        let kind = if suite.is_kernel_table() {
            "kernel"
        } else {
            "end to end"
        };
        let test = Invocation::cargo(&repo.root)
            .args(["test"])
            .args(suite.args())
            .envs(&variables);
        steps.program(&format!("{kind}: {}", suite.name), SUITE_LIMIT, &test)?;
    }
    Ok(())
}
