//! Every mistake, by its exact text; what is no mistake; and that no text makes the reader panic.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use proptest::prelude::*;

use super::{ConfigError, FILE_BYTES_MAX, Location, parse};
use crate::model::{
    AliasName, AliasSpec, BackendAddress, Listener, PathPolicy, Protocol, SetName, SetSpec, StackName, StackSpec,
    UdpPolicy, Weight,
};

const GOOD: &str = r#"version: 1
stack: shop
aliases:
  web:
    listen: ["198.51.100.10:80/tcp", "[2001:db8::10]:80/tcp"]
    split: {v1: 100}
    sets:
      v1: {backends: ["10.1.0.2:8080", "[fd00::2]:8080"]}
      v2: {backends: ["10.1.1.2:8080", "[fd00:1::2]:8080"]}
"#;

fn refused(text: &str) -> ConfigError {
    match parse(text, "s.yaml") {
        Ok(parsed) => panic!("accepted:\n{text}\nas {parsed:?}"),
        Err(error) => error,
    }
}

/// Each row: the file, and all that is said about it.
fn check_table(rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        assert_eq!(refused(text).to_string(), *expected, "for the file:\n{text}");
    }
}

/// A file whose alias `web` has the lines given (from line 5 on), without the split and sets that it needs else.
fn web(lines: &str) -> String {
    format!("version: 1\nstack: shop\naliases:\n  web:\n{lines}")
}

const LISTEN: &str = "    listen: [\"198.51.100.10:80/tcp\"]\n";
const SETS: &str = "    sets: {v1: {backends: [10.1.0.2]}, v2: {backends: [10.1.1.2]}}\n";

fn check_web_table(rows: &[(&[&str], &str)]) {
    for (lines, expected) in rows {
        let text = web(&lines.concat());
        assert_eq!(refused(&text).to_string(), *expected, "for the file:\n{text}");
    }
}

#[test]
fn a_good_file_is_read_whole() {
    let parsed = parse(GOOD, "s.yaml").unwrap();
    assert_eq!(parsed.spec.stack.as_str(), "shop");
    let web = &parsed.spec.aliases[&"web".parse().unwrap()];
    assert_eq!(
        web.listen,
        [
            "198.51.100.10:80/tcp".parse().unwrap(),
            "[2001:db8::10]:80/tcp".parse().unwrap()
        ]
    );
    assert_eq!(web.path, PathPolicy::Auto);
    assert_eq!(
        web.split,
        Some(BTreeMap::from([("v1".parse().unwrap(), "100".parse().unwrap())]))
    );
    assert_eq!(
        web.sets[&"v2".parse().unwrap()].backends[1],
        "[fd00:1::2]:8080".parse().unwrap()
    );
}

#[test]
fn a_field_is_located_or_its_nearest_parent() {
    let spans = parse(GOOD, "s.yaml").unwrap().spans;
    let at = |path: &str| spans.locate(path).map(|place| (place.line, place.column));
    assert_eq!(at("stack"), Some((2, 8)));
    assert_eq!(at("aliases.web"), Some((4, 3)));
    assert_eq!(at("aliases.web.listen[1]"), Some((5, 38)));
    assert_eq!(at("aliases.web.split.v1"), Some((6, 17)));
    assert_eq!(at("aliases.web.sets.v2.backends[1]"), Some((9, 40)));
    assert_eq!(at("aliases.web.sets.v2.backends[9]"), Some((9, 12)));
    assert_eq!(at("aliases.web.sets.v3.backends"), Some((7, 5)));
    assert_eq!(at("aliases.api.split"), Some((3, 1)));
    assert_eq!(at("nothing"), Some((1, 1)));
}

#[test]
fn dialects_of_yaml_that_mean_the_same_are_read_the_same() {
    let expected = parse(GOOD, "s.yaml").unwrap().spec;
    let windows = GOOD.replace('\n', "\r\n");
    let marked = format!("\u{feff}{GOOD}");
    let json = serde_json::json!({"version": 1, "stack": "shop", "aliases": {"web": {
        "listen": ["198.51.100.10:80/tcp", "[2001:db8::10]:80/tcp"], "split": {"v1": 100},
        "sets": {"v1": {"backends": ["10.1.0.2:8080", "[fd00::2]:8080"]},
                 "v2": {"backends": ["10.1.1.2:8080", "[fd00:1::2]:8080"]}}}}})
    .to_string();
    for text in [windows, marked, json] {
        assert_eq!(parse(&text, "s.yaml").unwrap().spec, expected, "for the file:\n{text}");
    }
}

