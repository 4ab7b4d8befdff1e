//! `switcher set`.

use hyper::Method;

use super::End;
use super::client::Client;
use super::page::changes_page;
use super::printer::Printer;
use super::wait::WaitArgs;
use crate::api::{ChangesDocument, SetPut};
use crate::model::{AliasName, BackendAddress, SetName};

/// What `set` does.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Create a set, or replace its backends; removed backends get no new flows, their flows stay.
    Put {
        /// The alias.
        alias: AliasName,
        /// The set.
        set: SetName,
        /// A backend; without a port it has the listener's.
        #[arg(long = "backend", value_name = "ADDR[:PORT]", required = true, num_args = 1..)]
        backends: Vec<BackendAddress>,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Remove a set that has no share and no flows.
    Rm {
        /// The alias.
        alias: AliasName,
        /// The set.
        set: SetName,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

pub(super) async fn run(verb: Verb, client: &Client, printer: &Printer) -> End {
    let document: ChangesDocument = match verb {
        Verb::Put {
            alias,
            set,
            backends,
            wait,
        } => {
            let path = format!("/v1/aliases/{alias}/sets/{set}");
            client
                .change(Method::PUT, &path, &SetPut { backends }, wait.timeout)
                .await?
        }
        Verb::Rm { alias, set, wait } => {
            let path = format!("/v1/aliases/{alias}/sets/{set}");
            client.change(Method::DELETE, &path, &(), wait.timeout).await?
        }
    };
    printer.result(&document, &changes_page(&document));
    Ok(0)
}
