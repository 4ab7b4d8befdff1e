//! `switcher-lab generate`: the traffic generator's process.

use std::path::Path;

use anyhow::Result;

/// Runs a plan.
pub(super) fn run(plan: &Path) -> Result<()> {
    switcher_tests::traffic::generate(plan)
}
