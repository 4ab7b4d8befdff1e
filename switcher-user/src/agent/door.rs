//! The one door through which every change reaches the kernel.
//!
//! Check, look at the host, resolve, attach, write to the disk, flip. What fails before the flip changes nothing; if the
//! flip fails, the old state is put back on the disk.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::addresses::Addition;
use super::owner::Owner;
use super::port::{Host, Kernel};
use crate::api::{ApiError, ErrorCode};
use crate::image::Path;
use crate::kernel::{Flip, KernelError, Role};
use crate::model::{FlipTime, PathPolicy};
use crate::net::{NetError, Observed};
use crate::plan::{Desired, Resolved, Touched};

/// A look at the host this young is as good as a new one, where the change brings no new backend.
const OBSERVED_FRESH: Duration = Duration::from_secs(3);
/// Netlink answers in milliseconds; past this it will not.
const OBSERVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the interface indexes hold after the agent last looked: some ticks.
const INDEXES_VALID_FOR: Duration = Duration::from_secs(5);

/// Whether a change may use the last look at the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Backends or paths change: look again.
    Anew,
    /// Only shares change.
    Recent,
}

/// A change that has reached the kernel.
#[derive(Clone, Debug)]
pub(super) struct Landed {
    pub(super) epoch_before: u64,
    pub(super) epoch: u64,
    pub(super) flip: FlipTime,
}

impl<K: Kernel, H: Host> Owner<K, H> {
    /// Brings a change to the kernel, or fails with nothing changed.
    pub(super) async fn land(&mut self, next: Desired, look: Look, deadline: Instant) -> Result<Landed, ApiError> {
        self.land_with(next, look, deadline, &[]).await
    }

    /// The same, with addresses that the host is to have first.
    pub(super) async fn land_with(
        &mut self,
        mut next: Desired,
        look: Look,
        deadline: Instant,
        additions: &[Addition],
    ) -> Result<Landed, ApiError> {
        next.epoch = self.epoch + 1;
        let mut resolved = self.check(&next, look).await?;
        self.clear_new_sets(&next).await?;
        let touched = Touched::between(&self.desired, &next);
        self.attach_backends(&mut resolved, Some((&next, &touched))).await?;
        if Instant::now() >= deadline {
            return Err(timed_out());
        }
        self.add_addresses(additions).await?;
        let landed = self.save_and_flip(Arc::new(next), resolved).await;
        match landed {
            Ok(_) => self.let_addresses_go().await,
            Err(_) => self.take_back_addresses(additions).await,
        }
        landed
    }

    async fn save_and_flip(&mut self, next: Arc<Desired>, resolved: Resolved) -> Result<Landed, ApiError> {
        let epoch_before = self.epoch;
        self.save(Arc::clone(&next)).await?;
        match self.flip(resolved).await {
            Ok(flip) => {
                self.note_switched(&next, &flip);
                let old = std::mem::replace(&mut self.desired, next);
                self.follow_health(&old);
                self.tell_names();
                Ok(Landed {
                    epoch_before,
                    epoch: self.epoch,
                    flip,
                })
            }
            Err(error) => Err(self.take_back(error).await),
        }
    }

    /// Everything that can be refused.
    pub(super) async fn check(&mut self, next: &Desired, look: Look) -> Result<Resolved, ApiError> {
        next.check()?;
        let (backends, touched) = (next.backend_addresses(), Touched::between(&self.desired, next));
        let observed = self.observed_for(&backends, look).await?;
        let mut resolved = match next.resolve(&self.with_hooks(&observed), &touched) {
            Ok(resolved) => resolved,
            // What was not there a second ago may be there now.
            Err(_) if look == Look::Recent => {
                let observed = self.observe(&backends).await?;
                next.resolve(&self.with_hooks(&observed), &touched)?
            }
            Err(refusal) => return Err(refusal.into()),
        };
        resolved.leave_out(next, &self.health.unusable(&self.desired, next));
        resolved.take_away(&self.foreign(next).into_keys().collect());
        Ok(resolved)
    }

    async fn observed_for(&mut self, backends: &[IpAddr], look: Look) -> Result<Arc<Observed>, NetError> {
        if let (Look::Recent, Some((observed, at))) = (look, &self.observed)
            && at.elapsed() < OBSERVED_FRESH
            && backends.iter().all(|backend| observed.backends.contains_key(backend))
        {
            return Ok(Arc::clone(observed));
        }
        self.observe(backends).await
    }

