//! `switcher rollback`.

use hyper::Method;

use super::End;
use super::client::Client;
use super::page::finish;
use super::printer::Printer;
use super::wait::WaitArgs;
use crate::model::{AliasName, Receipt};

/// What `rollback` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The alias.
    alias: AliasName,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(args: Args, client: &Client, printer: &Printer) -> End {
    let path = format!("/v1/aliases/{}/rollback", args.alias);
    let receipt: Receipt = client.change(Method::POST, &path, &(), args.wait.timeout).await?;
    Ok(finish(&receipt, printer))
}
