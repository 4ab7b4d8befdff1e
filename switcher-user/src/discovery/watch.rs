//! Follows Docker: events as they come, a full listing now and then, and after each interruption.

use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::engine::Listing;
use super::state::{Question, State};
use super::{Engine, EngineError, Interest, Occupant, Snapshot, host};

/// How often everything is listed, whatever the events say.
const LIST_EVERY: Duration = Duration::from_secs(5);
/// How long events are gathered before what they are about is listed again.
const GATHER: Duration = Duration::from_millis(20);
/// How often containers are asked again where they take no connection yet.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long one such question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);
/// Most questions at a time.
const ASKED_AT_A_TIME_MAX: usize = 64;
/// Most questions of a round; the next one begins behind it.
const ROUND_MAX: usize = 256;
/// Most rounds before the first word: where nobody answers one takes more than a second.
const FIRST_ROUNDS_MAX: usize = 64;
/// How long Docker is left alone after it did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// The task that follows Docker.
#[derive(Debug)]
pub struct Watcher {
    socket: PathBuf,
    /// Where clients come in.
    interfaces: Vec<String>,
    host: Vec<IpAddr>,
    state: State,
    occupants: Vec<Occupant>,
    interest: watch::Receiver<Arc<Interest>>,
    /// Where the next round of questions begins, where there are too many for one.
    begin_at: usize,
    listed: bool,
    publish: watch::Sender<Arc<Snapshot>>,
}

impl Watcher {
    /// A watcher, and where its snapshots come out. `interfaces`: where clients come in; containers on the host's own network are
    /// at their addresses. `interest`: where they are asked whether they take connections.
    #[must_use]
    pub fn new(
        socket: PathBuf,
        interfaces: Vec<String>,
        interest: watch::Receiver<Arc<Interest>>,
    ) -> (Self, watch::Receiver<Arc<Snapshot>>) {
        let first = Snapshot {
            socket: socket.clone(),
            absent: Some("not asked yet".to_owned()),
            ..Snapshot::default()
        };
        let (publish, snapshots) = watch::channel(Arc::new(first));
        let watcher = Self {
            socket,
            interfaces,
            host: Vec::new(),
            state: State::default(),
            occupants: Vec::new(),
            interest,
            begin_at: 0,
            listed: false,
            publish,
        };
        (watcher, snapshots)
    }

    /// Follows until nobody wants snapshots any more. Docker may come and go: what was seen last stays.
    pub async fn run(mut self) {
        while !self.publish.is_closed() {
            let ended = match Engine::connect(&self.socket).await {
                Ok(engine) => self.follow(&engine).await,
                Err(error) => Err(error),
            };
            let why = ended
                .err()
                .map_or_else(|| "it ended".to_owned(), |error| error.to_string());
            self.tell(Some(why));
            sleep(RETRY).await;
        }
    }

    async fn follow(&mut self, engine: &Engine) -> Result<(), EngineError> {
        // Events first: what happens while the list is made is not missed.
        let mut events = std::pin::pin!(engine.events());
        self.state.missed_events();
        self.take_interest();
        self.look(engine).await?;
        // Nothing is known of any of them: all are asked before anything is said of one.
        self.ask_all().await;
        self.listed = true;
        self.tell(None);
        let mut relist = interval(LIST_EVERY);
        let mut question = interval(ASK_EVERY);
        for timer in [&mut relist, &mut question] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut asking = Asking(None);
        let mut gather = Gather::default();
        loop {
            tokio::select! {
                biased;
                () = self.publish.closed() => return Ok(()),
                // Before the events: where they come without a pause, it is listed none the less.
                () = gather.is_over() => {
                    gather = Gather::default();
                    self.look(engine).await?;
                    self.tell(None);
                }
                event = events.next() => match event {
                    Some(event) => {
                        if self.state.event(&event?, Instant::now()) {
                            self.tell(None);
                        }
                        gather.add(Instant::now());
                    }
                    None => return Ok(()),
                },
                _ = relist.tick() => {
                    self.look(engine).await?;
                    self.tell(None);
                }
                // A round counts as one: sets do not shrink because one answers before another.
                answers = asking.answers() => {
                    if self.take(answers) {
                        self.tell(None);
                    }
                }
                _ = question.tick(), if asking.0.is_none() => {
                    if self.take_interest() {
                        self.tell(None);
                    }
                    let round = self.round();
                    if !round.is_empty() {
                        asking.0 = Some(tokio::spawn(ask(round)));
                    }
                }
            }
        }
    }

    async fn look(&mut self, engine: &Engine) -> Result<(), EngineError> {
        let Listing {
            mut containers,
            occupants,
        } = engine.listing().await?;
        self.host = host::addresses(&self.interfaces);
        for container in &mut containers {
            container.place_on_host(&self.host);
        }
        self.state.list(containers, Instant::now());
        self.occupants = occupants;
        let ids = iter(self.state.without_process());
        let asked = ids.map(|id| async move { (engine.process(&id).await, id) });
        let answers: Vec<_> = asked.buffer_unordered(ASKED_AT_A_TIME_MAX).collect().await;
        for (process, id) in answers {
            if let Some(process) = process {
                self.state.set_process(id, process);
            }
        }
        Ok(())
    }

