//! `switcher agent`.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use super::End;
use crate::agent::{self, Options};
use crate::api::{ApiError, ErrorCode, SOCKET_PATH};
use crate::discovery::DOCKER_SOCKET;
use crate::kernel::CgroupChoice;
use crate::model::{HookPolicy, Zone};
use crate::plan::Pool;

/// Where the data path is pinned unless told otherwise.
pub(super) const BPFFS_PATH: &str = "/sys/fs/bpf";
/// Where the agent keeps its state unless told otherwise.
pub(super) const STATE_PATH: &str = "/var/lib/switcher";
const WORKER_THREADS: usize = 2;
/// The netlink crate warns of each field that is newer than itself, at every look; the DNS crates have two lines for each
/// question, and one for each answer that did not arrive.
const LOG_DEFAULT: &str = "info,netlink_packet_route=error,hickory_server=error,hickory_net=error";

/// What `agent` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the desired state and the receipts are kept.
    #[arg(long, value_name = "DIR", default_value = STATE_PATH)]
    state_dir: PathBuf,
    /// Where programs, maps and links are pinned (bpffs is mounted there if it is not yet).
    #[arg(long, value_name = "DIR", default_value = BPFFS_PATH)]
    bpffs: PathBuf,
    /// The socket that is served.
    #[arg(long, value_name = "PATH", default_value = SOCKET_PATH)]
    socket: PathBuf,
    /// An interface where clients come in; again for more [default: those of the default routes].
    #[arg(long = "interface", value_name = "IF")]
    interfaces: Vec<String>,
    /// Where Prometheus finds metrics, at /metrics; whoever reaches it may read them.
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    metrics_listen: Option<SocketAddr>,
    /// The cgroup whose processes are local clients; `none`: nobody's [default: the root of the mounted cgroup2].
    #[arg(long, value_name = "DIR|none", value_parser = cgroup_choice)]
    cgroup: Option<CgroupChoice>,
    /// Where packets of clients are met: auto (native XDP where a hardware driver has it, else tc), tc, xdp.
    #[arg(long, value_name = "HOOK", default_value = "auto")]
    hook: HookPolicy,
    /// Follow the containers of Docker, or Podman, at this socket [default: not followed; without a path: /var/run/docker.sock].
    #[arg(long, value_name = "unix://PATH", num_args = 0..=1, default_missing_value = DOCKER_SOCKET, value_parser = socket_path)]
    docker: Option<PathBuf>,
    /// Answer names of aliases (ALIAS and ALIAS.ZONE) by DNS over UDP and TCP, at this address.
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    dns: Option<SocketAddr>,
    /// The zone of these names; what is outside is refused, so that a resolver asks the next server.
    #[arg(long, value_name = "ZONE", default_value_t = Zone::default(), requires = "dns")]
    dns_zone: Zone,
    /// Addresses for aliases that name none; nobody else may use them.
    #[arg(long, value_name = "ADDR/BITS", default_value_t = Pool::default())]
    pool: Pool,
}

/// A socket, with or without `unix://`.
pub(super) fn socket_path(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("unix://").unwrap_or(text);
    if path.starts_with('/') {
        Ok(PathBuf::from(path))
    } else {
        Err(format!(
            "'{text}' is no place of Docker; write it as unix://{DOCKER_SOCKET}"
        ))
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("'{text}' is no address and port; write it as 127.0.0.1:9740 or [::1]:9740"))
}

fn cgroup_choice(text: &str) -> Result<CgroupChoice, std::convert::Infallible> {
    Ok(if text == "none" {
        CgroupChoice::Off
    } else {
        CgroupChoice::At(PathBuf::from(text))
    })
}

/// Runs the agent until it is told to stop.
pub(super) fn run(args: Args) -> End {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let options = Options {
        state_dir: args.state_dir,
        bpffs: args.bpffs,
        socket: args.socket,
        interfaces: args.interfaces,
        metrics_listen: args.metrics_listen,
        cgroup: args.cgroup.unwrap_or_default(),
        hook: args.hook,
        docker: args.docker,
        dns: args.dns,
        zone: args.dns_zone,
        pool: args.pool,
    };
    let failed = |error: &dyn std::fmt::Display| ApiError::new(ErrorCode::HostFailed, error.to_string());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    let ended = runtime.block_on(agent::run(options)).map_err(|error| failed(&error));
    runtime.shutdown_background();
    ended.map(|()| 0)
}