    pub(super) async fn observe(&mut self, backends: &[IpAddr]) -> Result<Arc<Observed>, NetError> {
        let look = tokio::time::timeout(OBSERVE_TIMEOUT, self.host.observe(backends));
        let observed = look.await.map_err(|_| NetError::Ask {
            what: "routes, rules and interfaces".to_owned(),
            cause: format!("no answer within {} s", OBSERVE_TIMEOUT.as_secs()),
        })??;
        let mut observed = observed;
        let processes = self.container_processes(backends);
        if !processes.is_empty() {
            let look = tokio::time::timeout(OBSERVE_TIMEOUT, self.host.bridge_ports(&processes));
            match look.await {
                Ok(Ok(ports)) => observed.ports = ports,
                Ok(Err(error)) => tracing::warn!("the ports of bridges: {error}"),
                Err(_) => tracing::warn!("the ports of bridges: no answer within {} s", OBSERVE_TIMEOUT.as_secs()),
            }
        }
        let observed = Arc::new(observed);
        self.observed = Some((Arc::clone(&observed), Instant::now()));
        Ok(observed)
    }

    /// A number that had another set before must not begin with its figures.
    async fn clear_new_sets(&self, next: &Desired) -> Result<(), KernelError> {
        let old: std::collections::BTreeSet<u32> = self.desired.set_ids().collect();
        let new: Vec<u32> = next.set_ids().filter(|id| !old.contains(id)).collect();
        if new.is_empty() {
            return Ok(());
        }
        self.kernel
            .run(move |kernel| new.iter().try_for_each(|id| kernel.clear_set_counters(*id)))
            .await
    }

    /// What is saved is what is wanted from now on, or the caller takes it back.
    pub(super) async fn save(&mut self, desired: Arc<Desired>) -> Result<(), ApiError> {
        self.disk.run(move |store| store.save(&desired)).await?;
        self.unsaved = false;
        Ok(())
    }

    /// What the disk did not take when it was to.
    pub(super) async fn save_again(&mut self) {
        if self.unsaved && self.save(Arc::clone(&self.desired)).await.is_ok() {
            tracing::info!("the state file is what is wanted again");
        }
    }

    /// Shares as they were, whatever the disk says: a version that failed must not keep clients because a disk is full.
    /// Nobody is told that it is so before the disk has it.
    pub(super) async fn flip_unsaved(&mut self, mut next: Desired) -> Result<FlipTime, ApiError> {
        next.epoch = self.epoch + 1;
        let mut resolved = self.check(&next, Look::Recent).await?;
        let touched = Touched::between(&self.desired, &next);
        self.attach_backends(&mut resolved, Some((&next, &touched))).await?;
        let flip = self.flip(resolved).await?;
        self.note_switched(&next, &flip);
        let old = std::mem::replace(&mut self.desired, Arc::new(next));
        self.unsaved = true;
        self.follow_health(&old);
        Ok(flip)
    }

    /// The kernel refused: the disk must not say otherwise.
    async fn take_back(&mut self, error: KernelError) -> ApiError {
        match self.save(Arc::clone(&self.desired)).await {
            Ok(()) => error.into(),
            Err(store) => {
                self.unsaved = true;
                ApiError::new(
                    ErrorCode::Unknown,
                    format!("{error}; the kernel still has the old image, but the state file has the new one: {store}"),
                )
            }
        }
    }

    /// Installs an image.
    pub(super) async fn flip(&mut self, resolved: Resolved) -> Result<FlipTime, KernelError> {
        let resolved = Arc::new(resolved);
        let plan = Arc::clone(&resolved);
        let flip = self.kernel.run(move |kernel| kernel.flip(&plan.image)).await?;
        self.epoch = flip.epoch;
        self.resolved = resolved;
        let flip = flip_time(flip);
        self.last_flip = Some(flip.clone());
        Ok(flip)
    }

    /// Notes the flip at the aliases whose split it changed.
    fn note_switched(&mut self, next: &Desired, flip: &FlipTime) {
        self.switched.retain(|name, _| next.aliases.contains_key(name));
        for (name, alias) in &next.aliases {
            let before = self.desired.aliases.get(name).map(|before| &before.split);
            if before != Some(&alias.split) {
                self.switched.insert(name.clone(), flip.clone());
            }
        }
    }

