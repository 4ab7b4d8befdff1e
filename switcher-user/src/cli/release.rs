//! `switcher release`.

use hyper::Method;

use super::End;
use super::client::Client;
use super::printer::Printer;
use super::wait::WaitArgs;
use crate::api::HoldDocument;
use crate::model::AliasName;

/// What `release` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The alias.
    alias: AliasName,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(args: Args, client: &Client, printer: &Printer) -> End {
    let path = format!("/v1/aliases/{}/release", args.alias);
    let document: HoldDocument = client.change(Method::POST, &path, &(), args.wait.timeout).await?;
    printer.result(&document, &document.message);
    Ok(0)
}
