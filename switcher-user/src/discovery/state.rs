//! What was seen of the containers. No I/O and no clock: time is an argument.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::signal::Process;
use super::{Container, Event, Health, Interest, Occupant, Readiness};
use crate::model::is_open;

/// A container that got its stop signal, or was told to leave, and still runs this long after it serves again: more than any
/// grace period.
pub const LEAVING_FOR: Duration = Duration::from_secs(600);
/// The signals that end a process, besides the one that its image names for it: HUP and USR1 are for other things mostly.
const ENDING_SIGNALS: [u32; 5] = [2, 3, 9, 15, 28];

/// One container, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What Docker says.
    pub container: Container,
    /// Whether it may serve, wherever it takes connections.
    pub readiness: Readiness,
    /// Where it was asked for a connection.
    pub asked: BTreeSet<u16>,
    /// Where it took one since it was started.
    pub open: BTreeSet<SocketAddr>,
    /// Its process, while it runs.
    pub pid: Option<u32>,
}

impl Seen {
    /// Why new connections may not go to any of these ports of it, as a part of a sentence; `None`: they may. No port: to any
    /// at which it was asked.
    #[must_use]
    pub fn lacks(&self, ports: &BTreeSet<u16>) -> Option<String> {
        if let Readiness::Not(why) = self.readiness {
            return Some(why.to_owned());
        }
        let ports = if ports.is_empty() { &self.asked } else { ports };
        if ports.is_empty() || self.open.iter().any(|place| ports.contains(&place.port())) {
            return None;
        }
        let named: Vec<String> = ports.iter().map(u16::to_string).collect();
        Some(format!("it takes no connection at port {} yet", named.join(" or ")))
    }

    /// Where it may be reached at one of these ports. No port: at all its addresses.
    #[must_use]
    pub fn addresses_at(&self, ports: &BTreeSet<u16>) -> Vec<IpAddr> {
        let all = self.container.addresses.iter().map(|address| address.address);
        all.filter(|address| is_open(*address, ports, &self.open)).collect()
    }
}

/// Whether a container is asked for a connection once more, and in which of its lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub id: String,
    pub place: SocketAddr,
    life: u64,
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
    /// Who has which address, whatever it is for.
    pub occupants: Vec<Occupant>,
}

