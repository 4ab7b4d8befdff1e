//! Names of aliases: asked for by a client of the host, packet by packet and by its own resolver.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use switcher_tests::interrupt;
use switcher_tests::lab::{Lab, Outcome, run};

use crate::ground::{Ground, stack};

/// The host, as the lab's client sees it.
const SERVER: &str = "10.0.0.1:53";
/// An agent that has just begun takes its programs first, then questions.
const IO_LIMIT: Duration = Duration::from_secs(30);
/// More addresses than a plain datagram takes.
const MANY: usize = 40;

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

/// By UDP, without EDNS.
fn ask(lab: &Lab, name: &str, kind: RecordType) -> Message {
    let packet = question(name, kind);
    let asked = lab.client().spawn(move || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(IO_LIMIT))?;
        socket.connect(SERVER)?;
        socket.send(&packet)?;
        let mut answer = [0; 4_096];
        let length = socket.recv(&mut answer)?;
        Ok(Message::from_vec(&answer[..length])?)
    });
    asked.unwrap().join().unwrap().unwrap()
}

fn ask_by_tcp(lab: &Lab, name: &str, kind: RecordType) -> Message {
    let packet = question(name, kind);
    let asked = lab.client().spawn(move || {
        let server: SocketAddr = SERVER.parse()?;
        let mut stream = TcpStream::connect_timeout(&server, IO_LIMIT)?;
        stream.set_read_timeout(Some(IO_LIMIT))?;
        stream.write_all(&u16::try_from(packet.len())?.to_be_bytes())?;
        stream.write_all(&packet)?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer)?;
        Ok(Message::from_vec(&answer)?)
    });
    asked.unwrap().join().unwrap().unwrap()
}

fn addresses(answer: &Message) -> Vec<String> {
    let addresses = answer.answers.iter().map(|record| match &record.data {
        RData::A(v4) => v4.to_string(),
        RData::AAAA(v6) => v6.to_string(),
        other => panic!("not asked for: {other}"),
    });
    addresses.collect()
}

fn code(lab: &Lab, name: &str) -> ResponseCode {
    ask(lab, name, RecordType::A).metadata.response_code
}

/// A name is not there: with how long that may be kept.
fn expect_nothing(answer: &Message, code: ResponseCode) {
    assert_eq!(answer.metadata.response_code, code, "{answer}");
    assert!(answer.answers.is_empty(), "{answer}");
    assert_eq!(answer.authorities.len(), 1, "{answer}");
    assert_eq!(answer.authorities[0].ttl, 5, "{answer}");
}

/// A command of the client with the C library's own resolver, which asks the agent.
fn with_resolver(lab: &Lab, search: &str, command: &str) -> Outcome {
    let file = lab.dir().join("resolv.conf");
    let server = SERVER.trim_end_matches(":53");
    std::fs::write(
        &file,
        format!("nameserver {server}\nsearch {search}\noptions timeout:2 attempts:1\n"),
    )
    .unwrap();
    let script = format!("mount --bind {} /etc/resolv.conf && exec {command}", file.display());
    lab.client().run(&["unshare", "--mount", "sh", "-c", &script]).unwrap()
}

#[test]
fn a_client_asks_for_aliases_and_is_answered() {
    let ground = Ground::bare_with(&["--dns", SERVER]);
    let lab = &ground.lab;
    expect_nothing(
        &ask(lab, "web.switcher.internal.", RecordType::A),
        ResponseCode::NXDomain,
    );
    ground.apply(&stack("auto")).expect_code(&[0]).unwrap();
    for name in ["web.switcher.internal.", "WEB.Switcher.Internal.", "web."] {
        for (kind, address) in [(RecordType::A, "198.51.100.10"), (RecordType::AAAA, "2001:db8::10")] {
            for answer in [ask(lab, name, kind), ask_by_tcp(lab, name, kind)] {
                assert_eq!(addresses(&answer), [address], "{name} {kind}");
                assert_eq!(answer.answers[0].ttl, 5);
            }
        }
    }
    expect_nothing(
        &ask(lab, "web.switcher.internal.", RecordType::MX),
        ResponseCode::NoError,
    );
    expect_nothing(&ask(lab, "switcher.internal.", RecordType::A), ResponseCode::NoError);
    expect_nothing(
        &ask(lab, "nosuch.switcher.internal.", RecordType::A),
        ResponseCode::NXDomain,
    );
    for foreign in ["example.com.", "web.example.com.", "nosuch.", "web.xswitcher.internal."] {
        assert_eq!(code(lab, foreign), ResponseCode::Refused, "{foreign}");
    }

    // By name to the version that has the share, as a container would.
    let curl = "curl -sS --max-time 5 http://web/";
    let v1 = with_resolver(lab, "switcher.internal", curl).expect_code(&[0]).unwrap();
    assert_eq!(v1.stdout.trim(), "v1");
    ground.expect("split web v2=1", 0);
    let v2 = with_resolver(lab, "switcher.internal", curl).expect_code(&[0]).unwrap();
    assert_eq!(v2.stdout.trim(), "v2");

    ground.expect("alias rm web", 0);
    for name in ["web.switcher.internal.", "web."] {
        let answer = ask(lab, name, RecordType::A);
        assert_ne!(answer.metadata.response_code, ResponseCode::NoError, "{name}");
        assert!(answer.answers.is_empty(), "a removed alias is answered: {answer}");
    }
    let gone = with_resolver(lab, "switcher.internal", "getent hosts web");
    gone.expect_code(&[2]).unwrap();
}

