//! What was seen of the containers. No I/O and no clock: time is an argument.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Container, Event, Health, Readiness};

/// A container that got its stop signal, or was told to leave, and still runs this long after it serves again: more than any
/// grace period.
pub const LEAVING_FOR: Duration = Duration::from_secs(600);
/// The signals that end a process: HUP and USR1 are for other things.
const ENDING_SIGNALS: [u32; 5] = [2, 3, 9, 15, 28];

/// One container, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What Docker says.
    pub container: Container,
    /// Whether it may serve.
    pub readiness: Readiness,
    /// Its process, while it runs.
    pub pid: Option<u32>,
}

/// Everything at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Where Docker listens.
    pub socket: PathBuf,
    /// True after a first full listing: before, nothing is known.
    pub listed: bool,
    /// Why Docker does not answer; `None`: it does.
    pub absent: Option<String>,
    /// Where containers are that share the host's network.
    pub host: Vec<IpAddr>,
    /// The containers by name.
    pub containers: Vec<Seen>,
}

/// The containers, and what was learned of them beside their listing.
#[derive(Debug, Default)]
pub(super) struct State {
    containers: BTreeMap<String, Container>,
    /// Running ones without a health check that took a connection.
    accepted: HashSet<String>,
    /// Those that got a signal to end, and when.
    leaving: HashMap<String, Instant>,
    pids: HashMap<String, u32>,
}

impl State {
    /// Takes a full listing: it makes up for every event that was missed.
    pub(super) fn list(&mut self, listed: Vec<Container>, now: Instant) {
        self.containers = listed
            .into_iter()
            .map(|container| (container.id.clone(), container))
            .collect();
        let containers = &self.containers;
        let runs = |id: &String| containers.get(id).is_some_and(|container| container.running);
        self.accepted.retain(runs);
        self.pids.retain(|id, _| runs(id));
        self.leaving
            .retain(|id, since| runs(id) && now.duration_since(*since) < LEAVING_FOR);
    }

    /// Events were missed: a container may have ended and begun again under the same id meanwhile, so what was learned of its
    /// last life is forgotten.
    pub(super) fn missed_events(&mut self) {
        self.accepted.clear();
        self.leaving.clear();
        self.pids.clear();
    }

    /// Takes an event; true where something may serve that could not, or the other way round.
    pub(super) fn event(&mut self, event: &Event, now: Instant) -> bool {
        let Some(container) = self.containers.get_mut(&event.id) else {
            return false;
        };
        match event.action.as_str() {
            "die" | "stop" | "destroy" | "pause" => {
                container.running = false;
                self.accepted.remove(&event.id);
                self.pids.remove(&event.id);
                true
            }
            "kill" if event.signal.is_none_or(|signal| ENDING_SIGNALS.contains(&signal)) => {
                self.leaving.insert(event.id.clone(), now);
                true
            }
            "start" => {
                self.leaving.remove(&event.id);
                self.accepted.remove(&event.id);
                self.pids.remove(&event.id);
                false
            }
            _ => false,
        }
    }

    /// Running containers whose process is not known.
    pub(super) fn without_pid(&self) -> Vec<String> {
        let unknown = |container: &&Container| container.running && !self.pids.contains_key(&container.id);
        self.containers
            .values()
            .filter(unknown)
            .map(|container| container.id.clone())
            .collect()
    }

    pub(super) fn set_pid(&mut self, id: String, pid: u32) {
        self.pids.insert(id, pid);
    }

    /// Containers that have to take a connection before they may serve.
    pub(super) fn to_probe(&self) -> Vec<Container> {
        let waits = |container: &&Container| self.judge(container) == Readiness::Not(NOT_ACCEPTED);
        self.containers.values().filter(waits).cloned().collect()
    }

    pub(super) fn accepted(&mut self, id: String) {
        self.accepted.insert(id);
    }

