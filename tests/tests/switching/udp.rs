//! UDP through the switch: every ping is answered, before, during and after an upgrade.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::thread::JoinHandle;
use std::time::Duration;

use switcher_tests::lab::Namespace;
use switcher_tests::traffic::Echo;

use crate::ground::Ground;

const REPLY_LIMIT: Duration = Duration::from_secs(2);

/// Who answered each of `count` pings of one conversation.
fn ping(space: &Namespace, to: &str, count: usize, pause: Duration) -> JoinHandle<anyhow::Result<Vec<String>>> {
    let to: SocketAddr = to.parse().unwrap();
    let pings = move || {
        let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
        socket.set_read_timeout(Some(REPLY_LIMIT)).unwrap();
        socket.connect(to).unwrap();
        let answers = (0..count)
            .map(|number| {
                std::thread::sleep(pause);
                socket.send(format!("ping {number}").as_bytes()).unwrap();
                let mut buffer = [0; 2_048];
                let size = socket
                    .recv(&mut buffer)
                    .unwrap_or_else(|error| panic!("ping {number} is lost: {error}"));
                let answer = String::from_utf8_lossy(&buffer[..size]).into_owned();
                let (name, rest) = answer.split_once(' ').unwrap();
                assert_eq!(rest, format!("ping {number}"));
                name.to_owned()
            })
            .collect();
        Ok(answers)
    };
    space.spawn(pings).unwrap()
}

pub fn stack(path: &str, policy: &str) -> String {
    format!(
        r#"version: 1
stack: names
aliases:
  dns:
    listen: ["198.51.100.20:53/udp", "[2001:db8::20]:53/udp"]
    path: {path}
    udp: {policy}
    split: {{v1: 100}}
    sets:
      v1: {{backends: ["10.1.0.2:5353", "[fd00::2]:5353"]}}
      v2: {{backends: ["10.1.1.2:5353", "[fd00:1::2]:5353"]}}
"#
    )
}

fn pings_across_an_upgrade(hook: &str, path: &str, policy: &str) {
    let ground = Ground::bare_with(&["--hook", hook]);
    let _v1 = Echo::start(ground.lab.v1(), "v1", 5353).unwrap();
    let _v2 = Echo::start(ground.lab.v2(), "v2", 5353).unwrap();
    ground.apply(&stack(path, policy)).expect_code(&[0]).unwrap();
    let listeners = ["198.51.100.20:53", "[2001:db8::20]:53"];
    let long: Vec<_> = (0..8)
        .map(|i| ping(ground.lab.client(), listeners[i % 2], 300, Duration::from_millis(5)))
        .collect();
    std::thread::sleep(Duration::from_millis(600));
    ground
        .cli("upgrade dns --to v2 --drain-timeout 0s")
        .expect_code(&[0, 4])
        .unwrap();
    for listener in listeners {
        let new = ping(ground.lab.client(), listener, 3, Duration::ZERO)
            .join()
            .unwrap()
            .unwrap();
        assert_eq!(new, ["v2", "v2", "v2"], "a new conversation after the command returned");
    }
    for conversation in long {
        let answers = conversation.join().expect("no ping is lost").unwrap();
        assert_eq!((answers.len(), answers[0].as_str()), (300, "v1"));
        let who: BTreeSet<_> = answers.iter().map(String::as_str).collect();
        match policy {
            "stay" => assert_eq!(who, BTreeSet::from(["v1"])),
            _ => assert_eq!(answers[299], "v2"),
        }
        let switches = answers.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(switches, usize::from(policy == "move"), "once, and never back");
    }
}

#[test]
fn conversations_stay_on_bypass() {
    pings_across_an_upgrade("tc", "bypass", "stay");
}

#[test]
fn conversations_stay_on_stack() {
    pings_across_an_upgrade("tc", "stack", "stay");
}

#[test]
fn conversations_move_on_bypass() {
    pings_across_an_upgrade("tc", "bypass", "move");
}

#[test]
fn conversations_move_on_stack() {
    pings_across_an_upgrade("tc", "stack", "move");
}

#[test]
fn conversations_stay_on_xdp() {
    pings_across_an_upgrade("xdp", "stack", "stay");
}

#[test]
fn conversations_move_on_xdp() {
    pings_across_an_upgrade("xdp", "stack", "move");
}
