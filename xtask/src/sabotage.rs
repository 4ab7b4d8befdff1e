//! `cargo xtask sabotage`: each patch of `tests/sabotage` breaks the code in one way, and exactly the test it names must fail.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::libtest::{self, Report};
use crate::patch::{self, Patch};
use crate::process::{Ended, Invocation};
use crate::repo::Repo;
use crate::root;
use crate::setup::{self, Scope};
use crate::suites;
use crate::tree;

/// What one patch takes, with its build.
const PATCH_TIME: Duration = Duration::from_secs(20);
/// How far one commit's run begins after the last one's.
const PATCHES_A_TURN: usize = 7;

/// All patches, for a person.
const BUDGET: Duration = Duration::from_secs(2 * 3600);
const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);
const SUITE_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Options of `cargo xtask sabotage`.
#[derive(clap::Args)]
pub struct Args {
    /// Names of patches, without `.patch`; all if none is given
    names: Vec<String>,
}

/// The verb.
pub fn run(args: &Args) -> Result<()> {
    setup::ensure(Scope::All)?;
    root::require("Sabotage")?;
    run_patches(&Repo::find()?, &args.names, BUDGET, Late::Fails)
}

/// What a patch that no time was left for is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Late {
    /// Not caught.
    Fails,
    /// For another run: where each begins differs from commit to commit, so that all have their turn.
    Waits,
}

/// Runs as many of all patches as `budget` allows, another part of them at each commit.
pub fn in_turn(repo: &Repo, budget: Duration) -> Result<()> {
    run_patches(repo, &[], budget, Late::Waits)
}

/// Runs the named patches, or all, within `budget`, and prints a table.
fn run_patches(repo: &Repo, names: &[String], budget: Duration, late: Late) -> Result<()> {
    let mut patches = patch::load(&repo.root.join("tests/sabotage"), names)?;
    if patches.is_empty() {
        bail!("tests/sabotage has no patch");
    }
    // Patches of one suite one after the other: less to build again.
    patches.sort_by(|a, b| (&a.header.suite, &a.name).cmp(&(&b.header.suite, &b.name)));
    if late == Late::Waits {
        let turn = turn(repo, patches.len())?;
        patches.rotate_left(turn);
        patches.truncate(budget_in_patches(budget).max(1));
    }
    let workshop = Workshop::open(repo, Instant::now() + budget)?;
    let mut rows = Vec::new();
    let mut checked = None;
    for (index, patch) in patches.iter().enumerate() {
        let out_of_time = |least: Duration| late == Late::Waits && index > 0 && workshop.left() <= least;
        let waits = || println!("{} patches wait for another run: the time is up", patches.len() - index);
        if out_of_time(PATCH_TIME * 2) {
            waits();
            break;
        }
        let started = Instant::now();
        let suite = patch.header.suite.as_slice();
        let sound = if checked == Some(suite) {
            Ok(())
        } else {
            workshop.check_unpatched(suite, &patches)
        };
        if sound.is_err() && !out_of_time(Duration::ZERO) {
            sound?;
        }
        checked = Some(suite);
        println!("[{}/{}] {}: {}", index + 1, patches.len(), patch.name, patch.header.why);
        let result = workshop.try_patch(patch);
        // Cut off in its midst, it says nothing.
        if result.is_err() && out_of_time(Duration::ZERO) {
            waits();
            break;
        }
        let row = match &result {
            Ok(()) => "caught".to_owned(),
            Err(error) => format!("NOT CAUGHT: {error:#}"),
        };
        println!("      {row} in {:.1} s", started.elapsed().as_secs_f64());
        rows.push((row, started.elapsed(), patch));
    }
    tree::sync(&workshop.source, &workshop.tree)?;
    report(&rows)
}

/// Where this commit's run begins.
fn turn(repo: &Repo, patches: usize) -> Result<usize> {
    let count = Invocation::new("git", &repo.root).args(["rev-list", "--count", "HEAD"]);
    let commits: usize = count.output()?.trim().parse().context("git counts commits")?;
    Ok(commits * PATCHES_A_TURN % patches)
}

