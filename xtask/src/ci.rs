//! `cargo xtask ci`: what `.ci/run` calls.

use std::time::Duration;

use anyhow::Result;

use crate::process::Invocation;
use crate::repo::Repo;
use crate::test;

/// Continuous integration stops a run after an hour: ours ends before, with its table.
const BUDGET: Duration = Duration::from_secs(57 * 60);

/// The verb.
pub fn run() -> Result<()> {
    let repo = Repo::find()?;
    for command in [
        &["uname", "-rm"][..],
        &["nproc"],
        &["rustc", "--version"],
        &["git", "log", "-1", "--format=%H %s"],
    ] {
        let told = Invocation::new(command[0], &repo.root).args(&command[1..]);
        println!(
            "{told}: {}",
            told.output().unwrap_or_else(|error| error.to_string()).trim()
        );
    }
    test::every_check(false, BUDGET)
}
