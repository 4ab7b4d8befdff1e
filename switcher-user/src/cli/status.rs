//! `switcher status`.

use super::End;
use super::client::Client;
use super::printer::Printer;
use super::table::status_table;
use crate::api::StatusDocument;
use crate::model::AliasName;

/// What `status` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this alias.
    alias: Option<AliasName>,
}

pub(super) async fn run(args: Args, client: &Client, printer: &Printer) -> End {
    let path = args
        .alias
        .map_or_else(|| "/v1/status".to_owned(), |alias| format!("/v1/status?alias={alias}"));
    let document: StatusDocument = client.get(&path).await?;
    printer.result(&document, &status_table(&document));
    Ok(0)
}