/// Suites that are never reached need not be built.
fn budget_in_patches(budget: Duration) -> usize {
    usize::try_from(budget.as_secs() / PATCH_TIME.as_secs()).unwrap_or(usize::MAX)
}

fn report(rows: &[(String, Duration, &Patch)]) -> Result<()> {
    let widest = rows
        .iter()
        .map(|(_, _, patch)| patch.name.len())
        .max()
        .unwrap_or_default();
    println!("\n{:<widest$}  time      result  (the test that must fail)", "patch");
    for (row, took, patch) in rows {
        let took = format!("{:.1} s", took.as_secs_f64());
        let first_line = row.lines().next().unwrap_or_default();
        println!(
            "{:<widest$}  {took:<8}  {first_line}  ({})",
            patch.name, patch.header.fails
        );
    }
    let missed: Vec<&str> = rows
        .iter()
        .filter(|(row, ..)| row != "caught")
        .map(|(_, _, patch)| patch.name.as_str())
        .collect();
    if missed.is_empty() {
        return Ok(());
    }
    bail!(
        "{} of {} faults not caught; to repeat: cargo xtask sabotage {}",
        missed.len(),
        rows.len(),
        missed.join(" ")
    )
}

/// The copy of the tree that is patched, and the build folder all patches share.
struct Workshop {
    source: PathBuf,
    tree: PathBuf,
    build: PathBuf,
    logs: PathBuf,
    deadline: Instant,
    /// Two runs would patch one tree; the lock ends with the process.
    _lock: File,
}

