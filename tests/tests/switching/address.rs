//! Addresses of listeners that the agent adds to the host: clients find them, and only ours are ever taken away.

use std::fs;
use std::time::{Duration, Instant};

use switcher_tests::interrupt;
use switcher_tests::lab::{Nginx, Outcome};

use crate::ground::{Ground, Kept};

const V4: &str = "10.0.0.50";
const V6: &str = "fd00:c::50";
const LIMIT: Duration = Duration::from_secs(20);

/// The stack file: on the client's link, where no device has these addresses.
fn stack(path: &str) -> String {
    format!(
        r#"version: 1
stack: shop
aliases:
  web:
    listen: ["{V4}:80/tcp", "[{V6}]:80/tcp"]
    add_addresses: true
    path: {path}
    split: {{v1: 100}}
    sets:
      v1: {{backends: ["10.1.0.2:8080", "[fd00::2]:8080"]}}
      v2: {{backends: ["10.1.1.2:8080", "[fd00:1::2]:8080"]}}
"#
    )
}

fn host(ground: &Ground, line: &str) -> Outcome {
    let words: Vec<&str> = line.split_whitespace().collect();
    ground.lab.host().run(&words).unwrap().expect_code(&[0]).unwrap()
}

/// All addresses of the host, sorted, as `10.0.0.1/24 client`.
fn addresses(ground: &Ground) -> Vec<String> {
    let shown = host(ground, "ip -o address show").stdout;
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{} {}", words[3], words[1])
    };
    // Link-local addresses come by themselves.
    let mut all: Vec<String> = shown
        .lines()
        .map(line)
        .filter(|text| !text.starts_with("fe80:"))
        .collect();
    all.sort_unstable();
    all
}

fn with(before: &[String], more: &[&str]) -> Vec<String> {
    let mut all = before.to_vec();
    all.extend(more.iter().map(|&text| text.to_owned()));
    all.sort_unstable();
    all
}

const OURS: [&str; 2] = ["10.0.0.50/32 lo", "fd00:c::50/128 client"];

fn answers(ground: &Ground) -> [String; 2] {
    [V4, "[fd00:c::50]"].map(|at| ground.get(&format!("http://{at}/")))
}

fn wait_for(what: &str, ground: &Ground, expected: &[String]) {
    let waited = interrupt::wait_for(what, LIMIT, || Ok(addresses(ground) == expected));
    waited.unwrap_or_else(|error| panic!("{error:#}; there are {:?}", addresses(ground)));
}

