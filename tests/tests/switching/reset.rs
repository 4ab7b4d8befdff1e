//! What a drain has left is reset: both ends of each connection, idle or busy, and no other's.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::ground;
use crate::rules::{RULES, add_rules};
use anyhow::Result;
use serde_json::Value;
use switcher_tests::lab::{Agent, LISTENER_V4, LISTENER_V6, Lab, Namespace, Wires};

/// A socket of a test that says nothing for so long makes the test fail.
const IO_LIMIT: Duration = Duration::from_secs(20);
/// How long a connection listens before it speaks again.
const BEAT: Duration = Duration::from_millis(2);
/// Connections of each kind (family, idle or busy).
const EACH: usize = 15;

/// Greets with its name, then listens; `busy` connections hear from it at each beat.
struct Server {
    stop: Arc<AtomicBool>,
    open: Arc<AtomicUsize>,
    /// How connections ended.
    ends: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Server {
    fn start(space: &Namespace, name: &'static str) -> Self {
        let (stop, open, ends) = (
            Arc::<AtomicBool>::default(),
            Arc::<AtomicUsize>::default(),
            Arc::<Mutex<Vec<_>>>::default(),
        );
        let (stopped, opened, ended) = (Arc::clone(&stop), Arc::clone(&open), Arc::clone(&ends));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let serve = move || {
            let listener = TcpListener::bind("[::]:8080")?;
            listener.set_nonblocking(true)?;
            ready.send(())?;
            std::thread::scope(|scope| {
                while !stopped.load(SeqCst) {
                    let Ok((stream, _)) = listener.accept() else {
                        std::thread::sleep(Duration::from_millis(1));
                        continue;
                    };
                    opened.fetch_add(1, SeqCst);
                    let (stopped, opened, ended) = (&stopped, &opened, &ended);
                    scope.spawn(move || {
                        let end = talk(stream, name, stopped);
                        ended.lock().unwrap().push(format!("{:?}", end.kind()));
                        opened.fetch_sub(1, SeqCst);
                    });
                }
            });
            Ok(())
        };
        let thread = Some(space.spawn(serve).unwrap());
        is_ready.recv_timeout(IO_LIMIT).unwrap();
        Self {
            stop,
            open,
            ends,
            thread,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves one connection until it ends; how.
fn talk(mut stream: TcpStream, name: &str, stop: &AtomicBool) -> std::io::Error {
    let serve = || -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(BEAT))?;
        stream.write_all(name.as_bytes())?;
        let (mut is_busy, mut buffer) = (false, [0; 4_096]);
        while !stop.load(SeqCst) {
            match stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => is_busy = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if is_busy {
                stream.write_all(&[b'x'; 700])?;
            }
        }
        Err(ErrorKind::Interrupted.into())
    };
    let mut serve = serve;
    serve().unwrap_err()
}

/// What one client has seen.
#[derive(Clone, Debug, Default)]
struct Seen {
    greetings: Vec<String>,
    ends: Vec<String>,
    /// From an end to the next greeting.
    gaps: Vec<Duration>,
}

/// How much clients say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Talk {
    /// Nothing.
    None,
    /// Again at each beat: as much as cables carry that are processes.
    Beats,
    /// Again as soon as there was an answer.
    Busy,
}

impl Talk {
    /// From a reset to the new version. A cable's frames wait for its process to get its turn.
    const fn gap_max(self) -> Duration {
        match self {
            Self::Beats => Duration::from_secs(5),
            Self::None | Self::Busy => Duration::from_secs(1),
        }
    }
}

/// Clients that hold a connection, and open it again when it ends.
struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Seen>>>,
    greeted: Arc<AtomicUsize>,
}

impl Clients {
    fn start(space: &Namespace, to: &[&str], talk: Talk) -> Self {
        let (stop, greeted) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut threads = Vec::new();
        for to in to.iter().flat_map(|to| std::iter::repeat_n(to, EACH)) {
            let to: SocketAddr = to.parse().unwrap();
            let (stop, greeted) = (Arc::clone(&stop), Arc::clone(&greeted));
            threads.push(space.spawn(move || hold(to, talk, &stop, &greeted)).unwrap());
        }
        let clients = Self { stop, threads, greeted };
        clients.wait_greeted(clients.threads.len());
        clients
    }

    fn wait_greeted(&self, count: usize) {
        wait(&format!("{count} greetings"), || self.greeted.load(SeqCst) >= count);
    }

    fn len(&self) -> usize {
        self.threads.len()
    }

    fn end(self) -> Vec<Seen> {
        self.stop.store(true, SeqCst);
        self.threads
            .into_iter()
            .map(|thread| thread.join().unwrap().unwrap())
            .collect()
    }
}

