//! Every mistake, by its exact text.

use super::parse;

fn errors(text: &str) -> String {
    match parse(text, "s.yaml") {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn alias(lines: &str) -> String {
    format!("version: 1\nstack: shop\naliases:\n  web:\n{lines}")
}

#[test]
fn dump() {
    let base = |s: &str| alias(s);
    let good = "    listen: [\"198.51.100.10:80/tcp\"]\n    split: {v1: 100}\n    sets:\n      v1: {backends: [\"10.1.0.2:8080\"]}\n";
    let cases: Vec<String> = vec![
        base(good),
        "".into(), "# only\n".into(), "- a\n".into(), "42".into(), "version: 1\n".into(), "version: 2\nstack: a b\naliases:\n".into(),
        "version: 1.10\nstack: 1.10\naliases: {}\n".into(),
        "version: 1\nstack: on\naliases: {}\n".into(),
        "version: '1'\nstack: null\naliases: []\n".into(),
        "version: 1\nstack: shop\naliases:\n\tweb:\n".into(),
        "version: 1\nstack: shop\naliases:\n  web:\n    listen: [[2001:db8::10]:80/tcp]\n".into(),
        "version: 1\nstack: shop\naliases:\n  web:\n    listen: [\"198.51.100.10:80/tcp\"\n    sets: {}\n".into(),
        "version: 1\nstack: shop\naliases:\n  web: {\n".into(),
        "version: 1\nstack: shop\naliases:\n  web:\n   listen: a\n  sets: b\n c: d\n".into(),
        "version: 1\nversion: 1\nstack: s\naliases: {}\n".into(),
        "version: 1\n---\nversion: 1\n".into(),
        "version: 1\nstack: \"\u{1b}[31m\"\naliases: {}\n--steps: 5\n".into(),
        "version: 1\nstack: s\naliases: *x\n".into(),
        "version: 1\nstack: s\naliases: &x {web: *x}\n".into(),
        "version: 1\nstack: s\naliases: {web: [[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]}\n".into(),
        "a: &a [1,2,3,4,5,6,7,8,9,0]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n".into(),
        base("    listen: [\"198.51.100.10:80/tcp\", 80, [x], ~, \"web:80/tcp\", \"198.51.100.10:80/udp\", \"198.51.100.10:80\", \"198.51.100.10:80/tcp\"]\n    split: {v1: -1, v2: 1001, v3: 1.5, v4: lots, v5: \"100\", v6: , v7: [1], v8: 3}\n    sets:\n      v1: {backends: [\"10.1.0.2:8080\", 10.1.0.2:8080, host:80, 300.1.1.1, 8080, fe80::1, \"[::ffff:1.2.3.4]:80\", 10.1.0.2:0]}\n      v2: {backend: []}\n      v3: {backends: [], health: {http: /}}\n      v4: {backends: 10.1.0.2}\n      v5: ~\n      v6: {backends: [10.1.0.9, 10.1.0.9:80]}\n      v 7: {backends: [10.1.0.9]}\n    pth: stack\n    path: fast\n    drain-timeout: 30s\n"),
        base("    listen: \"198.51.100.10:80/tcp\"\n    split:\n    sets: {}\n"),
        base("    {}\n"), base("    path: stack\n"),
        base("    listen: [\"198.51.100.10:80/tcp\", \"[2001:db8::10]:80/tcp\"]\n    split: {v1: 1, v2: 0}\n    sets: {v1: {backends: [10.1.0.2]}, v2: {backends: [fd00::2]}}\n"),
        base("    listen: [\"198.51.100.10:80/tcp\"]\n    split: {v1: 0}\n    sets: {v1: {backends: [10.1.0.2]}, v2: {backends: [fd00::2]}}\n  api:\n    listen: [\"198.51.100.10:80/tcp\"]\n    split: {}\n    sets:\n      v1: &s {backends: [10.1.0.2, x]}\n      v2: *s\n"),
        base("    listen: [\"198.51.100.10:80/tcp\"]\n    sets: {1.10: {backends: [10.1.0.2]}, on: {backends: [10.1.0.2]}, 2: {backends: [10.1.0.2]}}\n    split: {1.10: 5, 1.1: 3, on: 2}\n"),
    ];
    for c in cases { println!("-----\n{c}=====\n{}", errors(&c)); if let Ok(p) = parse(&c, "x") { println!("{:?}", p); } }
}