#[test]
fn names_that_look_like_numbers_stay_as_written() {
    let lines = [
        LISTEN,
        "    sets: {1.10: &s {backends: [10.1.0.2]}, on: *s, 2: *s, null: *s, ä: *s}\n",
        "    split: {1.10: 5}\n",
    ];
    let text = web(&lines.concat());
    assert_eq!(
        refused(&text).to_string(),
        "s.yaml:6:70: aliases.web.sets.ä: name 'ä' has a character that is not allowed; use a-z, A-Z, 0-9, '-', '_' and '.', \
         beginning with a letter or digit"
    );
    let parsed = parse(&text.replace(", ä: *s", ""), "s.yaml").unwrap();
    let web = &parsed.spec.aliases[&"web".parse().unwrap()];
    let names: Vec<&str> = web.sets.keys().map(SetName::as_str).collect();
    assert_eq!(names, ["1.10", "2", "null", "on"]);
    assert_eq!(web.split.as_ref().unwrap().keys().next().unwrap().as_str(), "1.10");
}

#[test]
fn malformed_yaml_is_refused() {
    check_table(&[
        (
            "version: 1\nstack: shop\naliases:\n  web:\n    listen: [\"198.51.100.10:80/tcp\"\n    sets: {}\n",
            "s.yaml:6:5: aliases.web.sets: is not valid YAML (invalid indentation); check indentation and brackets, and put addresses in quotes",
        ),
        (
            "version: 1\nstack: shop\naliases:\n  web: {\n",
            "s.yaml:4:8: aliases.web: is not valid YAML (unclosed bracket '{'); check indentation and brackets, and put addresses in quotes",
        ),
        (
            "version: 1\nstack: shop\naliases:\n\tweb:\n",
            "s.yaml:4:1: aliases.web: a tab indents this line, YAML takes spaces only; replace the tab by spaces",
        ),
        (
            "version: 1\nstack: shop\naliases:\n  web:\n  \tlisten: []\n",
            "s.yaml:5:3: aliases.web.listen: a tab indents this line, YAML takes spaces only; replace the tab by spaces",
        ),
        (
            "version: 1\n---\nversion: 1\n",
            "s.yaml:3:1: stack file: holds more than one YAML document; keep one and remove the '---' line",
        ),
        (
            "version: 1\nstack: s\naliases: *x\n",
            "s.yaml:3:10: aliases: refers to an anchor (*NAME) that is not defined above; define it with &NAME, or put the value in quotes",
        ),
        (
            "version: 1\nstack: s\naliases: &x {web: *x}\n",
            "s.yaml:3:19: aliases: a YAML alias (*NAME) stands inside its own anchor; write the value out",
        ),
    ]);
}

#[test]
fn what_is_too_large_is_refused_at_once() {
    let deep = format!("version: {}1{}\n", "[".repeat(100_000), "]".repeat(100_000));
    let expected = "s.yaml:1:265: version: is nested too deep or repeats too much (at most 16 levels and 150000 values); \
                    write it flatter, with fewer YAML aliases";
    assert_eq!(refused(&deep).to_string(), expected);

    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let row = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{row}]\n"));
    }
    let message = refused(&bomb).message().to_owned();
    assert!(
        message.starts_with("is nested too deep or repeats too much"),
        "{message}"
    );

    let comment = format!("{GOOD}#{}", "x".repeat(FILE_BYTES_MAX));
    let expected = format!(
        "s.yaml:1:1: stack file: has {} bytes, at most 1048576 are read; divide it into several stacks",
        comment.len()
    );
    assert_eq!(refused(&comment).to_string(), expected);
    let fits = format!("{GOOD}#{}", "x".repeat(FILE_BYTES_MAX - GOOD.len() - 1));
    assert!(parse(&fits, "s.yaml").is_ok());
}

/// What this thread has computed: a busy machine makes a test late, not slow.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap())
}

#[test]
fn the_largest_files_are_refused_in_good_time() {
    let fill = |row: fn(usize) -> String| (0..50_000).map(row).collect::<String>();
    let keys = format!(
        "version: 1\nstack: s\naliases: {{}}\n{}",
        fill(|n| format!("k{n}: 1\n"))
    );
    let shares = web(&format!(
        "{LISTEN}{SETS}    split:\n{}",
        fill(|n| format!("      v{n}: 1\n"))
    ));
    let sets = web(&format!("{LISTEN}    sets:\n{}", fill(|n| format!("      v{n}: 1\n"))));
    let listeners = web(&format!("{SETS}    listen:\n{}", fill(|n| format!("      - {n}\n"))));
    let begun = cpu_time();
    for text in [keys, shares, sets, listeners] {
        assert!(text.len() <= FILE_BYTES_MAX);
        assert_eq!(
            refused(&text).problems().count(),
            ConfigError::PROBLEMS_MAX,
            "{}",
            &text[..80]
        );
    }
    // Some seconds unoptimised, a tenth of that optimised; comparing each with each would take minutes.
    let took = cpu_time() - begun;
    assert!(took.as_secs() < 30, "{took:?}");
}

