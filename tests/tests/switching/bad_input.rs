//! Invariant I6: bad input changes nothing, and its error names file, line, field and remedy.

use std::fmt::Write as _;

use crate::ground::{Ground, stack};

/// A change to the good file that makes it bad: the line where the error must be, and words it must have.
struct Bad {
    from: &'static str,
    to: String,
    line: u32,
    words: &'static [&'static str],
}

fn bad(from: &'static str, to: &str, line: u32, words: &'static [&'static str]) -> Bad {
    Bad {
        from,
        to: to.to_owned(),
        line,
        words,
    }
}

fn too_many() -> String {
    let mut backends = String::new();
    for i in 0..1_025_u32 {
        let _ = write!(backends, "\"10.2.{}.{}:80\", ", i >> 8, i & 255);
    }
    format!("v2: {{backends: [{backends}\"[fd00:1::2]:8080\"]}}")
}

const V2: &str = r#"v2: {backends: ["10.1.1.2:8080", "[fd00:1::2]:8080"]}"#;

#[test]
fn a_bad_stack_file_is_refused_with_its_place() {
    let ground = Ground::new("auto");
    let epoch = ground.epoch();
    let good = stack("auto");
    let cases = [
        bad("version: 1", "version: [", 2, &["YAML"]),
        bad("version: 1", "version: 2", 1, &["version"]),
        bad("    split:", "    splitt:", 7, &["splitt", "split"]),
        bad("{v1: 100}", "{v1: -1}", 7, &["split", "-1", "0 to 1000"]),
        bad("{v1: 100}", "{v1: 0}", 7, &["split"]),
        bad("{v1: 100}", "{v3: 100}", 7, &["v3"]),
        bad(
            "\"[2001:db8::10]:80/tcp\"",
            "\"198.51.100.10:80/tcp\"",
            5,
            &["listen", "198.51.100.10:80/tcp"],
        ),
        bad(
            "\"[2001:db8::10]:80/tcp\"",
            "\"198.51.100.300:80/tcp\"",
            5,
            &["198.51.100.300"],
        ),
        bad(V2, "v2: {backends: []}", 10, &["backends"]),
        bad(V2, &too_many(), 10, &["1024"]),
        bad(V2, r#"v2: {backends: ["db.example:80"]}"#, 10, &["db.example"]),
        bad(
            r#"v1: {backends: ["10.1.0.2:8080", "[fd00::2]:8080"]}"#,
            r#"v1: {backends: ["10.1.0.2:8080"]}"#,
            9,
            &["v1", "IPv6"],
        ),
        bad(
            V2,
            r#"v2: {backends: ["10.1.1.2:8080"], healht: {http: /}}"#,
            10,
            &["healht"],
        ),
    ];
    for case in cases {
        let text = good.replacen(case.from, &case.to, 1);
        assert_ne!(text, good, "{}", case.from);
        let outcome = ground.apply(&text);
        let said = outcome.stderr.clone();
        assert_eq!(outcome.code, 2, "{}: {said}", case.to);
        assert!(
            said.contains(&format!("stack.yaml:{}:", case.line)),
            "line {} of {:.60}: {said}",
            case.line,
            case.to
        );
        case.words
            .iter()
            .for_each(|word| assert!(said.contains(word), "no '{word}' in: {said}"));
    }
    assert_eq!(ground.epoch(), epoch);
    assert_eq!(ground.answers(), ["v1", "v1"]);
}

#[test]
fn a_listener_of_another_stack_is_refused_with_its_place() {
    let ground = Ground::new("auto");
    let epoch = ground.epoch();
    let other = stack("auto")
        .replace("stack: shop", "stack: other")
        .replace("  web:", "  web2:");
    let outcome = ground.apply(&other);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("stack.yaml:5:") && outcome.stderr.contains("web"),
        "{}",
        outcome.stderr
    );
    assert_eq!(ground.epoch(), epoch);
}

#[test]
fn a_full_disk_refuses_the_change_and_says_so() {
    let ground = Ground::new("auto");
    let state = ground.lab.dir().join("state");
    // A tmpfs of one page over the state folder: what is written next does not fit.
    let state = state.display().to_string();
    let mount = ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=3", "tmpfs", &state];
    ground.lab.host().run(&mount).unwrap().expect_code(&[0]).unwrap();
    std::fs::write(format!("{state}/filler"), [0; 4_096]).unwrap();
    let outcome = ground.cli("split web v2=100");
    ground
        .lab
        .host()
        .run(&["umount", &state])
        .unwrap()
        .expect_code(&[0])
        .unwrap();
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("space") || outcome.stderr.contains("disk"),
        "{}",
        outcome.stderr
    );
    assert_eq!(ground.answers(), ["v1", "v1"]);
    ground.expect("split web v2=100", 0);
    assert_eq!(ground.answers(), ["v2", "v2"]);
}
