//! The agent as a process: what it opens, in which order, and when it ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::AgentError;
use super::containers::Containers;
use super::interest::{Discovery, interest};
use super::owner::{Left, Owner};
use super::pins::PinsLock;
use super::port::PinnedDatapath;
use super::start::{Beside, edges};
use crate::api::Server;
use crate::discovery::Watcher;
use crate::dns::Responder;
use crate::kernel::{CgroupChoice, Datapath, DatapathConfig, HookMode, LocalClients};
use crate::metrics::MetricsServer;
use crate::model::{HookPolicy, Zone};
use crate::net::Observer;
use crate::plan::{Desired, Pool};
use crate::store::Store;

/// Commands that wait for the agent; more wait at the socket.
const COMMANDS_MAX: usize = 64;
/// How long a change that has begun may take to its end.
const LAST_CHANGE: Duration = Duration::from_secs(10);
/// How long Docker may take to say what runs, before the agent starts without.
const FIRST_LIST: Duration = Duration::from_secs(5);
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
    /// Where Prometheus finds the metrics; none: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Whose processes are local clients.
    pub cgroup: CgroupChoice,
    /// The hook that these get.
    pub hook: HookPolicy,
    /// Docker's socket; none: containers are not followed.
    pub docker: Option<PathBuf>,
    /// Where names of aliases are answered; none: nowhere.
    pub dns: Option<SocketAddr>,
    /// The zone of these names.
    pub zone: Zone,
    /// Where addresses of aliases come from that have none of their own.
    pub pool: Pool,
}

/// Runs until SIGTERM, SIGINT or `detach`. The data path stays, except after `detach`.
///
/// # Errors
/// When something that it needs cannot be had; nothing was changed then.
pub async fn run(options: Options) -> Result<(), AgentError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(AgentError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AgentError::Signals)?;
    let state_dir = options.state_dir.clone();
    check_cgroup(&options.cgroup)?;
    let store = blocking(move || Store::open(&state_dir)).await??;
    let desired = store.load()?;
    let server = Server::bind(&options.socket)?;
    let metrics = bind_metrics(&options).await?;
    let responder = bind_dns(&options)?;
    let observer = Observer::new()?;
    let bpffs = options.bpffs.clone();
    blocking(move || Datapath::prepare(&bpffs)).await??;
    let _pins = PinsLock::take(&options.bpffs)?;
    let datapath = open(&options).await?;
    tracing::info!("{}", datapath.found());
    let kernel = PinnedDatapath {
        datapath,
        bpffs: options.bpffs.clone(),
    };
    let edges = edges(&observer, &options.interfaces).await?;
    let beside = Beside {
        hook: options.hook,
        containers: follow_docker(&options, &edges, &desired).await,
        pool: options.pool,
        dns: options.dns,
        zone: options.zone.clone(),
    };
    let owner = Owner::start(kernel, observer, store, desired, &edges, beside).await?;
    if let Some(responder) = responder {
        tokio::spawn(responder.serve(options.zone.clone(), owner.names.subscribe()));
    }

    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let (stop_serving, serve_until) = oneshot::channel();
    let (stop_owner, own_until) = oneshot::channel();
    tracing::info!("ready: serving {}, {}", options.socket.display(), owner.summary());
    let scraping = metrics.map(|metrics| tokio::spawn(metrics.serve(commands.clone())));
    let mut serving = tokio::spawn(server.serve(commands, serve_until));
    let mut owning = tokio::spawn(owner.run(inbox, own_until));
    let ended = tokio::select! {
        owned = &mut owning => owned.map_err(|error| AgentError::Died(error.to_string())),
        _ = terminate.recv() => Ok(Left::Pinned),
        _ = interrupt.recv() => Ok(Left::Pinned),
        served = &mut serving => match served {
            Ok(Ok(())) => Ok(Left::Pinned),
            Ok(Err(cause)) => Err(AgentError::Serve { path: options.socket, cause }),
            Err(error) => Err(AgentError::Died(error.to_string())),
        },
    };
    // Whoever ended it may be gone already.
    let _ = stop_owner.send(());
    if let Some(scraping) = scraping {
        scraping.abort();
    }
    finish(&mut owning, LAST_CHANGE).await;
    let _ = stop_serving.send(());
    finish(&mut serving, GOODBYE).await;
    match ended? {
        Left::Pinned => tracing::info!("ended; the data path stays pinned and goes on without an agent"),
        Left::Parts => {
            tracing::error!(
                "ended; detaching failed on its way and parts of the data path are left; run: switcher detach"
            );
        }
        Left::Nothing => tracing::info!("ended; the data path was detached"),
    }
    Ok(())
}

/// Before anything of the host is changed: an address that cannot be had ends the start.
async fn bind_metrics(options: &Options) -> Result<Option<MetricsServer>, AgentError> {
    let Some(address) = options.metrics_listen else {
        return Ok(None);
    };
    let server = MetricsServer::bind(address).await?;
    if let Ok(address) = server.address() {
        tracing::info!("metrics at http://{address}/metrics");
    }
    Ok(Some(server))
}

/// A folder that was named has to be a cgroup of cgroup2: those of version 1 have no such programs.
fn check_cgroup(choice: &CgroupChoice) -> Result<(), AgentError> {
    match choice {
        CgroupChoice::At(path) if !path.join("cgroup.controllers").exists() => Err(AgentError::NoCgroup(path.clone())),
        _ => Ok(()),
    }
}

async fn open(options: &Options) -> Result<Datapath, AgentError> {
    let config = DatapathConfig {
        bpffs: options.bpffs.clone(),
        hooks: HookMode::Auto,
    };
    let mut datapath = blocking(move || Datapath::open(&config)).await??;
    let cgroup = options.cgroup.clone();
    let datapath = blocking(move || {
        if let LocalClients::NotServed(why) = datapath.serve_local(&cgroup)
            && cgroup != CgroupChoice::Off
        {
            tracing::warn!("requests made on this host are not switched: {why}");
        }
        datapath
    });
    datapath.await
}

fn bind_dns(options: &Options) -> Result<Option<Responder>, AgentError> {
    let Some(place) = options.dns else { return Ok(None) };
    let bound = Responder::bind(place);
    bound.map(Some).map_err(|cause| AgentError::Dns { place, cause })
}

/// Starts to follow Docker. What is to be served depends on what runs, so the first list is waited for, a while.
async fn follow_docker(options: &Options, edges: &[String], desired: &Desired) -> Containers {
    let (interest, asks) = watch::channel(Arc::new(interest(desired)));
    let (watcher, mut snapshots) = Watcher::new(options.docker.clone()?, edges.to_owned(), asks);
    tokio::spawn(watcher.run());
    if tokio::time::timeout(FIRST_LIST, snapshots.wait_for(|snapshot| snapshot.listed))
        .await
        .is_err()
    {
        tracing::warn!("Docker does not answer yet; sets that follow containers stay as they are");
    }
    snapshots.mark_changed();
    Some(Discovery::new(snapshots, interest))
}

async fn finish<R>(task: &mut JoinHandle<R>, longest: Duration) {
    if !task.is_finished() {
        let _ = tokio::time::timeout(longest, task).await;
    }
}

async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, AgentError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| AgentError::Died(error.to_string()))
}
