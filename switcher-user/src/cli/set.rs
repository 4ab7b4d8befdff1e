//! `switcher set`.

use std::time::Duration;

use hyper::Method;

use super::End;
use super::client::Client;
use super::page::changes_page;
use super::printer::Printer;
use super::wait::{WaitArgs, duration, millis};
use crate::api::{ChangesDocument, SetPut};
use crate::model::{AliasName, BackendAddress, HealthSpec, Probe, SetName};

/// How it is found out whether the backends of a set work.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct HealthArgs {
    /// Ask each backend: tcp (it takes a connection), http:/PATH or https:/PATH (it answers 200; any certificate will do) or command:CMD (exit 0).
    #[arg(long, value_name = "PROBE")]
    health: Option<Probe>,
    /// From one question to the next.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration, requires = "health")]
    health_interval: Duration,
    /// How long an answer may take.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration, requires = "health")]
    health_timeout: Duration,
    /// So many good answers in a row prove a backend.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "health")]
    health_rise: u32,
    /// So many bad answers in a row take it out.
    #[arg(long, value_name = "N", default_value_t = 3, requires = "health")]
    health_fall: u32,
}

impl HealthArgs {
    fn spec(self) -> Option<HealthSpec> {
        Some(HealthSpec {
            probe: self.health?,
            interval_ms: millis(self.health_interval),
            timeout_ms: millis(self.health_timeout),
            rise: self.health_rise,
            fall: self.health_fall,
        })
    }
}

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
        health: HealthArgs,
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
            health,
            wait,
        } => {
            let path = format!("/v1/aliases/{alias}/sets/{set}");
            let health = health.spec();
            let put = SetPut {
                backends,
                health,
                containers: None,
            };
            client.change(Method::PUT, &path, &put, wait.timeout).await?
        }
        Verb::Rm { alias, set, wait } => {
            let path = format!("/v1/aliases/{alias}/sets/{set}");
            client.change(Method::DELETE, &path, &(), wait.timeout).await?
        }
    };
    printer.result(&document, &changes_page(&document));
    Ok(0)
}
