//! The lab's binary, in this process's place.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::build::{self, Profile};
use crate::repo::Repo;
use crate::root;
use crate::setup::{self, Scope};

/// Options of a verb that is the lab's.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Options of the lab's verb; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Builds, then becomes the lab's process, so that Ctrl-C and the exit code are the lab's. `what` begins a sentence.
pub fn run(verb: &str, what: &str, args: &Args) -> Result<()> {
    setup::ensure(Scope::All)?;
    let repo = Repo::find()?;
    let wants_help = args.args.iter().any(|arg| arg == "--help" || arg == "-h");
    // Before the build, which takes minutes the first time: a password is asked for while the person is there.
    if !wants_help {
        root::require(what)?;
    }
    build::ensure(&repo, Profile::Release)?;
    let lab = repo.binary("release", "switcher-lab");
    let mut words = if wants_help { Vec::new() } else { root::prefix()? };
    words.push(lab.clone().into());
    let error = Command::new(&words[0])
        .args(&words[1..])
        .arg(verb)
        .args(&args.args)
        .env("SWITCHER_BIN", repo.binary("release", "switcher"))
        .exec();
    Err(error).with_context(|| format!("{} cannot be started", lab.display()))
}
