//! A host with a firewall and NAT: either path carries whole flows, and `auto` does not walk past the rules.

use crate::ground::{Ground, Kept};
use switcher_tests::lab::Lab;

pub const RULES: &str = "
table inet guard {
    chain forward {
        type filter hook forward priority 0; policy accept;
        ct state invalid drop
    }
}
table ip masquerade4 {
    chain postrouting {
        type nat hook postrouting priority 100;
        masquerade
    }
}
table ip6 masquerade6 {
    chain postrouting {
        type nat hook postrouting priority 100;
        masquerade
    }
}
";

pub fn add_rules(lab: &Lab, rules: &str) {
    let file = lab.dir().join("rules.nft");
    std::fs::write(&file, rules).unwrap();
    lab.host()
        .run(&["nft", "-f", &file.display().to_string()])
        .unwrap()
        .expect_code(&[0])
        .unwrap();
}

fn bulk(ground: &Ground) {
    for listener in ["198.51.100.10", "[2001:db8::10]"] {
        let url = format!("http://{listener}:80/files/big");
        let words = [
            "curl",
            "-sSg",
            "--max-time",
            "20",
            "-o",
            "/dev/null",
            "-w",
            "%{size_download}",
            &url,
        ];
        let size = ground
            .lab
            .client()
            .run(&words)
            .unwrap()
            .expect_code(&[0])
            .unwrap()
            .stdout;
        assert_eq!(size, "20000000", "{url}");
    }
}

fn works_under_rules(path: &str) {
    let ground = Ground::new(path);
    add_rules(&ground.lab, RULES);
    ground.v1.publish("big", 20_000_000, 1).unwrap();
    let mut kept = Kept::open(ground.lab.client(), "198.51.100.10:80");
    assert_eq!(kept.ask(), "v1");
    bulk(&ground);
    ground.expect("upgrade web --to v2 --drain-timeout 0s", 4);
    assert_eq!(ground.answers(), ["v2", "v2"]);
    assert_eq!(kept.ask(), "v1");
}

#[test]
fn bypass_works_under_masquerade_and_invalid_drop() {
    works_under_rules("bypass");
}

#[test]
fn stack_works_under_masquerade_and_invalid_drop() {
    works_under_rules("stack");
}

/// What `status` says of the path of new flows to `v1`.
fn status_text(ground: &Ground) -> String {
    ground.expect("status web", 0).stdout
}

#[test]
fn auto_takes_the_stack_where_rules_could_cover_a_flow_and_says_so() {
    let ground = Ground::bare();
    add_rules(&ground.lab, RULES);
    ground.apply(&crate::ground::stack("auto")).expect_code(&[0]).unwrap();
    assert_eq!(ground.answers(), ["v1", "v1"]);
    let text = status_text(&ground);
    assert!(text.contains("stack") && text.contains("guard"), "{text}");
    let count = |name: &str| {
        let status = ground.json("status --json");
        status["reasons"].as_array().and_then(|rows| {
            rows.iter()
                .find(|row| row["reason"] == name)
                .and_then(|row| row["packets"].as_u64())
        })
    };
    assert!(count("opened_stack") >= Some(2), "{:?}", count("opened_stack"));
    assert!(count("opened_bypass").unwrap_or(0) == 0);
}

#[test]
fn auto_takes_the_bypass_where_there_are_no_rules() {
    let ground = Ground::new("auto");
    assert_eq!(ground.answers(), ["v1", "v1"]);
    let text = status_text(&ground);
    assert!(text.contains("bypass"), "{text}");
}
