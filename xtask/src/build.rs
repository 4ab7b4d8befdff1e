//! `cargo xtask build`: the agent and the lab.

use std::time::Duration;

use anyhow::Result;

use crate::process::Invocation;
use crate::repo::Repo;
use crate::setup::{self, Scope};

/// A cold build takes under two minutes on two cores.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Options of `cargo xtask build`.
#[derive(clap::Args)]
pub struct Args {
    /// Without optimisation and with debug assertions
    #[arg(long)]
    debug: bool,
}

/// Which of cargo's profiles.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// What a user runs.
    Release,
    /// What the tests run: with debug assertions.
    Debug,
}

impl Profile {
    /// Its folder below the target folder.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Debug => "debug",
        }
    }
}

/// The verb.
pub fn run(args: &Args) -> Result<()> {
    setup::ensure(Scope::Build)?;
    let repo = Repo::find()?;
    let profile = if args.debug { Profile::Debug } else { Profile::Release };
    binaries(&repo, profile).run(LIMIT)?;
    for name in ["switcher", "switcher-lab"] {
        println!("{}", repo.binary(profile.folder(), name).display());
    }
    Ok(())
}

/// The command that builds the agent and the lab.
pub fn binaries(repo: &Repo, profile: Profile) -> Invocation {
    let packages = [
        "--package",
        "switcher-user",
        "--bin",
        "switcher",
        "--package",
        "switcher-tests",
        "--bin",
        "switcher-lab",
    ];
    let build = Invocation::cargo(&repo.root).args(["build"]).args(packages);
    if profile == Profile::Release {
        build.args(["--release"])
    } else {
        build
    }
}

/// Builds both, for a verb that then runs them.
pub fn ensure(repo: &Repo, profile: Profile) -> Result<()> {
    binaries(repo, profile).run(LIMIT)
}