#[test]
fn mistakes_at_the_top_are_refused() {
    let empty =
        "s.yaml:1:1: stack file: is empty, not a mapping; begin with 'version: 1', then 'stack: NAME' and 'aliases:'";
    check_table(&[
        ("", empty),
        ("# nothing yet\n", empty),
        (
            "- web\n",
            "s.yaml:1:1: stack file: is a list, not a mapping; begin with 'version: 1', then 'stack: NAME' and 'aliases:'",
        ),
        (
            "stack: s\naliases: {}\n",
            "s.yaml:1:1: version: is missing; write 'version: 1' at the top",
        ),
        (
            "version: 1\n",
            "s.yaml:1:1: stack: is missing; name the owner of these aliases, as 'stack: shop'\n\
             s.yaml:1:1: aliases: is missing; name the aliases, or write 'aliases: {}' for none",
        ),
        (
            "version: 2\nstack: a b\naliases:\n",
            "s.yaml:1:10: version: '2' is no version that this agent reads; write 'version: 1'\n\
             s.yaml:2:8: stack: name 'a b' has a character that is not allowed; use a-z, A-Z, 0-9, '-', '_' and '.', beginning with a letter or digit\n\
             s.yaml:3:1: aliases: is empty, not a mapping; name the aliases below it, or write 'aliases: {}' for none",
        ),
        (
            "version: 1\nversion: 1\nstack: s\naliases: {}\n",
            "s.yaml:2:1: version: is given twice, first at line 1, column 1; keep one",
        ),
        (
            "version: 1\nstack: \"\\e[31m\"\naliases: {}\n",
            "s.yaml:2:8: stack: name '\\u{1b}[31m' has a character that is not allowed; use a-z, A-Z, 0-9, '-', '_' and '.', beginning with a letter or digit",
        ),
        (
            "version: 1\nstack: s\naliases: {}\n[a]: 1\n",
            "s.yaml:4:1: stack file: a key is a list or a mapping; write a plain word",
        ),
    ]);
    let long = format!("version: 1\nstack: {}\naliases: {{}}\n", "x".repeat(5_000));
    let expected = format!(
        "s.yaml:2:8: stack: name '{}…' is longer than 63 characters; shorten it",
        "x".repeat(80)
    );
    assert_eq!(refused(&long).to_string(), expected);
}

#[test]
fn unknown_keys_are_refused() {
    check_table(&[
        (
            "version: 1\nstack: s\nalaises: {}\naliases: {}\n",
            "s.yaml:3:1: alaises: unknown key 'alaises'; did you mean 'aliases'? (known here: version, stack, aliases)",
        ),
        (
            "version: 1\nstack: s\naliases: {}\nservices: {}\n",
            "s.yaml:4:1: services: unknown key 'services'; remove it (known here: version, stack, aliases)",
        ),
        (
            "version: 1\nstack: s\naliases: {}\n--prune: true\n",
            "s.yaml:4:1: --prune: '--prune' is an option of a command, no key of a stack file; remove it (known here: version, stack, aliases)",
        ),
    ]);
    let known = "(known here: listen, path, udp, shield, add_addresses, split, sets)";
    for (key, said) in [
        ("pth", "unknown key 'pth'; did you mean 'path'?"),
        ("--steps", "'--steps' is not supported in this version; remove it"),
        ("steps", "'steps' is not supported in this version; remove it"),
        (
            "drain-timeout",
            "'drain-timeout' is not supported in this version; remove it",
        ),
    ] {
        check_web_table(&[(
            &[LISTEN, SETS, &format!("    {key}: 5\n")],
            &format!("s.yaml:7:5: aliases.web.{key}: {said} {known}"),
        )]);
    }
    check_web_table(&[
        (
            &[
                LISTEN,
                "    sets: {v1: {backends: [10.1.0.2], health: {http: healthz, fails: 3}}}\n",
            ],
            "s.yaml:6:54: aliases.web.sets.v1.health.http: 'http:healthz' is no health check; write it as tcp, http:/healthz, https:/healthz (with another status than 200: 'http:/healthz 200-399') or command:CMD\n\
             s.yaml:6:63: aliases.web.sets.v1.health.fails: unknown key 'fails'; did you mean 'fall'? (known here: tcp, http, https, command, status, interval, timeout, rise, fall)",
        ),
        (
            &[
                LISTEN,
                "    sets: {v1: {backends: [10.1.0.2], health: {http: /healthz, status: 2xx}}}\n",
            ],
            "s.yaml:6:54: aliases.web.sets.v1.health.http: 'http:/healthz 2xx' is no health check; write it as tcp, http:/healthz, https:/healthz (with another status than 200: 'http:/healthz 200-399') or command:CMD",
        ),
        (
            &[
                LISTEN,
                "    sets: {v1: {backends: [10.1.0.2], health: {tcp: true, status: 200}}}\n",
            ],
            "s.yaml:6:67: aliases.web.sets.v1.health.status: is for http and https",
        ),
        (
            &[
                LISTEN,
                "    sets: {v1: {backends: [10.1.0.2], health: {command: ' '}}}\n",
            ],
            "s.yaml:6:57: aliases.web.sets.v1.health.command: 'command: ' is no health check; write it as tcp, http:/healthz, https:/healthz (with another status than 200: 'http:/healthz 200-399') or command:CMD",
        ),
        (
            &[LISTEN, "    sets: {v1: {backend: [10.1.0.2]}}\n"],
            "s.yaml:6:12: aliases.web.sets.v1.backends: is missing; write it as backends: [\"10.1.0.2:8080\"]\n\
             s.yaml:6:17: aliases.web.sets.v1.backend: unknown key 'backend'; did you mean 'backends'? (known here: backends, health)",
        ),
    ]);
}

