//! `switcher hold`.

use std::time::Duration;

use hyper::Method;

use super::End;
use super::client::Client;
use super::printer::Printer;
use super::wait::{WaitArgs, duration, millis};
use crate::api::{HoldDocument, HoldRequest};
use crate::model::AliasName;

/// What `hold` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The alias.
    alias: AliasName,
    /// How long they wait at most, 1m at the longest; held already: from now on.
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = duration)]
    time: Duration,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(args: Args, client: &Client, printer: &Printer) -> End {
    let path = format!("/v1/aliases/{}/hold", args.alias);
    let request = HoldRequest {
        for_ms: millis(args.time),
    };
    let document: HoldDocument = client.change(Method::POST, &path, &request, args.wait.timeout).await?;
    printer.result(&document, &document.message);
    Ok(0)
}
