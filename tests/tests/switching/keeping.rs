//! Invariants I2 and I7: connections stay where they are.

use switcher_tests::lab::{Agent, LISTENER_V4, LISTENER_V6, Lab, Nginx, V1_V4};

use crate::ground::{Ground, Kept, stack};

#[test]
fn a_connection_that_existed_before_the_attach_lives_on() {
    let lab = Lab::new().unwrap();
    let _v1 = Nginx::start(&lab, lab.v1(), "v1").unwrap();
    // The host itself serves on the listener's address and port, until the alias takes them over.
    lab.host()
        .run(&["ip", "addr", "add", "198.51.100.10/32", "dev", "lo"])
        .unwrap()
        .expect_code(&[0])
        .unwrap();
    let _old = Nginx::start(&lab, lab.host(), "old").unwrap();
    let mut to_listener = Kept::open(lab.client(), "198.51.100.10:8080");
    let mut to_backend = Kept::open(lab.client(), V1_V4);
    assert_eq!(
        (to_listener.ask(), to_backend.ask()),
        ("old".to_owned(), "v1".to_owned())
    );

    let agent = Agent::start(&lab).unwrap();
    let run = |line: &str| {
        agent
            .cli(&line.split(' ').collect::<Vec<_>>())
            .unwrap()
            .expect_code(&[0])
            .unwrap()
    };
    run("alias put web --listen 198.51.100.10:8080/tcp --path bypass");
    run("set put web v1 --backend 10.1.0.2");
    run("split web v1=100");
    assert_eq!(Kept::open(lab.client(), "198.51.100.10:8080").ask(), "v1");
    for _ in 0..3 {
        assert_eq!(
            (to_listener.ask(), to_backend.ask()),
            ("old".to_owned(), "v1".to_owned())
        );
    }
}

fn kept_flows_stay(hook: &str, path: &str) {
    kept_flows_stay_on(&Ground::bare_with(&["--hook", hook]), path);
}

fn kept_flows_stay_on(ground: &Ground, path: &str) {
    ground.apply(&stack(path)).expect_code(&[0]).unwrap();
    let mut kept = [LISTENER_V4, LISTENER_V6].map(|listener| Kept::open(ground.lab.client(), listener));
    let mut ask = || kept.iter_mut().map(Kept::ask).collect::<Vec<_>>();
    assert_eq!(ask(), ["v1", "v1"]);
    // The flows' set leaves the image; the flows stay, and new ones go to v2. Exit 4: switched, flows left.
    ground.expect("upgrade web --to v2 --drain-timeout 0s", 4);
    assert_eq!(ground.answers(), ["v2", "v2"]);
    assert_eq!(ask(), ["v1", "v1"]);
    ground.expect("rollback web", 0);
    assert_eq!(ground.answers(), ["v1", "v1"]);
    assert_eq!(ask(), ["v1", "v1"]);
}

#[test]
fn kept_flows_stay_where_they_are_on_bypass() {
    kept_flows_stay("tc", "bypass");
}

#[test]
fn kept_flows_stay_where_they_are_on_stack() {
    kept_flows_stay("tc", "stack");
}

#[test]
fn kept_flows_stay_where_they_are_on_xdp() {
    kept_flows_stay("xdp", "stack");
}

#[test]
fn kept_flows_stay_where_they_are_from_driver_to_driver() {
    kept_flows_stay_on(&Ground::bare_by_driver(), "bypass");
}

#[test]
fn a_flow_outlives_its_alias() {
    let ground = Ground::new("bypass");
    let mut kept = Kept::open(ground.lab.client(), LISTENER_V4);
    assert_eq!(kept.ask(), "v1");
    ground.expect("alias rm web", 0);
    assert_eq!(kept.ask(), "v1");
    ground.apply(&stack("stack")).expect_code(&[0]).unwrap();
    assert_eq!(kept.ask(), "v1");
}