#[test]
fn mistakes_in_an_alias_are_refused() {
    check_web_table(&[
        (
            &["    {}\n"],
            "s.yaml:4:3: aliases.web.listen: is missing; say where clients find the alias: write it as listen: [\"198.51.100.10:80/tcp\"]\n\
             s.yaml:4:3: aliases.web.sets: is missing; name the versions and their backends: write it as sets: {v1: {backends: [\"10.1.0.2:8080\"]}}",
        ),
        (
            &[],
            "s.yaml:4:3: aliases.web: is empty, not a mapping; give it 'listen', 'split' and 'sets'",
        ),
        (
            &[LISTEN, "    sets: {}\n    path: fast\n    udp: maybe\n"],
            "s.yaml:6:5: aliases.web.sets: names no set; write it as sets: {v1: {backends: [\"10.1.0.2:8080\"]}}\n\
             s.yaml:7:11: aliases.web.path: 'fast' is no path; use auto, bypass or stack\n\
             s.yaml:8:10: aliases.web.udp: 'maybe' is not known; use stay or move",
        ),
    ]);
    let bad_name = GOOD.replace("  web:", "  web/api:");
    let rule =
        "has a character that is not allowed; use a-z, A-Z, 0-9, '-', '_' and '.', beginning with a letter or digit";
    check_table(&[(
        &bad_name,
        &format!("s.yaml:4:3: aliases.web/api: name 'web/api' {rule}"),
    )]);
    let bad_name = GOOD.replace("v2:", "-v2:");
    check_table(&[(
        &bad_name,
        &format!("s.yaml:9:7: aliases.web.sets.-v2: name '-v2' {rule}"),
    )]);
}

#[test]
fn mistakes_in_listeners_are_refused() {
    let shape = "write it as 198.51.100.10:80/tcp or [2001:db8::10]:80/tcp";
    for (listener, said) in [
        (
            "web:80/tcp",
            format!("listener 'web:80/tcp' is not ADDR:PORT/PROTO; {shape}"),
        ),
        (
            "198.51.100.256:80/tcp",
            format!("listener '198.51.100.256:80/tcp' is not ADDR:PORT/PROTO; {shape}"),
        ),
        (
            "198.51.100.10:80",
            "listener '198.51.100.10:80' names no protocol; write it as '198.51.100.10:80/tcp'".to_owned(),
        ),
        (
            "198.51.100.10:80/sctp",
            "listener '198.51.100.10:80/sctp': protocol 'sctp' is not supported; use tcp or udp".to_owned(),
        ),
        (
            "198.51.100.10:0/tcp",
            "listener '198.51.100.10:0/tcp': port 0 is no port; use 1 to 65535".to_owned(),
        ),
    ] {
        let listen = format!("    listen: [\"{listener}\"]\n");
        check_web_table(&[(&[&listen, SETS], &format!("s.yaml:5:14: aliases.web.listen[0]: {said}"))]);
    }
    check_web_table(&[
        (
            &["    listen: \"198.51.100.10:80/tcp\"\n", SETS],
            "s.yaml:5:13: aliases.web.listen: is a single value, not a list; write it as listen: [\"198.51.100.10:80/tcp\"]",
        ),
        (
            &["    listen: []\n", SETS],
            "s.yaml:5:5: aliases.web.listen: is an empty list; write it as listen: [\"198.51.100.10:80/tcp\"]",
        ),
        (
            // Without quotes YAML itself reads a list, then a mapping.
            &["    listen: [[2001:db8::10]:80/tcp]\n", SETS],
            "s.yaml:5:14: aliases.web.listen[0]: is a mapping, not a single value; write it as \"198.51.100.10:80/tcp\"",
        ),
        (
            &[
                "    listen:\n      - 198.51.100.10:80/tcp\n      - 198.51.100.10:80/tcp\n",
                SETS,
            ],
            "s.yaml:7:9: aliases.web.listen[1]: listener '198.51.100.10:80/tcp' is claimed twice, first by aliases.web.listen[0] at line 6, column 9; keep one",
        ),
        (
            &[LISTEN, SETS, "  api:\n", LISTEN, SETS],
            "s.yaml:8:14: aliases.api.listen[0]: listener '198.51.100.10:80/tcp' is claimed twice, first by aliases.web.listen[0] at line 5, column 14; keep one",
        ),
    ]);
}

