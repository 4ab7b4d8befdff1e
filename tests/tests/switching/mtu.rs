//! A smaller MTU on the way: path MTU discovery works through the switch, both ways, on both paths.

use crate::ground::Ground;

const BYTES: u64 = 5_000_000;

fn set_mtu(ground: &Ground, device: &str) {
    let words = ["ip", "link", "set", device, "mtu", "1400"];
    ground.lab.host().run(&words).unwrap().expect_code(&[0]).unwrap();
}

fn curl(ground: &Ground, words: &[&str]) -> String {
    let mut all = vec!["curl", "-sSg", "--max-time", "20"];
    all.extend(words);
    ground.lab.client().run(&all).unwrap().expect_code(&[0]).unwrap().stdout
}

/// The client still says that it takes 1500 bytes: only the host's device towards it knows better.
fn replies_that_are_too_big(path: &str) {
    replies_that_are_too_big_on(&Ground::new(path));
}

fn replies_that_are_too_big_on(ground: &Ground) {
    ground.v1.publish("big", BYTES, 1).unwrap();
    set_mtu(ground, "client");
    for listener in ["198.51.100.10", "[2001:db8::10]"] {
        let url = format!("http://{listener}/files/big");
        let size = curl(ground, &["-o", "/dev/null", "-w", "%{size_download}", &url]);
        assert_eq!(size, BYTES.to_string(), "{url}");
    }
}

/// The backend still says that it takes 1500 bytes: only the host's device towards it knows better.
fn requests_that_are_too_big(path: &str) {
    requests_that_are_too_big_on(&Ground::new(path));
}

fn requests_that_are_too_big_on(ground: &Ground) {
    set_mtu(ground, "v1");
    let file = ground.lab.dir().join("upload");
    std::fs::write(&file, vec![7; BYTES as usize]).unwrap();
    for (name, listener) in [("four", "198.51.100.10"), ("six", "[2001:db8::10]")] {
        let url = format!("http://{listener}/uploads/{name}");
        curl(ground, &["-T", &file.display().to_string(), &url]);
        assert_eq!(
            std::fs::metadata(ground.v1.uploaded(name)).unwrap().len(),
            BYTES,
            "{url}"
        );
    }
}

#[test]
fn replies_that_are_too_big_for_the_bypass_reach_the_client() {
    replies_that_are_too_big("bypass");
}

/// The driver asks for the way before it rewrites: what the stack answers finds the backend.
#[test]
fn replies_that_are_too_big_for_a_driver_reach_the_client() {
    let ground = Ground::by_driver("bypass");
    replies_that_are_too_big_on(&ground);
    assert!(crate::xdp::counted(&ground, "bypass_too_big") > 0);
}

#[test]
fn requests_that_are_too_big_for_a_driver_reach_the_backend() {
    let ground = Ground::by_driver("bypass");
    requests_that_are_too_big_on(&ground);
    assert!(crate::xdp::counted(&ground, "bypass_too_big") > 0);
}

#[test]
fn replies_that_are_too_big_on_the_stack_reach_the_client() {
    replies_that_are_too_big("stack");
}

#[test]
fn requests_that_are_too_big_for_the_bypass_reach_the_backend() {
    requests_that_are_too_big("bypass");
}

#[test]
fn requests_that_are_too_big_on_the_stack_reach_the_backend() {
    requests_that_are_too_big("stack");
}
