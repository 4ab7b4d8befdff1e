//! Upgrades in steps, on real connections.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use switcher_tests::lab::{Agent, LISTENER_V4};

use crate::ground::{Ground, Kept};

/// Weights of `web` as `status` has them.
fn split(ground: &Ground) -> BTreeMap<String, u64> {
    let status = ground.json("status web --json");
    serde_json::from_value(status["aliases"][0]["split"].clone()).unwrap()
}

/// Runs a command on the side.
fn job(agent: &Agent, line: &str) -> std::thread::JoinHandle<i32> {
    let mut child = spawn(agent, line);
    std::thread::spawn(move || child.wait().unwrap().code().unwrap_or(-1))
}

fn spawn(agent: &Agent, line: &str) -> std::process::Child {
    let mut command = std::process::Command::new(switcher_tests::binaries::switcher().unwrap());
    command.env("SWITCHER_HOST", format!("unix://{}", agent.socket().display()));
    command.args(line.split_whitespace());
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    command.spawn().unwrap()
}

fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Answers of `count` clients of the pool.
fn answers_of_clients(ground: &Ground, count: u32) -> Vec<String> {
    let script = format!(
        "for i in $(seq 1 {count}); do curl -s --max-time 5 --interface 10.200.0.$i http://{LISTENER_V4}/; done"
    );
    let outcome = ground.lab.client().run(&["sh", "-c", &script]).unwrap();
    outcome.stdout.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn clients_move_one_way_while_shares_rise() {
    let ground = Ground::new("auto");
    let upgrade = job(&ground.agent, "upgrade web --to v2 --steps 30,60,100 --interval 5s");
    let mut before = vec!["v1".to_owned(); 60];
    for share in [30, 60] {
        wait_for("a step", || split(&ground).get("v2") == Some(&share));
        let now = answers_of_clients(&ground, 60);
        let moved = now.iter().filter(|answer| *answer == "v2").count();
        assert!((1..60).contains(&moved), "{share} %: {moved} of 60");
        for (was, is) in before.iter().zip(&now) {
            assert!(was == "v1" || is == "v2", "a client went back");
        }
        before = now;
    }
    assert_eq!(upgrade.join().unwrap(), 0);
    assert!(answers_of_clients(&ground, 60).iter().all(|answer| answer == "v2"));
}

/// Behind one NAT all clients are one: by client a step moves all or nobody, by flow it moves its share.
#[test]
fn by_flow_one_client_sees_both() {
    let ground = Ground::new("auto");
    let ask = || {
        (0..40)
            .map(|_| ground.answers()[0].clone())
            .filter(|answer| answer == "v2")
            .count()
    };
    let upgrade = job(
        &ground.agent,
        "upgrade web --to v2 --steps 50,100 --interval 4s --step-by flow",
    );
    wait_for("a step", || split(&ground).contains_key("v2"));
    let moved = ask();
    assert!((4..37).contains(&moved), "{moved} of 40");
    assert_eq!(upgrade.join().unwrap(), 0);
    assert_eq!(ask(), 40);
}

#[test]
fn an_agent_killed_in_a_step_goes_on_and_the_same_command_attaches() {
    let mut ground = Ground::new("auto");
    let line = "upgrade web --to v2 --steps 50,100 --interval 3s --drain-timeout 5s";
    let first = job(&ground.agent, line);
    wait_for("a step", || split(&ground).contains_key("v2"));
    ground.agent.kill().unwrap();
    assert_eq!(first.join().unwrap(), 7, "the outcome is not known");
    ground.agent.launch().unwrap();
    assert_eq!(
        split(&ground),
        BTreeMap::from([("v1".to_owned(), 50), ("v2".to_owned(), 50)])
    );
    ground.expect("upgrade web --to v2 --steps 25,100", 6);
    ground.expect(line, 0);
    assert_eq!(ground.answers(), ["v2", "v2"]);
}

#[test]
fn an_agent_killed_while_it_drains_goes_on_waiting() {
    let mut ground = Ground::new("bypass");
    let mut kept = Kept::open(ground.lab.client(), LISTENER_V4);
    kept.ask();
    let line = "upgrade web --to v2 --drain-timeout 60s";
    let first = job(&ground.agent, line);
    wait_for("the switch", || {
        split(&ground) == BTreeMap::from([("v2".to_owned(), 100)])
    });
    ground.agent.kill().unwrap();
    assert_eq!(first.join().unwrap(), 7);
    ground.agent.launch().unwrap();
    assert_eq!(kept.ask(), "v1");
    let again = job(&ground.agent, line);
    std::thread::sleep(Duration::from_secs(1));
    assert!(!again.is_finished(), "a flow is left");
    drop(kept);
    assert_eq!(again.join().unwrap(), 0);
    assert_eq!(ground.json("receipt ls --json")["receipts"][0]["outcome"], "done");
}

/// Before the first flip nothing has changed, and the next agent changes nothing that is not proven.
#[test]
fn an_agent_killed_while_it_asks_the_new_set_changes_nothing() {
    let mut ground = Ground::new("auto");
    let well = ground.lab.dir().join("well");
    let check = format!("command:test -e {}", well.display());
    let words = [
        "set",
        "put",
        "web",
        "v2",
        "--backend",
        "10.1.1.2:8080",
        "--backend",
        "[fd00:1::2]:8080",
    ];
    let health = ["--health", &check, "--health-interval", "100ms", "--health-fall", "100"];
    let put: Vec<&str> = words.into_iter().chain(health).collect();
    ground.agent.cli(&put).unwrap().expect_code(&[0]).unwrap();
    let line = "upgrade web --to v2 --steps 50,100 --interval 500ms";
    let first = job(&ground.agent, line);
    wait_for("the upgrade waits", || {
        ground.json("status web --json")["aliases"][0]["progress"]["event"] == "checking"
    });
    ground.expect("upgrade web --to v2", 6);
    ground.agent.kill().unwrap();
    assert_eq!(first.join().unwrap(), 7, "the outcome is not known");
    ground.agent.launch().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(split(&ground), BTreeMap::from([("v1".to_owned(), 100)]));
    assert_eq!(ground.answers(), ["v1", "v1"]);
    std::fs::write(&well, "").unwrap();
    ground.expect(line, 0);
    assert_eq!(ground.answers(), ["v2", "v2"]);
}

/// Who asked may be killed: the agent goes on, the same command attaches, another one is refused.
#[test]
fn a_command_that_is_killed_stops_nothing() {
    let ground = Ground::new("auto");
    let line = "upgrade web --to v2 --steps 50,100 --interval 3s --drain-timeout 5s";
    let mut first = spawn(&ground.agent, line);
    wait_for("a step", || split(&ground).contains_key("v2"));
    first.kill().unwrap();
    first.wait().unwrap();
    let second = job(&ground.agent, line);
    ground.expect("upgrade web --to v1", 6);
    ground.expect("split web v1=100", 6);
    assert_eq!(second.join().unwrap(), 0);
    assert_eq!(ground.answers(), ["v2", "v2"]);
    let receipts = ground.json("receipt ls --json");
    assert_eq!(receipts["receipts"][0]["outcome"], "done", "{receipts}");
    assert_eq!(
        receipts["receipts"].as_array().unwrap().len(),
        2,
        "apply, and one upgrade: {receipts}"
    );
}

#[test]
fn the_commands_time_in_a_step_rolls_back() {
    let ground = Ground::new("auto");
    ground.expect("upgrade web --to v2 --steps 50,100 --interval 60s --timeout 2s", 3);
    assert_eq!(ground.answers(), ["v1", "v1"]);
    ground.expect("upgrade web --to v2 --min-flows 1000000 --timeout 1s", 3);
    assert_eq!(ground.answers(), ["v1", "v1"]);
}

/// What is foretold is what comes: the same split, the same shares of the same clients, and no flow moves.
#[test]
fn a_dry_run_changes_nothing_and_foretells_what_comes() {
    let ground = Ground::new("auto");
    let mut kept: Vec<Kept> = (0..5).map(|_| Kept::open(ground.lab.client(), LISTENER_V4)).collect();
    kept.iter_mut().for_each(|one| assert_eq!(one.ask(), "v1"));
    let (epoch, receipts) = (ground.epoch(), ground.json("receipt ls --json"));
    let line = "upgrade web --to v2 --steps 30,100 --interval 3s --drain-timeout 0s";
    let foretold = ground.json(&format!("{line} --dry-run --json"));
    assert_eq!((ground.epoch(), ground.json("receipt ls --json")), (epoch, receipts));
    assert_eq!(ground.answers(), ["v1", "v1"]);
    let steps = foretold["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2);
    for step in steps {
        assert_eq!(step["flows"], 5, "{step}");
        assert_eq!(step["flows_moved"], 0, "{step}");
    }
    let share = |step: usize, set: usize| {
        steps[step]["aliases"][0]["sets"][set]["share_of_10000"]
            .as_u64()
            .unwrap()
    };
    assert_eq!([share(0, 0), share(0, 1), share(1, 0)], [7_000, 3_000, 10_000]);
    let page = ground.expect(&format!("{line} --dry-run"), 0).stdout;
    assert!(page.contains("of 5 established flow(s) 0 would move"), "{page}");
    assert!(page.contains("nothing was changed"), "{page}");
    // Today's flows all come from one client: in the first step it goes where it was foretold, whole.
    let anew = |set: usize| {
        steps[0]["aliases"][0]["sets"][set]["flows_begun_anew"]
            .as_u64()
            .unwrap()
    };
    let foretold = if anew(1) == 5 { "v2" } else { "v1" };
    assert_eq!(anew(0) + anew(1), 5);
    let upgrade = job(&ground.agent, line);
    wait_for("a step", || {
        split(&ground) == BTreeMap::from([("v1".to_owned(), 70), ("v2".to_owned(), 30)])
    });
    assert_eq!(ground.answers()[0], foretold);
    ground.expect(&format!("{line} --dry-run"), 6);
    assert_eq!(upgrade.join().unwrap(), 4);
    kept.iter_mut()
        .for_each(|one| assert_eq!(one.ask(), "v1", "no flow has moved"));
    ground.expect("upgrade web --to nobody --dry-run", 1);
}

/// Who is left, since when, and how long the rest may take: while it drains and in the receipt.
#[test]
fn a_drain_says_who_is_left_and_how_long_it_may_take() {
    let ground = Ground::new("bypass");
    let open = || {
        let mut kept = Kept::open(ground.lab.client(), LISTENER_V4);
        kept.ask();
        kept
    };
    let eldest = open();
    std::thread::sleep(Duration::from_secs(1));
    let mut others: Vec<Kept> = (0..6).map(|_| open()).collect();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            wait_for("the switch", || {
                split(&ground) == BTreeMap::from([("v2".to_owned(), 100)])
            });
            for _ in 0..6 {
                std::thread::sleep(Duration::from_millis(800));
                others.pop();
            }
        });
        ground.expect("upgrade web --to v2 --drain-timeout 9s --json", 4)
    });
    // A log has a line each two seconds.
    assert!(outcome.stderr.contains("waiting for"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the eldest"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("at this pace"), "{}", outcome.stderr);
    let receipt: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let drain = &receipt["drain"];
    assert_eq!(
        (&drain["at_first"], &drain["established_left"]),
        (&7.into(), &1.into()),
        "{drain}"
    );
    let age_ms = drain["eldest_left_ms"].as_u64().unwrap();
    // Since before the drain; what was seen last may be a little old.
    assert!((8_000..30_000).contains(&age_ms), "{drain}");
    let left = receipt["left"].as_array().unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(
        (&left[0]["set"], &left[0]["backend"]),
        (&"v1".into(), &"10.1.0.2:8080".into())
    );
    assert_eq!(
        (&receipt["caller"]["uid"], &receipt["user"]),
        (&0.into(), &"root".into())
    );
    let page = ground.expect(&format!("receipt show {}", receipt["id"]), 0).stdout;
    let client = left[0]["client"].as_str().unwrap();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for text in [
        "7 flow(s) at first; 1 flow(s) left",
        &format!("left       {client} at 10.1.0.2:8080 (web/v1)"),
        &format!("root, uid 0, pid {}, on {}", receipt["caller"]["pid"], host.trim()),
        "flip         between ",
    ] {
        assert!(page.contains(text), "no '{text}' in:\n{page}");
    }
    drop(eldest);
}

/// The running command is told, and the connections of both versions live on.
fn called_back(ground: &Ground, line: &str, is_begun: impl Fn() -> bool) {
    let mut kept = Kept::open(ground.lab.client(), LISTENER_V4);
    assert_eq!(kept.ask(), "v1");
    let upgrade = job(&ground.agent, line);
    wait_for("the upgrade", is_begun);
    let receipt = ground.json("rollback web --json");
    assert_eq!(
        (&receipt["action"], &receipt["outcome"]),
        (&"rollback".into(), &"done".into()),
        "{receipt}"
    );
    assert_eq!(receipt["last_new_flows"][0]["before_flip_end"], true, "{receipt}");
    assert_eq!(upgrade.join().unwrap(), 3);
    assert_eq!(ground.answers(), ["v1", "v1"]);
    assert_eq!(kept.ask(), "v1");
    let text = ground.expect("receipt ls", 0).stdout;
    assert!(text.contains("`switcher rollback web` was run by uid 0"), "{text}");
}

#[test]
fn a_rollback_ends_an_upgrade_that_drains() {
    let ground = Ground::new("auto");
    called_back(&ground, "upgrade web --to v2 --drain-timeout 60s", || {
        !split(&ground).contains_key("v1")
    });
    // Back is back: there is nothing to go back to.
    ground.expect("rollback web", 1);
}

#[test]
fn a_rollback_ends_an_upgrade_in_its_steps() {
    let ground = Ground::new("auto");
    let line = "upgrade web --to v2 --steps 50,100 --interval 60s";
    called_back(&ground, line, || split(&ground).get("v2") == Some(&50));
}

/// Runs a command on a terminal of its own, 100 columns wide.
fn on_a_terminal(ground: &Ground, line: &str) -> (i32, String) {
    let switcher = switcher_tests::binaries::switcher().unwrap();
    let command = format!("stty cols 100 rows 30; exec {} {line}", switcher.display());
    let mut script = std::process::Command::new("script");
    script.env("SWITCHER_HOST", format!("unix://{}", ground.agent.socket().display()));
    script.env("TERM", "xterm").args(["-qec", &command, "/dev/null"]);
    let output = script
        .stdin(std::process::Stdio::null())
        .output()
        .expect("script (util-linux)");
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[test]
fn on_a_terminal_both_versions_are_drawn_side_by_side_and_a_log_gets_plain_lines() {
    let ground = Ground::new("bypass");
    let mut kept = Kept::open(ground.lab.client(), LISTENER_V4);
    kept.ask();
    let line = "upgrade web --to v2 --steps 30,100 --interval 2s --drain-timeout 2s";
    let (code, screen) = on_a_terminal(&ground, line);
    assert_eq!(code, 4, "{screen}");
    for text in [
        "step 1 of 2",
        "step 2 of 2",
        "web/v1",
        "web/v2",
        " 30 %  ",
        " 70 %  ",
        "drain ",
        "1 flow(s) left, the eldest",
        "\x1b[",
        "1 flow(s) are left at the old set",
    ] {
        assert!(screen.contains(text), "no {text:?} in:\n{screen}");
    }
    // The last frame is taken away, and the page stands alone.
    let page = screen.rfind("alias web: v1=100 -> v2=100").expect("the page");
    assert!(!screen[page..].contains("] "), "{}", &screen[page..]);
    let (code, _) = on_a_terminal(&ground, "upgrade web --to nobody");
    assert_eq!(code, 1);
    ground.expect("rollback web", 0);
    let log = ground.expect(line, 4).stderr;
    assert!(log.contains("step 1 of 2: 30 %"), "{log}");
    assert!(!log.contains('\x1b'), "{log:?}");
}
