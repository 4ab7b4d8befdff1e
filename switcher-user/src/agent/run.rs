//! The agent as a process: what it opens, in which order, and when it ends.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::AgentError;
use super::owner::Owner;
use super::port::PinnedDatapath;
use crate::api::Server;
use crate::kernel::{Datapath, DatapathConfig, HookMode};
use crate::net::Observer;
use crate::store::Store;

/// Commands that wait for the agent; more wait at the socket.
const COMMANDS_MAX: usize = 64;
/// How long answers that are on their way may take at the end.
const GOODBYE: Duration = Duration::from_secs(1);

/// Where the agent keeps its things.
#[derive(Clone, Debug)]
pub struct Options {
    /// Desired state and receipts.
    pub state_dir: PathBuf,
    /// Where programs, maps and links are pinned.
    pub bpffs: PathBuf,
    /// The API's socket.
    pub socket: PathBuf,
    /// Where clients come in; empty: the interfaces of the default routes.
    pub interfaces: Vec<String>,
}

/// Runs until SIGTERM, SIGINT or `detach`. The data path stays, except after `detach`.
///
/// # Errors
/// When something that it needs cannot be had; nothing was changed then.
pub async fn run(options: Options) -> Result<(), AgentError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(AgentError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AgentError::Signals)?;
    let state_dir = options.state_dir.clone();
    let store = blocking(move || Store::open(&state_dir)).await??;
    let desired = store.load()?;
    let server = Server::bind(&options.socket)?;
    let socket_left = SocketLeft(Some(options.socket.clone()));
    let observer = Observer::new()?;
    let config = DatapathConfig {
        bpffs: options.bpffs.clone(),
        hooks: HookMode::Auto,
    };
    let datapath = blocking(move || Datapath::open(&config)).await??;
    let kernel = PinnedDatapath {
        datapath,
        bpffs: options.bpffs,
    };
    let owner = Owner::start(kernel, observer, store, desired, &options.interfaces).await?;

    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let (stop, stopped) = oneshot::channel();
    let mut serving = tokio::spawn(server.serve(commands, stopped));
    tracing::info!("ready: serving {}, {}", options.socket.display(), owner.summary());
    let ended = tokio::select! {
        () = owner.run(inbox) => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        served = &mut serving => match served {
            Ok(Ok(())) => Ok(()),
            Ok(Err(cause)) => Err(AgentError::Serve { path: options.socket, cause }),
            Err(error) => Err(AgentError::Died(error.to_string())),
        },
    };
    let _ = stop.send(());
    if ended.is_ok() {
        let _ = tokio::time::timeout(GOODBYE, serving).await;
    }
    drop(socket_left);
    tracing::info!("ended; what is pinned below the bpffs directory stays");
    ended
}

async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, AgentError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| AgentError::Died(error.to_string()))
}

/// Removes the socket at the end, however the start went.
struct SocketLeft(Option<PathBuf>);

impl Drop for SocketLeft {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}
