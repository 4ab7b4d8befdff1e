//! `cargo xtask demo`: the main job on real traffic.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::build::{self, Profile};
use crate::process::Invocation;
use crate::repo::Repo;
use crate::root;
use crate::setup::{self, Scope};

/// Options of `cargo xtask demo`: all are the lab's.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Options of the demo; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// The verb. Becomes the lab's process, so that Ctrl-C and the exit code are the lab's.
pub fn run(args: &Args) -> Result<()> {
    setup::ensure(Scope::All)?;
    let repo = Repo::find()?;
    let wants_help = args.args.iter().any(|arg| arg == "--help" || arg == "-h");
    // Before the build, which takes minutes the first time: a password is asked for while the person is there.
    if !wants_help {
        root::require("The demo")?;
    }
    build::ensure(&repo, Profile::Release)?;
    let lab = repo.binary("release", "switcher-lab");
    let mut words = if wants_help { Vec::new() } else { root::prefix()? };
    words.push(lab.clone().into());
    let error = Command::new(&words[0])
        .args(&words[1..])
        .arg("demo")
        .args(&args.args)
        .env("SWITCHER_BIN", repo.binary("release", "switcher"))
        .exec();
    Err(error).with_context(|| format!("{} cannot be started", lab.display()))
}

/// The demo as a step of the tests.
pub fn step(repo: &Repo, path: &str, cutovers: u32) -> Result<Invocation> {
    let mut words = root::prefix()?;
    words.push(repo.binary("release", "switcher-lab").into());
    let demo = Invocation::new(&words[0], &repo.root).args(&words[1..]);
    let demo = demo.args(["demo", "--path", path, "--cutovers", &cutovers.to_string()]);
    Ok(demo.env("SWITCHER_BIN", repo.binary("release", "switcher")))
}