fn served(arguments: &[&str], path: &str) {
    let ground = Ground::bare_with(arguments);
    let before = addresses(&ground);
    ground.apply(&stack(path)).expect_code(&[0]).unwrap();
    assert_eq!(addresses(&ground), with(&before, &OURS));
    assert_eq!(answers(&ground), ["v1", "v1"]);
    ground.expect("upgrade web --to v2 --drain-timeout 10s", 0);
    assert_eq!(answers(&ground), ["v2", "v2"]);
    let status = ground.json("status --json");
    let shown: Vec<_> = status["addresses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["interface"].as_str().unwrap(),
                one["alias"].as_str().unwrap(),
                one["added"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(shown, [("lo", "web", true), ("client", "web", true)]);
    let said = ground.expect("status", 0).stdout;
    assert!(
        said.contains("address      10.0.0.50 on lo: added by the agent, for alias web"),
        "{said}"
    );
    // The host itself never speaks from them.
    for (to, ours) in [("10.1.0.2", V4), ("fd00::2", V6), ("10.0.0.2", V4), ("fd00:c::2", V6)] {
        let route = host(&ground, &format!("ip route get {to}")).stdout;
        assert!(!route.contains(ours), "{route}");
    }
    ground.expect("alias rm web", 0);
    wait_for("ours are gone", &ground, &before);
}

#[test]
fn clients_reach_an_address_that_was_not_there_on_bypass() {
    served(&[], "bypass");
}

#[test]
fn clients_reach_an_address_that_was_not_there_on_stack() {
    served(&[], "stack");
}

#[test]
fn clients_reach_an_address_that_was_not_there_by_xdp() {
    served(&["--hook", "xdp"], "auto");
}

/// Without it nobody on the link gets an answer, and that is said; a loopback backend can have it, too.
#[test]
fn a_loopback_process_is_reached_at_an_address_that_the_agent_adds() {
    let ground = Ground::bare();
    let before = addresses(&ground);
    let _process = Nginx::start_on_loopback(&ground.lab, "host-v1", 8081).unwrap();
    let warned = ground.expect("alias put web --listen 10.0.0.50:80/tcp", 0).stdout;
    assert!(
        warned.contains("warning: ") && warned.contains("--add-addresses"),
        "{warned}"
    );
    assert_eq!(addresses(&ground), before);
    ground.expect("alias put web --listen 10.0.0.50:80/tcp --add-addresses", 0);
    ground.expect("set put web v1 --backend 127.0.0.1:8081", 0);
    ground.expect("split web v1=1", 0);
    assert_eq!(ground.get("http://10.0.0.50/"), "host-v1");
}

#[test]
fn an_address_that_another_host_has_is_refused_with_its_link_address() {
    let ground = Ground::bare();
    let before = addresses(&ground);
    for address in ["10.0.0.50/32", "fd00:c::50/128"] {
        let words = ["ip", "address", "add", address, "dev", "eth0"];
        ground.lab.client().run(&words).unwrap().expect_code(&[0]).unwrap();
    }
    let shown = ground
        .lab
        .client()
        .run(&["ip", "-o", "link", "show", "eth0"])
        .unwrap()
        .stdout;
    let words: Vec<&str> = shown.split_whitespace().collect();
    let link_address = words[words.iter().position(|word| *word == "link/ether").unwrap() + 1];
    let epoch = ground.epoch();
    for (at, line) in [(V4, 5), (V6, 5)] {
        let text = if at == V4 {
            stack("auto")
        } else {
            stack("auto").replace("\"10.0.0.50:80/tcp\", ", "")
        };
        let refused = ground.apply(&text);
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        for word in [
            at,
            link_address,
            "--force",
            &format!("stack.yaml:{line}:"),
            "aliases.web.listen[0]",
        ] {
            assert!(refused.stderr.contains(word), "no '{word}' in: {}", refused.stderr);
        }
    }
    assert_eq!((ground.epoch(), addresses(&ground)), (epoch, before.clone()));
    // Who says so gets it; whose packets come is then between the two.
    ground.expect("alias put web --listen 10.0.0.50:80/tcp --add-addresses --force", 0);
    assert_eq!(addresses(&ground), with(&before, &OURS[..1]));
}

#[test]
fn a_host_that_would_not_answer_for_it_is_refused() {
    let ground = Ground::bare();
    host(&ground, "sysctl -qw net.ipv4.conf.client.arp_ignore=1");
    let refused = ground.expect("alias put web --listen 10.0.0.50:80/tcp --add-addresses", 1);
    assert!(
        refused.stderr.contains("net.ipv4.conf.client.arp_ignore"),
        "{}",
        refused.stderr
    );
}

#[test]
fn addresses_that_were_there_before_stay() {
    let ground = Ground::bare();
    // As ours in everything but the mark, and with the prefix of a usual one.
    host(&ground, "ip address add 10.0.0.50/32 dev lo scope host");
    host(&ground, "ip address add fd00:c::50/64 dev client nodad");
    let before = addresses(&ground);
    ground.apply(&stack("auto")).expect_code(&[0]).unwrap();
    assert_eq!(answers(&ground), ["v1", "v1"]);
    ground.expect("alias rm web", 0);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(addresses(&ground), before);
    ground.apply(&stack("auto")).expect_code(&[0]).unwrap();
    ground.expect("detach", 0);
    assert_eq!(addresses(&ground), before);
}

#[test]
fn an_address_stays_for_the_flows_that_name_it() {
    let ground = Ground::bare();
    let before = addresses(&ground);
    ground.apply(&stack("stack")).expect_code(&[0]).unwrap();
    let mut kept = Kept::open(ground.lab.client(), "10.0.0.50:80");
    assert_eq!(kept.ask(), "v1");
    ground.expect("alias rm web", 0);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(addresses(&ground), with(&before, &OURS[..1]));
    // The client asks again who has it.
    ground.lab.client().run(&["ip", "neigh", "flush", "all"]).unwrap();
    assert_eq!(kept.ask(), "v1");
    drop(kept);
    wait_for("it goes with its last flow", &ground, &before);
}

#[test]
fn detach_takes_them_with_and_without_an_agent() {
    let mut ground = Ground::bare();
    let before = addresses(&ground);
    ground.apply(&stack("auto")).expect_code(&[0]).unwrap();
    let said = ground.expect("detach", 0).stdout;
    assert!(said.contains("address 10.0.0.50 of lo"), "{said}");
    assert_eq!(addresses(&ground), before);
    ground.agent.stop().unwrap();
    ground.agent.launch().unwrap();
    ground.epoch();
    // What was wanted is wanted still; the agent serves before it has asked whether anybody has an address.
    wait_for("ours are there again", &ground, &with(&before, &OURS));
    ground.agent.kill().unwrap();
    assert_eq!(answers(&ground), ["v1", "v1"]);
    let dir = ground.lab.dir().display().to_string();
    let binary = switcher_tests::binaries::switcher().unwrap().display().to_string();
    host(
        &ground,
        &format!("{binary} detach --host unix://{dir}/switcher.sock --bpffs {dir}/bpffs --state-dir {dir}/state"),
    );
    assert_eq!(addresses(&ground), before);
}

/// What is on the disk and on the host when an agent dies at a worst moment, and what the next one makes of it.
#[test]
fn an_agent_that_died_between_record_and_answer_leaves_nothing() {
    let mut ground = Ground::bare();
    let before = addresses(&ground);
    let state = ground.lab.dir().join("state").join("desired.json");
    for address_is_there in [true, false] {
        // Its socket is there before its state is.
        ground.epoch();
        let unasked = fs::read(&state).unwrap();
        ground.apply(&stack("auto")).expect_code(&[0]).unwrap();
        ground.agent.kill().unwrap();
        // It died before the change itself was on the disk.
        fs::write(&state, unasked).unwrap();
        if !address_is_there {
            host(&ground, "ip address del 10.0.0.50/32 dev lo");
            host(&ground, "ip address del fd00:c::50/128 dev client");
        }
        ground.agent.launch().unwrap();
        ground.epoch();
        assert_eq!(addresses(&ground), before);
        let record = fs::read_to_string(ground.lab.dir().join("state").join("addresses.json")).unwrap();
        assert_eq!(record.trim(), "[]");
    }
}

/// Killed as soon as the address can be seen, or a little before or after.
#[test]
fn an_agent_killed_around_the_adding_leaves_all_or_nothing() {
    let mut ground = Ground::bare();
    let before = addresses(&ground);
    let socket = ground.agent.socket();
    let binary = switcher_tests::binaries::switcher().unwrap();
    let mut kept = 0;
    for turn in 0..8_u64 {
        let mut command = std::process::Command::new(&binary);
        command.args([
            "alias",
            "put",
            "web",
            "--listen",
            "10.0.0.50:80/tcp",
            "--add-addresses",
            "--force",
        ]);
        command.env("SWITCHER_HOST", format!("unix://{}", socket.display()));
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut command = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(5 + 6 * turn));
        ground.agent.kill().unwrap();
        command.wait().unwrap();
        ground.agent.launch().unwrap();
        let wanted = ground.json("status --json")["aliases"] != serde_json::json!([]);
        let expected = if wanted {
            with(&before, &OURS[..1])
        } else {
            before.clone()
        };
        wait_for("as the alias says", &ground, &expected);
        if wanted {
            kept += 1;
            ground.expect("alias rm web", 0);
        }
        wait_for("nothing is left", &ground, &before);
    }
    println!("{kept} of 8 had been done when the agent died");
}

/// An interface that goes down loses its IPv6 addresses.
#[test]
fn an_address_that_the_host_lost_comes_back() {
    let ground = Ground::bare();
    ground.apply(&stack("auto")).expect_code(&[0]).unwrap();
    host(&ground, "ip address del 10.0.0.50/32 dev lo");
    host(&ground, "ip link set client down");
    host(&ground, "ip link set client up");
    let deadline = Instant::now() + LIMIT;
    while !OURS.iter().all(|one| addresses(&ground).contains(&(*one).to_owned())) {
        assert!(Instant::now() < deadline, "there are {:?}", addresses(&ground));
        std::thread::sleep(Duration::from_millis(200));
    }
}
