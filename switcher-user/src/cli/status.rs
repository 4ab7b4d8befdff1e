//! `switcher status`.

use std::time::Duration;

use super::End;
use super::client::Client;
use super::printer::Printer;
use super::table::status_table;
use super::watch;
use crate::api::StatusDocument;
use crate::model::AliasName;

/// What `status` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this alias.
    alias: Option<AliasName>,
    /// Show it again and again, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// Time between two looks, 100ms to 1h.
    #[arg(long, value_name = "TIME", default_value = "1s", requires = "watch", value_parser = watch::interval)]
    interval: Duration,
}

pub(super) async fn run(args: Args, client: &Client, printer: &Printer) -> End {
    let path = args
        .alias
        .map_or_else(|| "/v1/status".to_owned(), |alias| format!("/v1/status?alias={alias}"));
    if args.watch {
        return watch::run(&path, args.interval, client, printer).await;
    }
    let document: StatusDocument = client.get(&path).await?;
    printer.result(&document, &status_table(&document));
    Ok(0)
}
