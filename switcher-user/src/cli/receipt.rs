//! `switcher receipt`.

use super::End;
use super::client::Client;
use super::page::receipt_page;
use super::printer::Printer;
use super::table::receipts_table;
use crate::api::ReceiptsDocument;
use crate::model::Receipt;

/// What `receipt` does.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List the newest receipts, newest first.
    Ls,
    /// Show one receipt.
    Show {
        /// Its number.
        id: u64,
    },
}

pub(super) async fn run(verb: Verb, client: &Client, printer: &Printer) -> End {
    match verb {
        Verb::Ls => {
            let document: ReceiptsDocument = client.get("/v1/receipts").await?;
            printer.result(&document, &receipts_table(&document));
        }
        Verb::Show { id } => {
            let receipt: Receipt = client.get(&format!("/v1/receipts/{id}")).await?;
            printer.result(&receipt, &receipt_page(&receipt));
        }
    }
    Ok(0)
}
