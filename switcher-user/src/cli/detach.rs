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
use crate::api::{ApiError, DetachedDocument, ErrorCode, SCHEMA, StatusDocument};
use crate::kernel::Datapath;

/// What `detach` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the data path is pinned [default: that of the agent at the socket, else /sys/fs/bpf].
    #[arg(long, value_name = "DIR")]
    bpffs: Option<PathBuf>,
    /// Where the agent kept its state, and with it which addresses it added; for when no agent runs [default: /var/lib/switcher].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(flatten)]
    wait: WaitArgs,
}

pub(super) async fn run(args: Args, client: &Client, printer: &Printer) -> End {
    let (document, who) = remove(&args, client).await?;
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

async fn remove(args: &Args, client: &Client) -> Result<(DetachedDocument, &'static str), ApiError> {
    let state_dir = args.state_dir.as_deref();
    if let Some(bpffs) = &args.bpffs
        && !is_of_the_agent(bpffs, client).await
    {
        // The usual state directory may be that of the agent that answers.
        let usual = client.nobody_listens().then_some(Path::new(STATE_PATH));
        let document = directly(bpffs, state_dir.or(usual)).await?;
        return Ok((document, "this command, as no agent runs there"));
    }
    let by_agent = client
        .change::<DetachedDocument>(Method::POST, "/v1/detach", &(), args.wait.timeout)
        .await;
    match by_agent {
        Ok(document) => Ok((document, "the agent, which then stopped")),
        Err(error) if error.code == ErrorCode::NoAgent && client.nobody_listens() => {
            let bpffs = args.bpffs.as_deref().unwrap_or(Path::new(BPFFS_PATH));
            let document = directly(bpffs, Some(state_dir.unwrap_or(Path::new(STATE_PATH)))).await?;
            Ok((document, "this command, as no agent runs"))
        }
        Err(error) => Err(error),
    }
}

/// Whether the directory that was named is held by the agent that answers at the socket.
async fn is_of_the_agent(bpffs: &Path, client: &Client) -> bool {
    let Err(AgentError::PinsTaken { pid, .. }) = PinsLock::take(bpffs) else {
        return false;
    };
    let status = client.get::<StatusDocument>("/v1/status").await;
    status.is_ok_and(|status| status.pid.to_string() == pid)
}

/// A data path that belongs to a live agent is left alone: it would lose it without a word.
pub(super) async fn directly(bpffs: &Path, state_dir: Option<&Path>) -> Result<DetachedDocument, ApiError> {
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
    if let Some(state_dir) = state_dir {
        let addresses = remove_left_addresses(state_dir).await;
        removed.extend(addresses.map_err(|error| unknown(&error))?);
    }
    Ok(DetachedDocument {
        schema: SCHEMA,
        removed,
    })
}