fn wait(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + IO_LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn hold(to: SocketAddr, talk: Talk, stop: &AtomicBool, greeted: &AtomicUsize) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut ended: Option<Instant> = None;
    while !stop.load(SeqCst) {
        let mut stream = TcpStream::connect_timeout(&to, IO_LIMIT)?;
        stream.set_read_timeout(Some(IO_LIMIT))?;
        let mut greeting = [0; 2];
        stream.read_exact(&mut greeting)?;
        seen.greetings.push(String::from_utf8_lossy(&greeting).into_owned());
        seen.gaps.extend(ended.map(|at| at.elapsed()));
        greeted.fetch_add(1, SeqCst);
        stream.set_read_timeout(Some(BEAT))?;
        stream.set_nodelay(true)?;
        let mut buffer = [0; 4_096];
        let end = loop {
            if stop.load(SeqCst) {
                return Ok(seen);
            }
            if talk != Talk::None
                && let Err(error) = stream.write_all(&[b'y'; 300])
            {
                break error.kind();
            }
            match stream.read(&mut buffer) {
                Ok(0) => break ErrorKind::UnexpectedEof,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => break error.kind(),
            }
            if talk == Talk::Beats {
                std::thread::sleep(BEAT);
            }
        };
        seen.ends.push(format!("{end:?}"));
        ended = Some(Instant::now());
    }
    Ok(seen)
}

/// Fields are dropped in this order.
struct Site {
    agent: Agent,
    v1: Server,
    _v2: Server,
    lab: Lab,
}

/// `other` has the same backend as v1 of `web`, in a set of the same name.
fn stack(path: &str) -> String {
    let web = ground::stack(path);
    format!(
        r#"{web}  other:
    listen: ["198.51.100.10:81/tcp"]
    path: {path}
    split: {{v1: 100}}
    sets:
      v1: {{backends: ["10.1.0.2:8080"]}}
"#
    )
}

impl Site {
    fn new(path: &str, arguments: &[&str]) -> Self {
        Self::in_lab(Lab::new().expect("a lab (root is needed)"), path, arguments)
    }

    fn in_lab(lab: Lab, path: &str, arguments: &[&str]) -> Self {
        let v1 = Server::start(lab.v1(), "v1");
        let v2 = Server::start(lab.v2(), "v2");
        let agent = Agent::start_with(&lab, arguments).unwrap();
        let file = lab.dir().join("stack.yaml");
        std::fs::write(&file, stack(path)).unwrap();
        let site = Self {
            agent,
            v1,
            _v2: v2,
            lab,
        };
        site.expect(&format!("apply -f {}", file.display()), 0);
        site
    }

    fn expect(&self, line: &str, code: i32) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.agent.cli(&words).unwrap().expect_code(&[code]).unwrap().stdout
    }

    fn json(&self, line: &str, code: i32) -> Value {
        serde_json::from_str(&self.expect(line, code)).unwrap()
    }
}

fn kept_flows_live_on_and_reset_ones_begin_anew(site: &Site) {
    let unanswered = kept_flows_live_on_and_reset_ones_begin_anew_but_for_probes(site, Talk::Busy);
    assert_eq!(unanswered, 0);
}

/// How many ends did not answer the probe in time.
fn kept_flows_live_on_and_reset_ones_begin_anew_but_for_probes(site: &Site, talk: Talk) -> u64 {
    let both = [LISTENER_V4, LISTENER_V6];
    let idle = Clients::start(site.lab.client(), &both, Talk::None);
    let busy = Clients::start(site.lab.client(), &both, talk);
    let others = Clients::start(site.lab.client(), &["198.51.100.10:81"], talk);
    let count = idle.len() + busy.len();

    let kept = site.json(
        "upgrade web --to v2 --drain-timeout 300ms --drain-action keep --json",
        4,
    );
    assert_eq!(kept["drain"]["established_left"], count, "{kept}");
    assert_eq!(kept["drain"]["reset"], 0, "{kept}");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(site.v1.open.load(SeqCst), count + others.len(), "keep ends none");

    let reset = site.json("upgrade web --to v2 --drain-timeout 0s --drain-action reset --json", 0);
    let drain = &reset["drain"];
    for (key, expected) in [("reset", count), ("reset_failed", 0), ("established_left", 0)] {
        assert_eq!(drain[key], expected, "{key}: {reset}");
    }
    let status = site.json("status web --json", 0);
    let counters = &status["aliases"][0]["sets"][0]["counters"];
    let of = |name: &str| counters[name].as_u64().unwrap();
    assert_eq!(of("flows_reset_by_drain"), count as u64, "{counters}");
    assert_eq!(
        (of("flows_reset_by_client"), of("flows_reset_by_backend")),
        (0, 0),
        "no end's own: {counters}"
    );
    idle.wait_greeted(2 * idle.len());
    busy.wait_greeted(2 * busy.len());
    wait("the backend's ends are gone", || {
        site.v1.open.load(SeqCst) == others.len()
    });
    assert_eq!(*site.v1.ends.lock().unwrap(), vec!["ConnectionReset"; count]);
    for seen in idle.end().into_iter().chain(busy.end()) {
        assert_eq!(seen.greetings, ["v1", "v2"], "{seen:?}");
        assert_eq!(seen.ends, ["ConnectionReset"], "{seen:?}");
        assert!(seen.gaps[0] < talk.gap_max(), "{seen:?}");
    }
    for seen in others.end() {
        assert_eq!(
            (seen.greetings, seen.ends),
            (vec!["v1".to_owned()], vec![]),
            "another alias's flows stay"
        );
    }
    assert!(
        site.expect("flows web --set v1", 0)
            .lines()
            .all(|line| !line.contains("established"))
    );
    drain["reset_unanswered"].as_u64().unwrap()
}

