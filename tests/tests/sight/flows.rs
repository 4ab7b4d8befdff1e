//! `switcher flows`.

use serde_json::Value;
use switcher_tests::lab::{Agent, V1_V4};

use crate::ground::{Ground, Kept, stack};

fn listed(ground: &Ground, line: &str) -> (u64, Vec<Value>) {
    let document = ground.json(&format!("{line} --json"));
    assert_eq!(document["schema"], 1, "{document}");
    let flows = document["flows"].as_array().unwrap().clone();
    (document["total"].as_u64().unwrap(), flows)
}

fn established<'a>(flows: &'a [Value], set: &str) -> Vec<&'a Value> {
    let wanted = |flow: &&Value| flow["state"] == "established" && flow["set"] == set;
    flows.iter().filter(wanted).collect()
}

#[test]
fn flows_are_listed_with_what_they_carried() {
    let ground = Ground::new("stack");
    let mut kept = Kept::open(ground.lab.client(), "198.51.100.10:80");
    kept.ask();
    std::thread::sleep(std::time::Duration::from_millis(300));
    kept.ask();
    ground.expect("upgrade web --to v2 --drain-timeout 0s", 4);
    let mut kept_v6 = Kept::open(ground.lab.client(), "[2001:db8::10]:80");
    kept_v6.ask();
    let (total, flows) = listed(&ground, "flows web");
    assert_eq!(total, flows.len() as u64);
    let [old] = established(&flows, "v1")[..] else {
        panic!("one flow of v1: {flows:?}")
    };
    assert_eq!(
        (&old["listener"], &old["backend"]),
        (&"198.51.100.10:80".into(), &V1_V4.into())
    );
    assert_eq!((&old["path"], &old["protocol"]), (&"stack".into(), &"tcp".into()));
    assert!(old["client"].as_str().unwrap().starts_with("10.0.0.2:"), "{old}");
    assert!(
        old["age_ms"].as_u64() >= Some(300) && old["age_ms"].as_u64() > old["idle_ms"].as_u64(),
        "{old}"
    );
    // A handshake and two requests with their answers.
    assert!(
        old["packets_in"].as_u64() >= Some(4) && old["packets_out"].as_u64() >= Some(3),
        "{old}"
    );
    assert!(
        old["bytes_in"].as_u64() >= Some(4 * 40 + 60) && old["bytes_out"].as_u64() > Some(300),
        "{old}"
    );
    let [new] = established(&flows, "v2")[..] else {
        panic!("one flow of v2: {flows:?}")
    };
    assert_eq!(new["listener"], "[2001:db8::10]:80");
    assert!(new["epoch"].as_u64() > old["epoch"].as_u64(), "{new}");
    assert!(new["client"].as_str().unwrap().starts_with("[fd00:c::2]:"), "{new}");
    let (of_v1, only) = listed(&ground, "flows web --set v1");
    assert!(of_v1 >= 1 && only.iter().all(|flow| flow["set"] == "v1"), "{only:?}");
    let (address, port) = V1_V4.rsplit_once(':').unwrap();
    let old_there = [
        (format!("--backend {address}"), true),
        (format!("--backend {V1_V4}"), true),
        (format!("--backend [fd00:99::1] --backend {address}"), true),
        (format!("--backend {address}:1{port}"), false),
        ("--backend 10.1.99.99".to_owned(), false),
    ];
    for (words, there) in old_there {
        let (total, only) = listed(&ground, &format!("flows web {words}"));
        assert_eq!(!established(&only, "v1").is_empty(), there, "{words}");
        assert!(
            total == only.len() as u64 && only.iter().all(|flow| flow["set"] == "v1"),
            "{words}: {only:?}"
        );
    }
    ground.expect("flows web --backend app", 2);
    let live = ground.json("flows web --json --limit 1")["live"].as_u64().unwrap();
    let (_, flows) = listed(&ground, "flows web");
    let closing = flows.iter().filter(|flow| flow["state"] == "closing").count() as u64;
    assert!(
        live >= 2 && live + closing == total,
        "{live} of {total}, {closing} closing"
    );
    let table = ground.expect("flows web", 0).stdout;
    assert!(
        table.contains(old["client"].as_str().unwrap()) && table.contains(&format!("{total} flow")),
        "{table}"
    );
}