#[test]
fn mistakes_in_a_split_are_refused() {
    let range = "is out of range; use a whole number from 0 to 1000";
    for (weight, said) in [
        ("-1", format!("weight -1 {range}")),
        ("1001", format!("weight 1001 {range}")),
        (
            "1.5",
            "weight '1.5' is no whole number; use one from 0 to 1000".to_owned(),
        ),
        (
            "50%",
            "weight '50%' is no whole number; use one from 0 to 1000".to_owned(),
        ),
        (
            "99999999999999999999",
            "weight '99999999999999999999' is no whole number; use one from 0 to 1000".to_owned(),
        ),
        (
            "yes",
            "weight 'yes' is no whole number; use one from 0 to 1000".to_owned(),
        ),
        (
            "\"100\"",
            "weight \"100\" is a text; write the number without quotes".to_owned(),
        ),
        (
            "[1]",
            "is a list, not a single value; write a whole number from 0 to 1000".to_owned(),
        ),
    ] {
        let column = if weight == "[1]" { 20 } else { 24 };
        let split = format!("    split: {{v1: 1, v2: {weight}}}\n");
        check_web_table(&[(
            &[LISTEN, &split, SETS],
            &format!("s.yaml:6:{column}: aliases.web.split.v2: {said}"),
        )]);
    }
    let none = "so no new flow would be served; give one set a weight from 1 to 1000";
    check_web_table(&[
        (
            &[LISTEN, "    split: {v1: 0, v2: 0}\n", SETS],
            &format!("s.yaml:6:5: aliases.web.split: gives every set weight 0, {none}"),
        ),
        (
            &[LISTEN, "    split: {}\n", SETS],
            &format!("s.yaml:6:5: aliases.web.split: names no set, {none}"),
        ),
        (
            &[LISTEN, "    split:\n", SETS],
            "s.yaml:6:5: aliases.web.split: is empty, not a mapping; write it as split: {v1: 100}, or remove it to leave the split as it is",
        ),
        (
            &[LISTEN, "    split: {v3: 1}\n", SETS],
            "s.yaml:6:17: aliases.web.split.v3: the alias has no set 'v3'; add it below 'sets', or remove it here (its sets: v1, v2)",
        ),
        (
            &[
                LISTEN,
                "    split: {stabel: 1}\n    sets: {stable: {backends: [10.1.0.2]}}\n",
            ],
            "s.yaml:6:21: aliases.web.split.stabel: the alias has no set 'stabel'; did you mean 'stable'? (its sets: stable)",
        ),
    ]);
}