/// As at boot: Docker makes the bridge that has the address after the agent has begun.
#[test]
fn an_address_that_comes_after_the_agent_is_answered_at() {
    for (late, length, kind, alias) in [
        ("10.0.0.53", "32", RecordType::A, "198.51.100.10"),
        ("2001:db8::53", "128", RecordType::AAAA, "2001:db8::10"),
    ] {
        let place = SocketAddr::new(late.parse().unwrap(), 53);
        let ground = Ground::bare_with(&["--dns", &place.to_string()]);
        ground.apply(&stack("auto")).expect_code(&[0]).unwrap();
        assert_eq!(ground.get("http://198.51.100.10/"), "v1", "the agent serves meanwhile");
        let host = ground.lab.host();
        let ask = || {
            let packet = question("web.", kind);
            let asked = host.spawn(move || {
                let socket = UdpSocket::bind(if place.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
                socket.set_read_timeout(Some(Duration::from_secs(1)))?;
                socket.connect(place)?;
                socket.send(&packet)?;
                let mut answer = [0; 512];
                let length = socket.recv(&mut answer)?;
                Ok(Message::from_vec(&answer[..length])?)
            });
            asked.unwrap().join().unwrap()
        };
        assert!(ask().is_err(), "{late} is not there yet");
        let add = ["ip", "addr", "add", &format!("{late}/{length}"), "dev", "lo"];
        host.run(&add).unwrap().expect_code(&[0]).unwrap();
        interrupt::wait_for("the name is answered", IO_LIMIT, || {
            let answer = ask().ok().map(|answer| addresses(&answer));
            assert!(answer.as_ref().is_none_or(|all| *all == [alias]), "{late}: {answer:?}");
            Ok(answer.is_some())
        })
        .unwrap();
    }
}

#[test]
fn a_large_answer_is_cut_as_a_datagram_and_whole_by_tcp() {
    let ground = Ground::bare_with(&["--dns", SERVER]);
    let lab = &ground.lab;
    let all: Vec<String> = (0..MANY).map(|last| format!("198.51.100.{}", 100 + last)).collect();
    let listen: Vec<String> = all.iter().map(|address| format!("\"{address}:80/tcp\"")).collect();
    let text = stack("auto").replace("\"198.51.100.10:80/tcp\"", &listen.join(", "));
    ground.apply(&text).expect_code(&[0]).unwrap();

    let cut = ask(lab, "web.switcher.internal.", RecordType::A);
    assert!(cut.metadata.truncation && cut.answers.len() < MANY, "{cut}");
    let whole = ask_by_tcp(lab, "web.switcher.internal.", RecordType::A);
    assert!(!whole.metadata.truncation);
    assert_eq!(addresses(&whole), all);
    // The resolver asks again by itself.
    let resolved = with_resolver(lab, "switcher.internal", "getent ahostsv4 web");
    let resolved = resolved.expect_code(&[0]).unwrap().stdout;
    let streams = resolved.lines().filter(|line| line.contains("STREAM")).count();
    assert_eq!(streams, MANY, "{resolved}");
}

#[test]
fn another_zone_is_answered_and_the_default_one_is_not() {
    let ground = Ground::bare_with(&["--dns", SERVER, "--dns-zone", "Shop.example"]);
    let lab = &ground.lab;
    ground.apply(&stack("auto")).expect_code(&[0]).unwrap();
    for name in ["web.shop.example.", "web."] {
        assert_eq!(addresses(&ask(lab, name, RecordType::A)), ["198.51.100.10"], "{name}");
    }
    expect_nothing(&ask(lab, "nosuch.shop.example.", RecordType::A), ResponseCode::NXDomain);
    for foreign in ["web.switcher.internal.", "switcher.internal.", "example."] {
        assert_eq!(code(lab, foreign), ResponseCode::Refused, "{foreign}");
    }
    let by_name = with_resolver(lab, "shop.example", "getent ahostsv4 web")
        .expect_code(&[0])
        .unwrap();
    assert!(by_name.stdout.starts_with("198.51.100.10 "), "{}", by_name.stdout);
}

#[test]
fn a_zone_that_cannot_be_is_refused_at_the_start() {
    let ground = Ground::bare();
    for (arguments, said) in [
        (
            "--dns 127.0.0.1:53 --dns-zone 10.0.0.1",
            "write it as switcher.internal",
        ),
        ("--dns 127.0.0.1:53 --dns-zone a..b", "has a label that is empty"),
        ("--dns 127.0.0.1:53 --dns-zone a_b", "use a-z, 0-9 and '-'"),
        ("--dns-zone shop.example", "--dns <ADDR:PORT>"),
    ] {
        let outcome = ground.expect(&format!("agent {arguments}"), 2);
        assert!(outcome.stderr.contains(said), "{arguments}: {}", outcome.stderr);
    }
}

/// What `compose up` asks for: an alias at an address of the pool.
fn apply_inside(ground: &Ground, alias: &str) -> (u16, String) {
    let document = serde_json::json!({
        "spec": {"stack": "shop", "aliases": {alias: {
            "listen": [],
            "split": {"v1": 1},
            "sets": {"v1": {"backends": ["10.1.0.2:8080"]}},
        }}},
        "places": {alias: {"inside": [{"port": 80, "protocol": "tcp"}]}},
    });
    let (document, socket) = (document.to_string(), ground.agent.socket().display().to_string());
    let json = "content-type: application/json";
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--unix-socket", &socket, "-H", json, "-d", &document]);
    curl.args(["-w", "\n%{http_code}", "http://agent/v1/apply"]);
    let stdout = run(&mut curl, IO_LIMIT).unwrap().expect_code(&[0]).unwrap().stdout;
    let (body, status) = stdout.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

fn address_of(ground: &Ground, alias: &str) -> Vec<String> {
    addresses(&ask(&ground.lab, &format!("{alias}.switcher.internal."), RecordType::A))
}

#[test]
fn a_pool_that_is_used_up_refuses_and_each_alias_keeps_its_address() {
    let mut ground = Ground::bare_with(&["--dns", SERVER, "--pool", "198.18.255.0/30"]);
    let (status, body) = apply_inside(&ground, "first");
    assert_eq!(status, 200, "{body}");
    assert_eq!(address_of(&ground, "first"), ["198.18.255.2"]);
    assert_eq!(ground.get("http://198.18.255.2/"), "v1");

    let before = (ground.epoch(), ground.json("alias ls --json"));
    let (status, body) = apply_inside(&ground, "second");
    assert!((400..500).contains(&status), "{status} {body}");
    assert!(body.contains("198.18.255.0/30") && body.contains("--pool"), "{body}");
    assert_eq!(
        (ground.epoch(), ground.json("alias ls --json")),
        before,
        "nothing changed"
    );
    expect_nothing(
        &ask(&ground.lab, "second.switcher.internal.", RecordType::A),
        ResponseCode::NXDomain,
    );

    // What the sentence says helps, and nobody moves.
    ground.agent.stop().unwrap();
    let larger = ["--dns", SERVER, "--pool", "198.18.255.0/29"];
    ground.agent.launch_with(&larger).unwrap();
    let (status, body) = apply_inside(&ground, "second");
    assert_eq!(status, 200, "{body}");
    let expected = [["198.18.255.2"], ["198.18.255.3"]];
    assert_eq!(["first", "second"].map(|alias| address_of(&ground, alias)), expected);
    ground.agent.kill().unwrap();
    ground.agent.launch().unwrap();
    assert_eq!(["first", "second"].map(|alias| address_of(&ground, alias)), expected);
    let (status, body) = apply_inside(&ground, "first");
    assert_eq!(status, 200, "{body}");
    assert_eq!(["first", "second"].map(|alias| address_of(&ground, alias)), expected);
    assert_eq!(ground.get("http://198.18.255.3/"), "v1");
}
