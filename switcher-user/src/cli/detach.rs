//! `switcher detach`.

use std::io;
use std::path::{Path, PathBuf};

use hyper::Method;

use super::End;
use super::agent::{BPFFS_PATH, STATE_PATH};
use super::client::Client;
use super::printer::Printer;
use super::wait::WaitArgs;
use crate::agent::{AgentError, PinsLock, remove_left_addresses};
use crate::api::{ApiError, DetachedDocument, ErrorCode, SCHEMA};
use crate::kernel::Datapath;

/// What `detach` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the data path is pinned; for when no agent runs.
    #[arg(long, value_name = "DIR", default_value = BPFFS_PATH)]
    bpffs: PathBuf,
    /// Where the agent kept its state, and with it which addresses it added; for when no agent runs.
    #[arg(long, value_name = "DIR", default_value = STATE_PATH)]
    state_dir: PathBuf,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(args: Args, client: &Client, printer: &Printer) -> End {
    let by_agent = client
        .change::<DetachedDocument>(Method::POST, "/v1/detach", &(), args.wait.timeout)
        .await;
    let (document, who) = match by_agent {
        Ok(document) => (document, "the agent, which then stopped"),
        Err(error) if error.code == ErrorCode::NoAgent && client.nobody_listens() => (
            directly(&args.bpffs, &args.state_dir).await?,
            "this command, as no agent runs",
        ),
        Err(error) => return Err(error),
    };
    let text = if document.removed.is_empty() {
        "nothing was attached".to_owned()
    } else {
        format!(
            "{}\n\nremoved by {who}: packets pass as if Switcher had never been; flows that were rewritten end\n",
            document.removed.join("\n")
        )
    };
    printer.result(&document, &text);
    Ok(0)
}

/// A data path that belongs to a live agent is left alone: it would lose it without a word.
pub(super) async fn directly(bpffs: &Path, state_dir: &Path) -> Result<DetachedDocument, ApiError> {
    let _lock = match PinsLock::take(bpffs) {
        Ok(lock) => Some(lock),
        Err(AgentError::PinsTaken { path, pid }) => {
            let text = format!(
                "an agent (pid {pid}) runs at {}, but not at this socket; nothing was changed: name its socket with --host",
                path.display()
            );
            return Err(ApiError::new(ErrorCode::Refused, text));
        }
        // Nothing was ever pinned there.
        Err(AgentError::Pins { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(ApiError::new(ErrorCode::HostFailed, error.to_string())),
    };
    let unknown = |error: &dyn std::fmt::Display| ApiError::new(ErrorCode::Unknown, error.to_string());
    let mut removed = Datapath::detach(bpffs).map_err(|error| unknown(&error))?;
    let addresses = remove_left_addresses(state_dir).await;
    removed.extend(addresses.map_err(|error| unknown(&error))?);
    Ok(DetachedDocument {
        schema: SCHEMA,
        removed,
    })
}