#[test]
fn what_is_left_is_reset_on_bypass() {
    kept_flows_live_on_and_reset_ones_begin_anew(&Site::new("bypass", &[]));
}

#[test]
fn what_is_left_is_reset_on_stack() {
    kept_flows_live_on_and_reset_ones_begin_anew(&Site::new("stack", &[]));
}

#[test]
fn what_is_left_is_reset_under_xdp() {
    kept_flows_live_on_and_reset_ones_begin_anew(&Site::new("auto", &["--hook", "xdp"]));
}

#[test]
fn what_is_left_is_reset_from_driver_to_driver() {
    let lab = Lab::wired(Wires::Cables).expect("a lab (root is needed)");
    let site = Site::in_lab(lab, "bypass", &ground::BY_DRIVER);
    // The cables are processes, and late with answers where all tests run at once: then the last numbers seen have to do.
    kept_flows_live_on_and_reset_ones_begin_anew_but_for_probes(&site, Talk::Beats);
}

fn link(space: &Namespace, state: &str) {
    let line = ["ip", "link", "set", "eth0", state];
    space.run(&line).unwrap().expect_code(&[0]).unwrap();
}

/// Resets idle flows of whom one end is silent; what the receipt says of them.
fn reset_of_the_silent(site: &Site, count: usize) {
    let began = Instant::now();
    let reset = site.json("upgrade web --to v2 --drain-timeout 0s --drain-action reset --json", 0);
    let took = began.elapsed();
    assert_eq!(reset["drain"]["reset"], count, "{reset}");
    assert_eq!(reset["drain"]["reset_unanswered"], count, "{reset}");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

/// Nobody but the data path knows the number that the client expects, and nobody else can tell it.
fn a_backend_that_is_gone(path: &str) {
    let site = Site::new(path, &[]);
    let clients = Clients::start(site.lab.client(), &[LISTENER_V4, LISTENER_V6], Talk::None);
    link(site.lab.v1(), "down");
    reset_of_the_silent(&site, clients.len());
    clients.wait_greeted(2 * clients.len());
    for seen in clients.end() {
        assert_eq!(
            (&seen.greetings[..], &seen.ends[..]),
            (
                &["v1".to_owned(), "v2".to_owned()][..],
                &["ConnectionReset".to_owned()][..]
            )
        );
    }
}

#[test]
fn clients_of_a_backend_that_is_gone_are_reset_on_bypass() {
    a_backend_that_is_gone("bypass");
}

#[test]
fn clients_of_a_backend_that_is_gone_are_reset_on_stack() {
    a_backend_that_is_gone("stack");
}

#[test]
fn a_client_that_is_gone_is_not_waited_for() {
    let site = Site::new("stack", &[]);
    let clients = Clients::start(site.lab.client(), &[LISTENER_V4, LISTENER_V6], Talk::None);
    link(site.lab.client(), "down");
    reset_of_the_silent(&site, clients.len());
    wait("the backend's ends are gone", || site.v1.open.load(SeqCst) == 0);
    clients.end();
}

#[test]
fn under_masquerade_and_invalid_drop_both_ends_are_reset() {
    for path in ["stack", "bypass"] {
        let site = Site::new(path, &[]);
        add_rules(&site.lab, RULES);
        kept_flows_live_on_and_reset_ones_begin_anew(&site);
    }
}