    fn take_interest(&mut self) -> bool {
        let interest = Arc::clone(&self.interest.borrow_and_update());
        self.state.set_interest(&interest)
    }

    /// Asks everywhere once, in as many rounds as it takes.
    async fn ask_all(&mut self) {
        let all = self.state.questions();
        for round in all.chunks(ROUND_MAX).take(FIRST_ROUNDS_MAX) {
            let answers = ask(round.to_vec()).await;
            self.take(answers);
        }
    }

    /// What is asked next: all, or as many as fit, and the others after them.
    fn round(&mut self) -> Vec<Question> {
        let mut questions = self.state.questions();
        if questions.len() <= ROUND_MAX {
            self.begin_at = 0;
            return questions;
        }
        let first = self.begin_at % questions.len();
        questions.rotate_left(first);
        questions.truncate(ROUND_MAX);
        self.begin_at = first + ROUND_MAX;
        questions
    }

    /// True where something may serve that could not.
    fn take(&mut self, accepted: Vec<Question>) -> bool {
        let mut news = false;
        for question in accepted {
            news |= self.state.accepted(question);
        }
        news
    }

    fn tell(&self, absent: Option<String>) {
        let snapshot = Snapshot {
            socket: self.socket.clone(),
            listed: self.listed,
            absent,
            host: self.host.clone(),
            containers: self.state.seen(),
            occupants: self.occupants.clone(),
        };
        self.publish.send_if_modified(|last| {
            let changed = **last != snapshot;
            if changed {
                *last = Arc::new(snapshot);
            }
            changed
        });
    }
}

/// Until when events are gathered, where any came: the first one says it, whatever comes after it.
#[derive(Debug, Default)]
struct Gather(Option<Instant>);

impl Gather {
    fn add(&mut self, now: Instant) {
        self.0.get_or_insert(now + GATHER);
    }

    /// Never comes where there was no event.
    async fn is_over(&self) {
        match self.0 {
            Some(end) => sleep_until(end.into()).await,
            None => std::future::pending().await,
        }
    }
}

/// A round of questions that is on its way; it ends with whoever waits for it.
struct Asking(Option<JoinHandle<Vec<Question>>>);

impl Asking {
    /// What was answered with a connection; never comes where nothing is asked.
    async fn answers(&mut self) -> Vec<Question> {
        let Some(round) = &mut self.0 else {
            return std::future::pending().await;
        };
        let answers = round.await.unwrap_or_default();
        self.0 = None;
        answers
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(round) = &self.0 {
            round.abort();
        }
    }
}

/// The questions that were answered with a connection.
fn ask(round: Vec<Question>) -> impl Future<Output = Vec<Question>> + Send + 'static {
    let asked = iter(round).map(|question| async move {
        let answer = timeout(ANSWER_TIMEOUT, TcpStream::connect(question.place)).await;
        matches!(answer, Ok(Ok(_))).then_some(question)
    });
    asked
        .buffer_unordered(ASKED_AT_A_TIME_MAX)
        .filter_map(std::future::ready)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use tokio::net::TcpListener;

    use super::super::{Address, Container, Health};
    use super::*;

    fn container(number: u8, port: u16) -> Container {
        Container {
            id: number.to_string(),
            name: number.to_string(),
            image: "app".to_owned(),
            labels: HashMap::new(),
            addresses: (1..=2)
                .map(|net| Address {
                    network: "bridge".to_owned(),
                    address: IpAddr::from([127, 9, net, number]),
                })
                .collect(),
            ports: vec![port],
            running: true,
            exit_code: None,
            on_host_network: false,
            health: Health::Unchecked,
        }
    }

    #[tokio::test]
    async fn all_are_asked_before_anything_is_said_however_many() {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // The queue of a listener that nobody empties is soon full.
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        let interest = watch::channel(Arc::new(Interest::default())).1;
        let (mut watcher, _snapshots) = Watcher::new(PathBuf::new(), Vec::new(), interest);
        let containers: Vec<Container> = (1..=200).map(|number| container(number, port)).collect();
        watcher.state.list(containers, Instant::now());
        assert!(watcher.state.questions().len() > ROUND_MAX, "what this is about");
        watcher.ask_all().await;
        let mut seen = watcher.state.seen();
        seen.retain(|one| one.addresses_at(&BTreeSet::from([port])).len() < 2);
        assert_eq!(seen.len(), 0, "{} were not asked", seen.len());
    }

    #[test]
    fn events_without_a_pause_put_off_no_listing() {
        let (mut gather, first) = (Gather::default(), Instant::now());
        gather.add(first);
        gather.add(first + GATHER / 2);
        gather.add(first + GATHER * 2);
        assert_eq!(gather.0, Some(first + GATHER));
    }
}
