//! Where containers are asked whether they take connections: where aliases lead to, and where a command is about to lead one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::api::ContainersQuery;
use crate::discovery::{Interest, PORTS_ASKED_MAX, Snapshot};
use crate::model::ContainerSource;
use crate::plan::Desired;

/// How long ports count that somebody asked about; who waits asks again all the time.
const ASKED_FOR: Duration = Duration::from_secs(10);
/// Most services that somebody asks about at a time.
const ASKED_MAX: usize = 1_024;

/// What the agent has of discovery.
#[derive(Debug)]
pub(super) struct Discovery {
    /// What it sees.
    pub(super) seen: watch::Receiver<Arc<Snapshot>>,
    /// Where it asks.
    interest: watch::Sender<Arc<Interest>>,
    /// What commands want to know, by project and service, and since when.
    questions: BTreeMap<(String, String), (BTreeSet<u16>, Instant)>,
}

impl Discovery {
    pub(super) const fn new(seen: watch::Receiver<Arc<Snapshot>>, interest: watch::Sender<Arc<Interest>>) -> Self {
        Self {
            seen,
            interest,
            questions: BTreeMap::new(),
        }
    }

    /// A command wants to know whether the containers of a service take connections at these ports.
    pub(super) fn ask(&mut self, query: &ContainersQuery, now: Instant) {
        self.questions
            .retain(|_, (_, since)| now.duration_since(*since) < ASKED_FOR);
        let ports: BTreeSet<u16> = query.groups.iter().flatten().copied().collect();
        let known = self.questions.contains_key(&query.key());
        if ports.is_empty() || !known && self.questions.len() >= ASKED_MAX {
            return;
        }
        let (asked, since) = self.questions.entry(query.key()).or_insert((BTreeSet::new(), now));
        asked.extend(ports);
        *since = now;
        while asked.len() > PORTS_ASKED_MAX {
            asked.pop_last();
        }
    }

    /// Tells discovery where to ask, where that is another place than before.
    pub(super) fn tell(&self, desired: &Desired, now: Instant) {
        let mut next = interest(desired);
        for (service, (ports, since)) in &self.questions {
            if now.duration_since(*since) < ASKED_FOR {
                next.services.entry(service.clone()).or_default().extend(ports);
            }
        }
        self.interest.send_if_modified(|last| {
            let is_new = **last != next;
            if is_new {
                *last = Arc::new(next);
            }
            is_new
        });
    }
}

/// Where the aliases lead to.
pub(super) fn interest(desired: &Desired) -> Interest {
    let mut all = Interest::default();
    for (name, alias) in &desired.aliases {
        all.labelled.insert(name.to_string(), alias.target_ports(None));
    }
    for (alias, _, source) in desired.following() {
        let ContainerSource::Service {
            project, service, port, ..
        } = source
        else {
            continue;
        };
        let ports = desired.aliases[&alias].target_ports(port);
        let key = (project.to_string(), service.to_string());
        all.services.entry(key).or_default().extend(ports);
    }
    all
}