    fn judge(&self, container: &Container) -> Readiness {
        if !container.running {
            return Readiness::Not("it does not run");
        }
        if self.leaving.contains_key(&container.id) {
            return Readiness::Not("it is being stopped");
        }
        if container.addresses.is_empty() {
            return Readiness::Not(if container.on_host_network {
                "it shares the host's network, and the interfaces where clients come in have no address"
            } else {
                "it has no address"
            });
        }
        match container.health {
            Health::Healthy => Readiness::Ready,
            Health::Starting => Readiness::Not("its health check has not passed yet"),
            Health::Unhealthy => Readiness::Not("its health check fails"),
            Health::Unchecked if self.accepted.contains(&container.id) || probe_ports(container).is_empty() => {
                Readiness::Ready
            }
            Health::Unchecked => Readiness::Not(NOT_ACCEPTED),
        }
    }

    /// The containers by name, judged.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let mut seen: Vec<Seen> = self
            .containers
            .values()
            .map(|container| Seen {
                readiness: self.judge(container),
                pid: self.pids.get(&container.id).copied(),
                container: container.clone(),
            })
            .collect();
        seen.sort_by(|a, b| a.container.name.cmp(&b.container.name));
        seen
    }
}

const NOT_ACCEPTED: &str = "it takes no connection yet";

/// The ports that tell whether a container without a health check serves: the one of its label, else all it exposes.
pub(super) fn probe_ports(container: &Container) -> Vec<u16> {
    match container.labelled_port() {
        Some(port) => vec![port.get()],
        None => container.ports.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Address;
    use super::*;

    fn container(id: &str, health: Health) -> Container {
        Container {
            id: id.to_owned(),
            name: id.to_owned(),
            image: "app".to_owned(),
            labels: HashMap::new(),
            addresses: vec![Address {
                network: "bridge".to_owned(),
                address: "172.17.0.2".parse().unwrap(),
            }],
            ports: vec![80],
            running: true,
            exit_code: None,
            on_host_network: false,
            health,
        }
    }

    fn event(action: &str, signal: Option<u32>) -> Event {
        Event {
            id: "a".to_owned(),
            action: action.to_owned(),
            signal,
        }
    }

    fn is_ready(state: &State) -> bool {
        state.seen()[0].readiness == Readiness::Ready
    }

    #[test]
    fn only_healthy_containers_serve() {
        for (health, ready) in [
            (Health::Healthy, true),
            (Health::Starting, false),
            (Health::Unhealthy, false),
            (Health::Unchecked, false),
        ] {
            let mut state = State::default();
            state.list(vec![container("a", health)], Instant::now());
            assert_eq!(is_ready(&state), ready, "{health:?}");
        }
    }

    #[test]
    fn without_a_health_check_it_must_take_a_connection_after_each_start() {
        let now = Instant::now();
        let mut state = State::default();
        state.list(vec![container("a", Health::Unchecked)], now);
        assert_eq!(state.to_probe().len(), 1);
        state.accepted("a".to_owned());
        assert!(is_ready(&state));
        state.event(&event("start", None), now);
        assert!(!is_ready(&state));
    }

    #[test]
    fn a_container_leaves_at_the_first_event_of_its_end() {
        let now = Instant::now();
        for (action, signal, ready) in [
            ("kill", Some(15), false),
            ("kill", Some(9), false),
            ("kill", Some(1), true),
            ("die", None, false),
            ("pause", None, false),
            ("exec_create: true", None, true),
        ] {
            let mut state = State::default();
            state.list(vec![container("a", Health::Healthy)], now);
            assert_eq!(state.event(&event(action, signal), now), !ready, "{action}");
            assert_eq!(is_ready(&state), ready, "{action} {signal:?}");
        }
    }

    #[test]
    fn a_listing_does_not_bring_back_what_is_being_stopped_until_it_has_outlived_it() {
        let now = Instant::now();
        let mut state = State::default();
        let listed = || vec![container("a", Health::Healthy)];
        state.list(listed(), now);
        state.event(&event("kill", Some(15)), now);
        state.list(listed(), now + Duration::from_secs(1));
        assert!(!is_ready(&state));
        state.list(listed(), now + LEAVING_FOR);
        assert!(is_ready(&state));
    }

    #[test]
    fn a_listing_makes_up_for_missed_events() {
        let now = Instant::now();
        let mut state = State::default();
        state.list(vec![container("a", Health::Healthy)], now);
        state.list(vec![container("b", Health::Healthy)], now);
        let names: Vec<String> = state.seen().into_iter().map(|seen| seen.container.name).collect();
        assert_eq!(names, ["b"]);
    }
}