/// The containers, and what was learned of them beside their listing.
#[derive(Debug, Default)]
pub(super) struct State {
    containers: BTreeMap<String, Container>,
    /// Where running ones took a connection.
    open: HashMap<String, BTreeSet<SocketAddr>>,
    /// Rises with each start of a container that was seen: what is answered for an earlier one does not count.
    life: u64,
    lives: HashMap<String, u64>,
    /// Those that got a signal to end, and when.
    leaving: HashMap<String, Instant>,
    processes: HashMap<String, Process>,
    interest: Interest,
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
        self.open.retain(|id, _| runs(id));
        self.lives.retain(|id, _| containers.contains_key(id));
        self.processes.retain(|id, _| runs(id));
        self.leaving
            .retain(|id, since| runs(id) && now.duration_since(*since) < LEAVING_FOR);
    }

    /// Events were missed: a container may have ended and begun again under the same id meanwhile, so what was learned of its
    /// last life is forgotten.
    pub(super) fn missed_events(&mut self) {
        let ids: Vec<String> = self.containers.keys().cloned().collect();
        for id in ids {
            self.begins_anew(&id);
        }
        self.leaving.clear();
    }

    /// True where containers are asked elsewhere now.
    pub(super) fn set_interest(&mut self, interest: &Interest) -> bool {
        let is_new = self.interest != *interest;
        if is_new {
            self.interest = interest.clone();
        }
        is_new
    }

    fn begins_anew(&mut self, id: &str) {
        self.life += 1;
        self.lives.insert(id.to_owned(), self.life);
        self.open.remove(id);
        self.processes.remove(id);
    }

    /// Takes an event; true where something may serve that could not, or the other way round.
    pub(super) fn event(&mut self, event: &Event, now: Instant) -> bool {
        let ends = self.ends(&event.id, event.signal);
        let Some(container) = self.containers.get_mut(&event.id) else {
            return false;
        };
        match event.action.as_str() {
            "die" | "stop" | "destroy" | "pause" => {
                container.running = false;
                self.begins_anew(&event.id);
                true
            }
            "kill" if ends => {
                self.leaving.insert(event.id.clone(), now);
                true
            }
            "start" => {
                self.leaving.remove(&event.id);
                self.begins_anew(&event.id);
                false
            }
            _ => false,
        }
    }

    /// Whether a signal is the end of a container; without a number it is taken for one.
    fn ends(&self, id: &str, signal: Option<u32>) -> bool {
        let own = self.processes.get(id).and_then(|process| process.stop_signal);
        signal.is_none_or(|signal| ENDING_SIGNALS.contains(&signal) || own == Some(signal))
    }

    /// Running containers whose process is not known.
    pub(super) fn without_process(&self) -> Vec<String> {
        let unknown = |container: &&Container| container.running && !self.processes.contains_key(&container.id);
        self.containers
            .values()
            .filter(unknown)
            .map(|container| container.id.clone())
            .collect()
    }

    pub(super) fn set_process(&mut self, id: String, process: Process) {
        self.processes.insert(id, process);
    }

    /// Where containers have not taken a connection yet.
    pub(super) fn questions(&self) -> Vec<Question> {
        let mut questions = Vec::new();
        let waiting = self
            .containers
            .values()
            .filter(|one| self.judge(one) == Readiness::Ready);
        for container in waiting {
            let open = self.open.get(&container.id);
            for port in self.interest.ports_of(container) {
                let places = container.addresses.iter().map(|one| SocketAddr::new(one.address, port));
                let closed = places.filter(|place| open.is_none_or(|open| !open.contains(place)));
                questions.extend(closed.map(|place| Question {
                    id: container.id.clone(),
                    place,
                    life: self.life_of(&container.id),
                }));
            }
        }
        questions
    }

    fn life_of(&self, id: &str) -> u64 {
        self.lives.get(id).copied().unwrap_or(0)
    }

    /// It took the connection. True: that is news.
    pub(super) fn accepted(&mut self, question: Question) -> bool {
        let runs = self.containers.get(&question.id).is_some_and(|one| one.running);
        runs && self.life_of(&question.id) == question.life
            && self.open.entry(question.id).or_default().insert(question.place)
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
            Health::Healthy | Health::Unchecked => Readiness::Ready,
            Health::Starting => Readiness::Not("its health check has not passed yet"),
            Health::Unhealthy => Readiness::Not("its health check fails"),
        }
    }

    /// The containers by name, judged.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let mut seen: Vec<Seen> = self
            .containers
            .values()
            .map(|container| Seen {
                readiness: self.judge(container),
                asked: self.interest.ports_of(container),
                open: self.open.get(&container.id).cloned().unwrap_or_default(),
                pid: self.processes.get(&container.id).map(|process| process.pid),
                container: container.clone(),
            })
            .collect();
        seen.sort_by(|a, b| a.container.name.cmp(&b.container.name));
        seen
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
        state.seen()[0].lacks(&BTreeSet::new()).is_none()
    }

    fn accept_all(state: &mut State) {
        for question in state.questions() {
            state.accepted(question);
        }
    }

    #[test]
    fn only_healthy_containers_serve() {
        for (health, ready) in [
            (Health::Healthy, true),
            (Health::Starting, false),
            (Health::Unhealthy, false),
            (Health::Unchecked, true),
        ] {
            let mut state = State::default();
            state.list(vec![container("a", health)], Instant::now());
            accept_all(&mut state);
            assert_eq!(is_ready(&state), ready, "{health:?}");
        }
    }

    #[test]
    fn it_must_take_a_connection_after_each_start() {
        let now = Instant::now();
        for health in [Health::Unchecked, Health::Healthy] {
            let mut state = State::default();
            state.list(vec![container("a", health)], now);
            assert!(!is_ready(&state));
            let before = state.questions();
            accept_all(&mut state);
            assert!(is_ready(&state) && state.questions().is_empty());
            state.event(&event("start", None), now);
            assert!(!is_ready(&state));
            // What was asked before its start is no answer after it.
            assert!(!state.accepted(before[0].clone()));
            assert!(!is_ready(&state));
        }
    }

    #[test]
    fn it_serves_where_it_takes_connections_and_nowhere_else() {
        let now = Instant::now();
        let mut state = State::default();
        let mut one = container("a", Health::Unchecked);
        one.ports = vec![80, 9100];
        one.addresses.push(Address {
            network: "bridge".to_owned(),
            address: "fd00::2".parse().unwrap(),
        });
        state.list(vec![one], now);
        let at = |place: &str| {
            let place: SocketAddr = place.parse().unwrap();
            state.questions().into_iter().find(|one| one.place == place).unwrap()
        };
        let (metrics, web) = (at("172.17.0.2:9100"), at("172.17.0.2:80"));
        let port = BTreeSet::from([80]);
        state.accepted(metrics);
        let seen = &state.seen()[0];
        assert_eq!(
            seen.lacks(&port).as_deref(),
            Some("it takes no connection at port 80 yet")
        );
        assert_eq!(seen.addresses_at(&port), Vec::<IpAddr>::new());
        state.accepted(web);
        let seen = &state.seen()[0];
        assert_eq!(seen.lacks(&port), None);
        assert_eq!(seen.addresses_at(&port), ["172.17.0.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(seen.addresses_at(&BTreeSet::new()).len(), 2);
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
            accept_all(&mut state);
            assert_eq!(state.event(&event(action, signal), now), !ready, "{action}");
            assert_eq!(is_ready(&state), ready, "{action} {signal:?}");
        }
    }

    #[test]
    fn the_signal_that_its_image_names_is_a_containers_end() {
        let now = Instant::now();
        for (own, signal, ready) in [
            (Some(12), 12, false),
            (Some(37), 37, false),
            (Some(12), 10, true),
            (Some(12), 15, false),
            (None, 12, true),
        ] {
            let mut state = State::default();
            state.list(vec![container("a", Health::Healthy)], now);
            accept_all(&mut state);
            let process = Process {
                pid: 7,
                stop_signal: own,
            };
            state.set_process("a".to_owned(), process);
            state.event(&event("kill", Some(signal)), now);
            assert_eq!(is_ready(&state), ready, "{own:?} {signal}");
        }
    }

    #[test]
    fn a_listing_does_not_bring_back_what_is_being_stopped_until_it_has_outlived_it() {
        let now = Instant::now();
        let mut state = State::default();
        let listed = || vec![container("a", Health::Healthy)];
        state.list(listed(), now);
        accept_all(&mut state);
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