#[test]
fn mistakes_in_backends_are_refused() {
    let shape = "write it as 10.1.0.2:8080, [fd00::2]:8080 or an address alone (names are not looked up)";
    for (backend, said) in [
        ("300.1.1.1:80", format!("backend '300.1.1.1:80' is not ADDR[:PORT]; {shape}")),
        ("app-1:8080", format!("backend 'app-1:8080' is not ADDR[:PORT]; {shape}")),
        ("8080", format!("backend '8080' is not ADDR[:PORT]; {shape}")),
        ("10.1.0.2:65536", format!("backend '10.1.0.2:65536' is not ADDR[:PORT]; {shape}")),
        ("10.1.0.2:0", "backend '10.1.0.2:0': port 0 is no port; use 1 to 65535".to_owned()),
        ("fe80::2", "backend 'fe80::2': a link-local address means nothing without its interface; use a global or unique local address".to_owned()),
        ("0.0.0.0", "backend '0.0.0.0': the unspecified address is no place; name one address".to_owned()),
    ] {
        let sets = format!("    sets: {{v1: {{backends: [10.1.0.3, {backend}]}}}}\n");
        check_web_table(&[(&[LISTEN, &sets], &format!("s.yaml:6:38: aliases.web.sets.v1.backends[1]: {said}"))]);
    }
    check_web_table(&[
        (
            &[LISTEN, "    sets: {v1: {backends: []}}\n"],
            "s.yaml:6:17: aliases.web.sets.v1.backends: the set has no backends; write it as backends: [\"10.1.0.2:8080\"]",
        ),
        (
            &[LISTEN, "    sets: {v1: {}}\n"],
            "s.yaml:6:12: aliases.web.sets.v1.backends: is missing; write it as backends: [\"10.1.0.2:8080\"]",
        ),
        (
            &[LISTEN, "    sets: {v1: {backends: 10.1.0.2}}\n"],
            "s.yaml:6:27: aliases.web.sets.v1.backends: is a single value, not a list; write it as backends: [\"10.1.0.2:8080\"]",
        ),
        (
            &[
                LISTEN,
                "    sets:\n      v1:\n        backends:\n        - 10.1.0.2:8080\n        - 10.1.0.2:8080\n",
            ],
            "s.yaml:10:11: aliases.web.sets.v1.backends[1]: backend '10.1.0.2:8080' is the same as backends[0] at line 9; keep one",
        ),
        (
            // The listener's port is 80.
            &[LISTEN, "    sets: {v1: {backends: [10.1.0.2:80, 10.1.0.2]}}\n"],
            "s.yaml:6:41: aliases.web.sets.v1.backends[1]: backend '10.1.0.2' is the same as backends[0] at line 6; keep one",
        ),
    ]);
    let ports = web(&[LISTEN, "    sets: {v1: {backends: [10.1.0.2:81, 10.1.0.2]}}\n"].concat());
    assert!(parse(&ports, "s.yaml").is_ok());
}

#[test]
fn a_set_with_a_share_needs_each_listeners_family() {
    let both = "    listen: [\"198.51.100.10:80/tcp\", \"[2001:db8::10]:80/tcp\"]\n";
    let remedy = "add one, give the set weight 0, or remove the listener";
    let sets = "    sets:\n      v1: {backends: [10.1.0.2]}\n      v2: {backends: [fd00::2]}\n";
    check_web_table(&[
        (
            &[both, "    split: {v1: 1}\n", sets],
            &format!(
                "s.yaml:8:12: aliases.web.sets.v1.backends: set 'v1' has a share but no IPv6 backend for listener '[2001:db8::10]:80/tcp'; {remedy}"
            ),
        ),
        (
            &[LISTEN, "    split: {v1: 1, v2: 1}\n", sets],
            &format!(
                "s.yaml:9:12: aliases.web.sets.v2.backends: set 'v2' has a share but no IPv4 backend for listener '198.51.100.10:80/tcp'; {remedy}"
            ),
        ),
    ]);
    // Without a share, or without a split, nothing would be sent there.
    for lines in [[LISTEN, "    split: {v1: 1, v2: 0}\n", sets], [both, "", sets]] {
        assert!(parse(&web(&lines.concat()), "s.yaml").is_ok());
    }
}

#[test]
fn too_many_are_refused_at_the_first_too_many() {
    let backends = |count: u32| {
        (0..count)
            .map(|n| IpAddr::from((0x0a01_0000 + n).to_be_bytes()).to_string())
            .collect::<Vec<_>>()
    };
    let set_of = |count| {
        web(&format!(
            "{LISTEN}    sets: {{v1: {{backends: [\n        {}]}}}}\n",
            backends(count).join(",\n        ")
        ))
    };
    assert!(parse(&set_of(1_024), "s.yaml").is_ok());
    assert_eq!(
        refused(&set_of(1_025)).to_string(),
        "s.yaml:1031:9: aliases.web.sets.v1.backends[1024]: the set has 1025 backends, at most 1024 fit; remove 1 of them or make a second alias"
    );

    let rows = |count: u32, row: fn(u32) -> String| (0..count).map(row).collect::<String>();
    let listeners = |count| {
        web(&format!(
            "    listen:\n{}{SETS}",
            rows(count, |n| format!("    - 198.51.100.10:{}/tcp\n", n + 1))
        ))
    };
    assert!(parse(&listeners(64), "s.yaml").is_ok());
    assert_eq!(
        refused(&listeners(65)).to_string(),
        "s.yaml:70:7: aliases.web.listen[64]: the alias has 65 listeners, at most 64 fit; divide it into several aliases"
    );

    let sets = |count| {
        web(&format!(
            "{LISTEN}    sets:\n{}",
            rows(count, |n| format!("      v{n}: {{backends: [10.1.0.2]}}\n"))
        ))
    };
    assert!(parse(&sets(64), "s.yaml").is_ok());
    assert_eq!(
        refused(&sets(65)).to_string(),
        "s.yaml:71:7: aliases.web.sets.v64: the alias has 65 sets, at most 64 fit; remove old ones"
    );

    let shares = (0..65).map(|n| format!("v{n}: 1")).collect::<Vec<_>>().join(", ");
    let text = sets(64).replace("    sets:", &format!("    split: {{{shares}}}\n    sets:"));
    assert_eq!(
        refused(&text).to_string(),
        "s.yaml:6:520: aliases.web.split.v64: the split names 65 sets, an alias has at most 64; remove some"
    );

    let alias = |n| {
        format!(
            "  a{n}: {{listen: [198.51.100.10:{}/tcp], sets: {{v1: {{backends: [10.1.0.2]}}}}}}\n",
            n + 1
        )
    };
    let aliases = |count| format!("version: 1\nstack: s\naliases:\n{}", rows(count, alias));
    assert!(parse(&aliases(1_024), "s.yaml").is_ok());
    assert_eq!(
        refused(&aliases(1_025)).to_string(),
        "s.yaml:1028:3: aliases.a1024: the file has 1025 aliases, at most 1024 fit one agent; remove some"
    );
}

