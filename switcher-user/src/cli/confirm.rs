//! `switcher confirm`.

use hyper::Method;

use super::End;
use super::client::Client;
use super::page::changes_page;
use super::printer::Printer;
use super::wait::WaitArgs;
use crate::api::ChangesDocument;
use crate::model::AliasName;

/// What `confirm` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The alias.
    alias: AliasName,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(args: Args, client: &Client, printer: &Printer) -> End {
    let path = format!("/v1/aliases/{}/confirm", args.alias);
    let document: ChangesDocument = client.change(Method::POST, &path, &(), args.wait.timeout).await?;
    printer.result(&document, &changes_page(&document));
    Ok(0)
}
