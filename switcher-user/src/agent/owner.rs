//! The one task that owns the state.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use super::addresses::Addresses;
use super::containers::{Containers, changed};
use super::disk::Disk;
use super::drain::Sight;
use super::healths::Healths;
use super::hooks::{Edge, Edges};
use super::leaving::Leaving;
use super::port::{Host, Kernel, Shared};
use super::queues::Queues;
use super::running::Running;
use super::wall::WallClock;
use crate::api::{ChangeStatus, Envelope};
use crate::dns::Names;
use crate::kernel::Role;
use crate::model::{AliasName, FlipTime, Zone};
use crate::net::Observed;
use crate::plan::{Desired, Pool, Resolved};

/// How often the host is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Looks that wait for the owner; the tasks that made them wait too.
pub(super) const SIGHTS_MAX: usize = 4;
/// Most status answers that are made at the same time.
pub(super) const STATUS_TASKS_MAX: usize = 16;

/// What an agent that has ended leaves in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Everything, pinned and working.
    Pinned,
    /// Nothing: it was detached.
    Nothing,
    /// Parts: detaching failed on its way.
    Parts,
}

/// Everything the agent knows.
#[derive(Debug)]
pub(super) struct Owner<K, H> {
    pub(super) kernel: Shared<K>,
    pub(super) host: H,
    pub(super) disk: Disk,
    /// What is wanted, as it stands on the disk, unless `unsaved` says otherwise.
    pub(super) desired: Arc<Desired>,
    /// The disk did not take what is wanted: the next save that works has it, a tick's at the latest.
    pub(super) unsaved: bool,
    /// What the kernel's image was made of.
    pub(super) resolved: Arc<Resolved>,
    /// What was last seen of the host, and when.
    pub(super) observed: Option<(Arc<Observed>, Instant)>,
    /// Where clients come in.
    pub(super) edges: Edges,
    /// The hooks of these interfaces, by name.
    pub(super) hooks: BTreeMap<String, Edge>,
    /// Addresses that it added to the host.
    pub(super) addresses: Addresses,
    /// What this agent attached to: a name alone would miss an interface that was made anew.
    pub(super) attached: HashSet<(u32, String, Role)>,
    /// Epoch of the image that the kernel reads; no larger one was ever used.
    pub(super) epoch: u64,
    /// The last change of images, whatever it was for.
    pub(super) last_flip: Option<FlipTime>,
    /// The last change of each alias's split.
    pub(super) switched: BTreeMap<AliasName, FlipTime>,
    /// What the newest receipt of each alias says.
    pub(super) changes: BTreeMap<AliasName, ChangeStatus>,
    pub(super) wall: Arc<WallClock>,
    /// What discovery sees of the containers.
    pub(super) containers: Containers,
    /// Those that were told to leave.
    pub(super) leaving: Leaving,
    /// What is to be said of them, as sentences.
    pub(super) container_notes: Vec<String>,
    /// Where addresses of aliases come from that have none of their own.
    pub(super) pool: Pool,
    /// Where names are answered.
    pub(super) dns: Option<SocketAddr>,
    /// The zone of these names.
    pub(super) zone: Zone,
    /// The names, for whoever answers.
    pub(super) names: watch::Sender<Arc<Names>>,
    /// Rollouts that this agent began or went on with, ever.
    pub(super) rollouts_begun: u64,
    /// Rollouts that have begun and not ended.
    pub(super) running: Vec<Running>,
    /// What their tasks saw.
    pub(super) sights: (mpsc::Sender<Sight>, mpsc::Receiver<Sight>),
    pub(super) health: Healths,
    pub(super) queues: Queues,
    pub(super) status_slots: Arc<Semaphore>,
}

impl<K: Kernel, H: Host> Owner<K, H> {
    /// Runs until it is told to stop, until `detach`, or until nobody can send commands any more. A change that has
    /// begun is brought to its end.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Envelope>, mut stop: oneshot::Receiver<()>) -> Left {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut stop => break,
                envelope = inbox.recv() => match envelope {
                    Some(envelope) => if let ControlFlow::Break(left) = self.answer(envelope).await { return left },
                    None => break,
                },
                Some(sight) = self.sights.1.recv() => self.looked(sight).await,
                Some(report) = self.health.probers.next() => self.health_answer(report).await,
                () = changed(&mut self.containers) => self.follow_containers().await,
                _ = tick.tick() => {
                    self.follow_containers().await;
                    self.tick().await;
                }
            }
        }
        self.leave_rollouts().await;
        self.keep_epoch().await;
        Left::Pinned
    }

    /// Ticks raise the epoch in the kernel alone. What comes after this agent must begin above it.
    pub(super) async fn keep_epoch(&self) {
        if self.desired.epoch == self.epoch && !self.unsaved {
            return;
        }
        let mut desired = (*self.desired).clone();
        desired.epoch = self.epoch;
        if let Err(error) = self.disk.run(move |store| store.save(&desired)).await {
            tracing::warn!("epoch {} could not be kept: {error}", self.epoch);
        }
    }

    /// One line for the log.
    pub(super) fn summary(&self) -> String {
        format!(
            "interfaces {}, {} alias(es), epoch {}",
            self.edges.names.join(" "),
            self.desired.aliases.len(),
            self.epoch
        )
    }
}