#[test]
fn all_mistakes_show_at_once_in_order_and_bounded() {
    let sets = "    sets:\n      v1: {backends: [x, 10.1.0.2, y]}\n";
    let text = web(&[LISTEN, sets, "    split: {v2: -1}\n    extra: 1\n"].concat());
    let error = refused(&text);
    let seen: Vec<(u32, &str)> = error
        .problems()
        .map(|problem| (problem.line, problem.field.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            (7, "aliases.web.sets.v1.backends[0]"),
            (7, "aliases.web.sets.v1.backends[2]"),
            (8, "aliases.web.split.v2"),
            (8, "aliases.web.split.v2"),
            (9, "aliases.web.extra"),
        ]
    );
    assert_eq!((error.file(), error.line(), error.column()), ("s.yaml", 7, 23));
    assert_eq!(error.field(), "aliases.web.sets.v1.backends[0]");

    let many = web(&format!(
        "{LISTEN}    sets: {{v1: {{backends: [{}]}}}}\n",
        vec!["x"; 23].join(", ")
    ));
    let error = refused(&many);
    assert_eq!((error.problems().count(), error.omitted_count()), (20, 3));
    assert!(
        error
            .to_string()
            .ends_with("\ns.yaml: 3 more mistakes; mend these first"),
        "{error}"
    );
}

#[test]
fn a_repeated_mistake_points_at_the_yaml_alias() {
    let text = web(&[LISTEN, "    sets:\n      v1: &s {backends: [x]}\n      v2: *s\n"].concat());
    let places: Vec<Location> = refused(&text)
        .problems()
        .map(|problem| Location {
            line: problem.line,
            column: problem.column,
        })
        .collect();
    assert_eq!(
        places,
        [Location { line: 7, column: 26 }, Location { line: 8, column: 11 }]
    );
}

#[test]
fn places_and_texts_are_right_beside_characters_that_are_not_ascii() {
    let sets = "    sets: {\"vé\": {backends: [10.1.0.2, 'größe', 10.1.0.2]}, v2: {backends: [x]}} # – –\n";
    let text = web(&["    # über alles, 北京\n", LISTEN, sets].concat());
    let rule =
        "has a character that is not allowed; use a-z, A-Z, 0-9, '-', '_' and '.', beginning with a letter or digit";
    let shape =
        "is not ADDR[:PORT]; write it as 10.1.0.2:8080, [fd00::2]:8080 or an address alone (names are not looked up)";
    let expected = [
        format!("s.yaml:7:12: aliases.web.sets.vé: name 'vé' {rule}"),
        format!("s.yaml:7:40: aliases.web.sets.vé.backends[1]: backend 'größe' {shape}"),
        "s.yaml:7:49: aliases.web.sets.vé.backends[2]: backend '10.1.0.2' is the same as backends[0] at line 7; keep one"
            .to_owned(),
        format!("s.yaml:7:77: aliases.web.sets.v2.backends[0]: backend 'x' {shape}"),
    ];
    assert_eq!(refused(&text).to_string(), expected.join("\n"));
    // A no-break space copied from a web page is shown for what it is.
    let text = GOOD.replace("    listen:", "    \u{a0}listen:");
    assert!(
        refused(&text)
            .to_string()
            .contains("unknown key '\\u{a0}listen'; did you mean 'listen'?"),
        "{}",
        refused(&text)
    );
}

#[test]
fn standard_input_has_a_name() {
    assert_eq!(parse("", "-").unwrap_err().file(), "<stdin>");
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9][a-zA-Z0-9._-]{0,12}",
        "[0-9]{1,3}\\.[0-9]{1,2}",
        Just("null".to_owned()),
        Just("no".to_owned())
    ]
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 3]>().prop_map(|[a, b, c]| IpAddr::from([10, a, b, c])),
        any::<[u16; 3]>().prop_map(|[a, b, c]| IpAddr::from([0xfd00, a, b, 0, 0, 0, 1, c])),
    ]
}

