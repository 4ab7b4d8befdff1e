//! `cargo xtask demo`: the main job on real traffic.

use anyhow::Result;

use crate::lab;
use crate::process::Invocation;
use crate::repo::Repo;
use crate::root;

/// The verb.
pub fn run(args: &lab::Args) -> Result<()> {
    lab::run("demo", "The demo", args)
}

/// The demo as a step of the tests.
pub fn step(repo: &Repo, path: &str, hook: &str, cutovers: u32) -> Result<Invocation> {
    let mut words = root::prefix()?;
    words.push(repo.binary("release", "switcher-lab").into());
    let demo = Invocation::new(&words[0], &repo.root).args(&words[1..]);
    let demo = demo.args(["demo", "--path", path, "--hook", hook]);
    let demo = demo.args(["--cutovers", &cutovers.to_string()]);
    Ok(demo.env("SWITCHER_BIN", repo.binary("release", "switcher")))
}
