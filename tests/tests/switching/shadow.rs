//! A listener that would take the clients of what the host is managed by: refused, and nothing has changed.

use std::net::TcpListener;

use switcher_tests::lab::{Nginx, Sshd, banner};

use crate::ground::Ground;

/// The stack file with this listener in the place of the IPv6 one, on line 5.
fn stack(listener: &str) -> String {
    format!(
        r#"version: 1
stack: shop
aliases:
  web:
    listen: ["198.51.100.10:80/tcp", "{listener}"]
    split: {{v1: 100}}
    sets:
      v1: {{backends: ["10.1.0.2:8080", "[fd00::2]:8080"]}}
"#
    )
}

fn ssh_answers(ground: &Ground, at: &str) -> bool {
    let banner = banner(ground.lab.client(), at.parse().unwrap());
    banner.is_ok_and(|line| line.starts_with("SSH-2.0-"))
}

#[test]
fn sshs_clients_are_not_taken_without_force() {
    let ground = Ground::bare();
    let sshd = Sshd::start(&ground.lab, ground.lab.host(), 22).unwrap();
    let epoch = ground.epoch();
    for listener in ["10.0.0.1:22/tcp", "[fd00:c::1]:22/tcp"] {
        // By the command, by the file, and by what the file would do.
        let file = ground.lab.dir().join("dry.yaml");
        std::fs::write(&file, stack(listener)).unwrap();
        for refused in [
            ground.cli(&format!("alias put x --listen {listener}")),
            ground.apply(&stack(listener)),
            ground.cli(&format!("apply --dry-run -f {}", file.display())),
        ] {
            let said = &refused.stderr;
            assert_eq!(refused.code, 1, "{said}");
            for word in [listener, "SSH", "sshd", &format!("pid {}", sshd.pid()), "--force"] {
                assert!(said.contains(word), "no '{word}' in: {said}");
            }
        }
        let placed = ground.apply(&stack(listener)).stderr;
        assert!(
            placed.contains("stack.yaml:5:") && placed.contains("aliases.web.listen[1]"),
            "{placed}"
        );
    }
    assert_eq!(ground.epoch(), epoch);
    assert_eq!(ground.json("status --json")["aliases"], serde_json::json!([]));
    assert!(ssh_answers(&ground, "10.0.0.1:22") && ssh_answers(&ground, "[fd00:c::1]:22"));
    // An address that is not this host's is no way into it.
    ground.expect("alias put x --listen 198.51.100.10:22/tcp", 0);
}

#[test]
fn force_takes_them_and_says_whose_they_were() {
    let ground = Ground::bare();
    let _sshd = Sshd::start(&ground.lab, ground.lab.host(), 2222).unwrap();
    let text = stack("10.0.0.1:2222/tcp");
    ground.apply(&text).expect_code(&[1]).unwrap();
    let file = ground.lab.dir().join("stack.yaml").display().to_string();
    let document = ground.json(&format!("apply --force --json -f {file}"));
    let warning = document["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("10.0.0.1:2222") && warning.contains("sshd"),
        "{warning}"
    );
    assert_eq!(ground.get("http://10.0.0.1:2222/"), "v1");
    assert!(!ssh_answers(&ground, "10.0.0.1:2222"));
    // What is there already is not asked for again.
    ground.apply(&text).expect_code(&[0]).unwrap();
    ground.expect("alias put y --listen [fd00:c::1]:2222/tcp", 1);
    ground.expect("alias put y --listen [fd00:c::1]:2222/tcp --force", 0);
    ground.expect("alias rm web", 0);
    assert!(ssh_answers(&ground, "10.0.0.1:2222"));
}

#[test]
fn etcd_and_the_agents_own_sockets_are_not_taken_and_others_are_named() {
    let ground = Ground::bare_with(&["--metrics-listen", "10.0.0.1:9740"]);
    let _nginx = Nginx::start(&ground.lab, ground.lab.host(), "host").unwrap();
    let etcd = ground
        .lab
        .host()
        .spawn(|| Ok(TcpListener::bind("0.0.0.0:2379")?))
        .unwrap();
    let _etcd = etcd.join().unwrap().unwrap();
    let epoch = ground.epoch();
    let agent = format!("pid {}", ground.agent.pid().unwrap());
    for (listener, words) in [
        ("10.0.0.1:2379/tcp", ["etcd", "0.0.0.0:2379"]),
        ("10.0.0.1:9740/tcp", ["this agent", &agent]),
    ] {
        let refused = ground.expect(&format!("alias put x --listen {listener}"), 1);
        words
            .iter()
            .for_each(|word| assert!(refused.stderr.contains(word), "no '{word}' in: {}", refused.stderr));
    }
    assert_eq!(ground.epoch(), epoch);
    // nginx waits at 8080: to take over from it is what an alias is for, and it is said.
    let taken = ground.expect("alias put x --listen 10.0.0.1:8080/tcp", 0);
    assert!(
        taken.stdout.contains("warning: ") && taken.stdout.contains("nginx (pid "),
        "{}",
        taken.stdout
    );
}