fn set() -> impl Strategy<Value = SetSpec> {
    proptest::collection::btree_map(address(), any::<Option<NonZeroU16>>(), 1..6).prop_map(|backends| {
        let backends = backends
            .into_iter()
            .map(|(address, port)| BackendAddress { address, port });
        let both = ["10.255.255.255", "fd00::9:9"]
            .into_iter()
            .map(|text| text.parse().unwrap());
        SetSpec {
            backends: backends.chain(both).collect(),
            health: None,
            containers: None,
        }
    })
}

fn alias() -> impl Strategy<Value = AliasSpec> {
    let listeners = proptest::collection::btree_set((address(), 1_u16..), 1..4);
    let sets = proptest::collection::btree_map(name(), (set(), 0_i64..=1_000), 1..4);
    let path = prop_oneof![
        Just(PathPolicy::Auto),
        Just(PathPolicy::Bypass),
        Just(PathPolicy::Stack)
    ];
    let udp = prop_oneof![Just(UdpPolicy::Stay), Just(UdpPolicy::Move)];
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
    let policy = (path, udp, protocol);
    (listeners, sets, policy, any::<bool>()).prop_map(|(listeners, sets, (path, udp, protocol), with_split)| {
        let listener = |(address, port)| Listener {
            address,
            port,
            protocol,
        };
        let weights: BTreeMap<SetName, Weight> = sets
            .iter()
            .map(|(name, (_, weight))| (name.parse().unwrap(), Weight::try_from(*weight).unwrap()))
            .collect();
        let split = (with_split && weights.values().any(|weight| !weight.is_zero())).then_some(weights);
        let sets = sets
            .into_iter()
            .map(|(name, (set, _))| (name.parse().unwrap(), set))
            .collect();
        AliasSpec {
            listen: listeners.into_iter().map(listener).collect(),
            path,
            udp,
            shield: with_split,
            add_addresses: with_split,
            split,
            sets,
        }
    })
}

fn stack() -> impl Strategy<Value = StackSpec> {
    (name(), proptest::collection::btree_map(name(), alias(), 0..4)).prop_map(|(stack, aliases)| StackSpec {
        stack: stack.parse::<StackName>().unwrap(),
        aliases: aliases
            .into_iter()
            .map(|(name, alias)| (name.parse::<AliasName>().unwrap(), alias))
            .collect(),
    })
}

/// The file that asks for `spec`.
fn written(spec: &StackSpec) -> String {
    let mut file = serde_json::to_value(spec).unwrap();
    file["version"] = 1.into();
    for alias in file["aliases"].as_object_mut().unwrap().values_mut() {
        alias.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    }
    serde_saphyr::to_string(&file).unwrap()
}

/// Pieces that steer random text into the reader's corners.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("version: 1\nstack: s\naliases:\n  web:\n".to_owned()),
        "( {0,6}|\t)(listen|split|sets|v1|backends|health|\\? |- |<<)?:? ?",
        "[\\[\\]{}:,&*!|>'\"#%@`~?-]{1,3}",
        "[a-z0-9.:/\\[\\]-]{0,24}",
        "\\PC{0,4}",
        Just("\n".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("!!binary ".to_owned()),
        Just("&a ".to_owned()),
        Just("*a ".to_owned()),
    ]
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        let _ = parse(&text, "s.yaml");
    }

    #[test]
    fn nearly_yaml_is_read_or_refused_with_a_place(pieces in proptest::collection::vec(fragment(), 0..40)) {
        let text = pieces.concat();
        if let Err(error) = parse(&text, "s.yaml") {
            for problem in error.problems() {
                prop_assert!(problem.line >= 1 && problem.column >= 1 && !problem.field.is_empty());
                prop_assert!(!problem.to_string().contains(char::is_control), "{problem}");
            }
        }
    }

    #[test]
    fn a_damaged_file_is_read_or_refused(at in 0..GOOD.len(), piece in fragment()) {
        let text = format!("{}{piece}{}", &GOOD[..at], &GOOD[at..]);
        let _ = parse(&text, "s.yaml");
    }

    #[test]
    fn a_spec_written_as_yaml_is_read_back(spec in stack()) {
        let claimed: Vec<_> = spec.aliases.values().flat_map(|alias| &alias.listen).collect();
        let distinct: std::collections::BTreeSet<_> = claimed.iter().collect();
        prop_assume!(claimed.len() == distinct.len());
        let text = written(&spec);
        let parsed = parse(&text, "s.yaml").map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(parsed.spec, spec);
    }
}