#[test]
fn a_list_is_bounded_has_the_oldest_and_says_how_many_there_are() {
    let ground = Ground::new("auto");
    let mut kept: Vec<Kept> = (0..6)
        .map(|_| Kept::open(ground.lab.client(), "198.51.100.10:80"))
        .collect();
    kept.iter_mut().for_each(|one| drop(one.ask()));
    let (_, all) = listed(&ground, "flows web");
    assert!(all.len() >= 6);
    let ages: Vec<u64> = all.iter().map(|flow| flow["age_ms"].as_u64().unwrap()).collect();
    assert!(ages.is_sorted_by(|older, younger| older >= younger), "{ages:?}");
    let (total, some) = listed(&ground, "flows web --limit 2");
    assert_eq!((some.len(), total), (2, all.len() as u64));
    for (one, other) in some.iter().zip(&all) {
        assert_eq!(one["client"], other["client"], "the oldest are listed");
    }
    let table = ground.expect("flows web --limit 2", 0).stdout;
    assert!(table.contains(&format!("2 of {total} flows, the oldest")), "{table}");
}

#[test]
fn what_is_not_there_is_an_error() {
    let ground = Ground::new("auto");
    for (line, words) in [
        ("flows shop", ["shop", "web"]),
        ("flows web --set v3", ["v3", "v1, v2"]),
    ] {
        let outcome = ground.expect(line, 1);
        assert!(
            words.iter().all(|word| outcome.stderr.contains(word)),
            "{line}: {}",
            outcome.stderr
        );
        assert!(outcome.stdout.is_empty(), "{line}: {}", outcome.stdout);
    }
    ground.expect("flows web --limit 0", 2);
    let url = "http://switcher/v1/aliases/web/flows?limit=99999999";
    let socket = ground.agent.socket().display().to_string();
    let words = ["curl", "-sS", "--max-time", "5", "--unix-socket", &socket, url];
    let answer = ground.lab.host().run(&words).unwrap();
    assert!(
        answer.stdout.contains("\"code\":\"invalid\"") && answer.stdout.contains("65536"),
        "{}",
        answer.stdout
    );
}

#[test]
fn flows_that_were_listed_are_listed_by_the_next_agent() {
    let mut ground = Ground::new("auto");
    let mut kept = Kept::open(ground.lab.client(), "198.51.100.10:80");
    kept.ask();
    let of = |agent: &Agent| agent.cli(&["flows", "web", "--set", "v1", "--json"]).unwrap().stdout;
    let client = |text: &str| -> Vec<Value> {
        let document: Value = serde_json::from_str(text).unwrap();
        let flows = document["flows"].as_array().unwrap().clone();
        flows
            .into_iter()
            .filter(|flow| flow["state"] == "established")
            .collect()
    };
    let before = client(&of(&ground.agent));
    ground.agent.kill().unwrap();
    kept.ask();
    ground.agent.launch().unwrap();
    let after = client(&of(&ground.agent));
    assert_eq!((before.len(), after.len()), (1, 1));
    for field in ["client", "listener", "backend", "set", "epoch", "path"] {
        assert_eq!(before[0][field], after[0][field], "{field}");
    }
    assert!(
        after[0]["packets_in"].as_u64() > before[0]["packets_in"].as_u64(),
        "{after:?}"
    );
    assert!(after[0]["age_ms"].as_u64() > before[0]["age_ms"].as_u64(), "{after:?}");
    ground.apply(&stack("auto")).expect_code(&[0]).unwrap();
}
