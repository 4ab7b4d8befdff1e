//! `switcher alias`.

use hyper::Method;

use super::End;
use super::client::Client;
use super::page::changes_page;
use super::printer::Printer;
use super::table::aliases_table;
use super::wait::WaitArgs;
use crate::api::{AliasPut, AliasesDocument, ChangesDocument};
use crate::model::{AliasName, Listener, PathPolicy, UdpPolicy};

/// What `alias` does.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Create an alias, or replace its listeners and path.
    Put {
        /// The alias.
        name: AliasName,
        /// Where clients find it, as 198.51.100.10:80/tcp or [2001:db8::10]:80/tcp.
        #[arg(long, value_name = "ADDR:PORT/PROTO", required = true, num_args = 1..)]
        listen: Vec<Listener>,
        /// Which way its packets take.
        #[arg(long, value_name = "PATH", value_parser = path_policy, default_value = "auto")]
        path: PathPolicy,
        /// What a switch does to UDP conversations: stay where they are, or move with the split.
        #[arg(long, value_name = "POLICY", value_parser = udp_policy, default_value = "stay")]
        udp: UdpPolicy,
        /// Keep refusals from clients: their SYNs come again and go elsewhere, a second later.
        #[arg(long)]
        shield: bool,
        /// Add the listeners' addresses that this host does not have; they go with the alias.
        #[arg(long)]
        add_addresses: bool,
        /// Take new listeners also where SSH, etcd or this agent waits for clients, and addresses that others answer for.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Remove an alias; its flows stay until they end.
    Rm {
        /// The alias.
        name: AliasName,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// List the aliases.
    Ls,
}

fn path_policy(text: &str) -> Result<PathPolicy, String> {
    [PathPolicy::Auto, PathPolicy::Bypass, PathPolicy::Stack]
        .into_iter()
        .find(|policy| policy.text() == text)
        .ok_or_else(|| format!("'{text}' is no path; use auto, bypass or stack"))
}

fn udp_policy(text: &str) -> Result<UdpPolicy, String> {
    [UdpPolicy::Stay, UdpPolicy::Move]
        .into_iter()
        .find(|policy| policy.text() == text)
        .ok_or_else(|| format!("'{text}' is not known; use stay or move"))
}

pub(super) async fn run(verb: Verb, client: &Client, printer: &Printer) -> End {
    let document: ChangesDocument = match verb {
        Verb::Ls => {
            let document: AliasesDocument = client.get("/v1/aliases").await?;
            printer.result(&document, &aliases_table(&document));
            return Ok(0);
        }
        Verb::Put {
            name,
            listen,
            path,
            udp,
            shield,
            add_addresses,
            force,
            wait,
        } => {
            let put = AliasPut {
                listen,
                path,
                udp,
                shield,
                add_addresses,
                force,
            };
            client
                .change(Method::PUT, &format!("/v1/aliases/{name}"), &put, wait.timeout)
                .await?
        }
        Verb::Rm { name, wait } => {
            client
                .change(Method::DELETE, &format!("/v1/aliases/{name}"), &(), wait.timeout)
                .await?
        }
    };
    printer.result(&document, &changes_page(&document));
    Ok(0)
}