    /// The host was just looked at, and the image says what was seen.
    pub(super) async fn refresh(&self) -> Result<(), KernelError> {
        self.kernel.run(|kernel| kernel.refresh(INDEXES_VALID_FOR)).await
    }

    /// Attaches to the backends' veths. New flows to those behind one that cannot be attached to take the stack, unless
    /// the change is about a bypass that was asked for.
    pub(super) async fn attach_backends(
        &mut self,
        resolved: &mut Resolved,
        change: Option<(&Desired, &Touched)>,
    ) -> Result<(), KernelError> {
        for (ifindex, name) in resolved.bridges.clone() {
            if let Err(error) = self.attach(&name, ifindex, Role::Edge).await {
                let why = format!("{name} cannot be attached to: {error}; clients on it are not switched");
                if !self.resolved.notes.contains(&why) {
                    tracing::warn!("{why}");
                }
                resolved.notes.push(why);
            }
        }
        for (ifindex, name) in resolved.veths.clone() {
            let Err(error) = self.attach(&name, ifindex, Role::Backend).await else {
                continue;
            };
            if change.is_some_and(|(next, touched)| must_bypass(next, touched, resolved, ifindex)) {
                return Err(error);
            }
            let why = format!("{name} cannot be attached to: {error}");
            if !self.resolved.notes.contains(&why) {
                tracing::warn!("{why}");
            }
            take_stack(resolved, ifindex, &why);
        }
        Ok(())
    }

    pub(super) async fn attach(&mut self, name: &str, ifindex: u32, role: Role) -> Result<(), KernelError> {
        let key = (ifindex, name.to_owned(), role);
        if self.attached.contains(&key) {
            return Ok(());
        }
        let interface = name.to_owned();
        self.kernel
            .run(move |kernel| kernel.attach(&interface, ifindex, role))
            .await?;
        tracing::info!("attached to {name} (index {ifindex}) as {role:?}");
        self.attached.insert(key);
        Ok(())
    }
}

/// True where the change asks for a bypass through this interface.
fn must_bypass(next: &Desired, touched: &Touched, resolved: &Resolved, ifindex: u32) -> bool {
    let asked = next
        .aliases
        .iter()
        .filter(|(_, alias)| alias.path == PathPolicy::Bypass);
    let mut sets = asked.flat_map(|(name, _)| {
        let paths = resolved.paths.get(name).into_iter().flatten();
        paths.map(move |(set, choices)| (name, set, choices))
    });
    sets.any(|(alias, set, choices)| {
        let is_touched = touched.aliases.contains(alias) || touched.sets.contains(&(alias.clone(), set.clone()));
        is_touched && choices.iter().any(|choice| choice.path == Path::Bypass { ifindex })
    })
}

/// Sends new flows of all backends behind the interface through the stack.
fn take_stack(resolved: &mut Resolved, ifindex: u32, why: &str) {
    let leads_there = |path: Path| match path {
        Path::Bypass { ifindex: of } | Path::Bridge { ifindex: of, .. } => of == ifindex,
        // No program of its own stands there.
        Path::Driver { .. } | Path::Stack | Path::Socket => false,
    };
    let sets = resolved.image.aliases.iter_mut().flat_map(|alias| &mut alias.sets);
    for backend in sets.flat_map(|set| &mut set.backends) {
        if leads_there(backend.path) {
            backend.path = Path::Stack;
        }
    }
    for choice in resolved
        .paths
        .values_mut()
        .flat_map(|paths| paths.values_mut().flatten())
    {
        if leads_there(choice.path) {
            choice.path = Path::Stack;
            why.clone_into(&mut choice.why);
        }
    }
    resolved.veths.remove(&ifindex);
    resolved.notes.push(why.to_owned());
}

pub(super) fn timed_out() -> ApiError {
    ApiError::new(
        ErrorCode::TimedOut,
        "the time was up before anything changed; try again with a longer --timeout",
    )
}

fn flip_time(flip: Flip) -> FlipTime {
    let at = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    FlipTime {
        before_ns: flip.before_ns,
        after_ns: flip.after_ns,
        at,
    }
}