impl Workshop {
    fn open(repo: &Repo, deadline: Instant) -> Result<Self> {
        let folder = repo.target.join("sabotage");
        let [tree, build, logs] = ["tree", "build", "logs"].map(|name| folder.join(name));
        for folder in [&tree, &build, &logs] {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let lock = File::create(folder.join("lock"))?;
        if lock.try_lock().is_err() {
            bail!("another `cargo xtask sabotage` works in {}", folder.display());
        }
        seed(&repo.target.join("debug"), &build)?;
        Ok(Self {
            source: repo.root.clone(),
            tree,
            build,
            logs,
            deadline,
            _lock: lock,
        })
    }

    /// Without a patch the suite passes and has the tests that the patches name.
    fn check_unpatched(&self, suite: &[String], patches: &[Patch]) -> Result<()> {
        tree::sync(&self.source, &self.tree)?;
        println!("unpatched: cargo test {}", suite.join(" "));
        let report = self.run_suite("unpatched", suite)?;
        if !report.failed.is_empty() {
            bail!(
                "without any patch these fail in `cargo test {}`: {}",
                suite.join(" "),
                report.failed.join(", ")
            );
        }
        for patch in patches.iter().filter(|patch| patch.header.suite == suite) {
            if !report.named.contains(&patch.header.fails) {
                bail!(
                    "{}: its suite has no test `{}`",
                    patch.path.display(),
                    patch.header.fails
                );
            }
        }
        Ok(())
    }

    fn try_patch(&self, patch: &Patch) -> Result<()> {
        tree::sync(&self.source, &self.tree)?;
        self.apply(patch)?;
        let report = self.run_suite(&patch.name, &patch.header.suite)?;
        judge(&report, &patch.header.fails)
    }

    fn apply(&self, patch: &Patch) -> Result<()> {
        // The copy lies inside a repository, where git would take the paths to be the repository's and skip them in silence.
        let above = self.tree.parent().unwrap_or(&self.tree);
        let apply = Invocation::new("git", &self.tree)
            .env("GIT_CEILING_DIRECTORIES", above)
            .args(["apply", "--numstat", "--apply"]);
        let touched = apply.args([&patch.path]).output().context("the patch does not apply")?;
        if touched.trim().is_empty() {
            bail!("the patch changes no file");
        }
        Ok(())
    }

    /// Builds and runs a suite in the copy; its output is kept in files.
    fn run_suite(&self, name: &str, suite: &[String]) -> Result<Report> {
        let agent = self.build.join("debug/switcher");
        let mut variables = suites::variables(&agent)?;
        variables.push(("CARGO_TARGET_DIR".into(), OsString::from(&self.build)));
        // The packet logic alone is tested natively; every other suite drives the agent.
        if !suite.iter().any(|word| word == "switcher-ebpf" || word == "xtask") {
            self.build(
                name,
                &["build", "--package", "switcher-user", "--bin", "switcher"],
                &variables,
            )?;
        }
        let (cargo_args, test_args) = suite.split_at(suite.iter().position(|word| word == "--").unwrap_or(suite.len()));
        let mut build = vec!["test", "--no-run"];
        build.extend(cargo_args.iter().map(String::as_str));
        self.build(name, &build, &variables)?;
        let test = Invocation::cargo(&self.tree)
            .args(["test", "--no-fail-fast"])
            .args(cargo_args)
            .args(test_args);
        let [output, errors] = self.log_files(name);
        let Ended::Itself(status) = test
            .envs(&variables)
            .run_logged(self.limit(SUITE_LIMIT)?, &output, &errors)?
        else {
            bail!("the suite did not end in time; see {}", output.display());
        };
        let printed = fs::read(&output).with_context(|| format!("cannot read {}", output.display()))?;
        let report = libtest::parse(&String::from_utf8_lossy(&printed));
        if report.ended == 0 || status.success() != report.failed.is_empty() {
            bail!(
                "the suite broke off ({status}); see {} and {}",
                output.display(),
                errors.display()
            );
        }
        Ok(report)
    }

    fn build(&self, name: &str, args: &[&str], variables: &[(String, OsString)]) -> Result<()> {
        let [output, errors] = self.log_files(name);
        let build = Invocation::cargo(&self.tree).args(args).envs(variables);
        match build.run_logged(self.limit(BUILD_LIMIT)?, &output, &errors)? {
            Ended::Itself(status) if status.success() => Ok(()),
            Ended::Itself(_) => {
                let printed = fs::read_to_string(&errors).unwrap_or_default();
                bail!("it does not build; see {}:\n{printed}", errors.display())
            }
            Ended::TimedOut => bail!("the build did not end in time; see {}", errors.display()),
        }
    }

    fn log_files(&self, name: &str) -> [PathBuf; 2] {
        ["output", "errors"].map(|kind| self.logs.join(format!("{name}.{kind}")))
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn limit(&self, most: Duration) -> Result<Duration> {
        let left = self.left();
        if left.is_zero() {
            bail!("no time was left");
        }
        Ok(left.min(most))
    }
}

/// Begins with what the workspace's own build has of other people's crates: they are the same, and take minutes to build.
fn seed(built: &Path, build: &Path) -> Result<()> {
    let debug = build.join("debug");
    if debug.exists() || !built.exists() {
        return Ok(());
    }
    fs::create_dir_all(&debug)?;
    for part in ["deps", "build", ".fingerprint"] {
        let from = built.join(part);
        if from.exists() {
            // With their times, by which cargo knows that they are fresh.
            let copy = Invocation::new("cp", build).args(["--archive", "--reflink=auto"]);
            copy.args([&from, &debug])
                .output()
                .context("cannot copy what was built")?;
        }
    }
    Ok(())
}

/// Exactly the named test failed, all others passed.
fn judge(report: &Report, expected: &str) -> Result<()> {
    let others: Vec<&str> = report
        .failed
        .iter()
        .map(String::as_str)
        .filter(|name| *name != expected)
        .collect();
    if others.len() == report.failed.len() {
        let others = if others.is_empty() {
            "every test passed".to_owned()
        } else {
            format!("failed instead: {}", others.join(", "))
        };
        bail!("`{expected}` did not fail; {others}");
    }
    if !others.is_empty() {
        bail!("other tests failed too: {}", others.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges() {
        let verdict = |failed: &[&str]| {
            let failed = failed.iter().map(|name| (*name).to_owned()).collect();
            judge(
                &Report {
                    failed,
                    ..Report::default()
                },
                "x",
            )
            .map_err(|error| error.to_string())
        };
        assert_eq!(verdict(&["x"]), Ok(()));
        assert_eq!(verdict(&[]), Err("`x` did not fail; every test passed".into()));
        assert_eq!(verdict(&["y"]), Err("`x` did not fail; failed instead: y".into()));
        assert_eq!(verdict(&["x", "y"]), Err("other tests failed too: y".into()));
    }
}
