//! `switcher compose`: the project that compose files describe.

mod bring;
mod cleanup;
mod config;
mod confirm;
mod done;
mod files;
mod forsaken;
mod leads;
mod lock;
mod moves;
mod names;
mod prepare;
mod put;
mod reach;
mod ready;
mod recipe;
mod renew;
mod resolvers;
mod retire;
mod rollback;
mod running;
mod shrink;
mod stack;
mod stage;
mod strangers;
mod undo;
mod up;
mod upgrade;
mod variables;

use std::path::PathBuf;

use self::bring::Site;
use self::files::FileArgs;
use self::lock::ProjectLock;
use super::End;
use super::agent::socket_path;
use super::client::Client;
use super::printer::Printer;
use crate::discovery::DOCKER_SOCKET;

/// What `compose` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    files: FileArgs,
    /// Where Docker, or Podman, listens.
    #[arg(long, value_name = "unix://PATH", default_value = DOCKER_SOCKET, value_parser = socket_path)]
    docker: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

/// What `compose` does.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Check the files, and show what they ask for.
    Config,
    /// Start what does not run, and make the kernel match the links; returns when that is active.
    Up(up::Args),
    /// Move the connections of one service to another, by aliases that lead to it.
    Upgrade(upgrade::Args),
}

pub(super) async fn run(args: &Args, client: &Client, printer: &Printer) -> End {
    let loaded = args.files.load()?;
    for warning in &loaded.project.warnings {
        printer.note(&format!("warning: {warning}"));
    }
    match &args.verb {
        Verb::Config => config::run(&loaded, printer),
        Verb::Up(up) => {
            // Where no agent answers there is no folder for the lock either.
            let site = Site::open(&args.docker, client, &loaded, printer, up.wait.timeout, up.pull()).await?;
            let _lock = ProjectLock::take(client.socket(), &loaded.name)?;
            up::run(up, &site).await.map_err(|error| site.done.told(error))
        }
        Verb::Upgrade(upgrade) => {
            let timeout = upgrade.times.timeout;
            let site = Site::open(&args.docker, client, &loaded, printer, timeout, upgrade.pull()).await?;
            let _lock = ProjectLock::take(client.socket(), &loaded.name)?;
            upgrade::run(upgrade, &site).await
        }
    }
}
