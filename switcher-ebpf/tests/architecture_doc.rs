//! docs/architecture.md names files, tests and bounds that exist, and no document links to nowhere.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::path::{Path, PathBuf};

use switcher_ebpf::abi;

/// Folders whose code the document speaks of.
const CODE: [&str; 5] = [
    "switcher-ebpf/src",
    "switcher-ebpf/tests",
    "switcher-user/src",
    "switcher-user/tests",
    "tests/tests",
];
/// Deeper than any source tree.
const DEEPEST: usize = 16;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn architecture() -> String {
    read(&root().join("docs/architecture.md"))
}

/// All Rust below `folder`, in one text.
fn code(folder: &Path, depth: usize) -> String {
    assert!(depth < DEEPEST, "{} is too deep", folder.display());
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut text = String::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            text += &code(&path, depth + 1);
        } else if path.extension().is_some_and(|end| end == "rs") {
            text += &read(&path);
        }
    }
    text
}

fn all_code() -> String {
    CODE.iter().map(|folder| code(&root().join(folder), 0)).collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn each_test_that_is_named_exists() {
    let (architecture, code) = (architecture(), all_code());
    let shown: Vec<&str> = architecture
        .split("- Shown by:")
        .skip(1)
        .map(|rest| rest.split("\n\n").next().unwrap())
        .collect();
    assert_eq!(shown.len(), 9, "each invariant says what shows it");
    for list in shown {
        assert!(list.contains('`'), "no test is named: {list}");
        for name in quoted(list) {
            assert!(
                code.contains(&format!("fn {name}(")),
                "docs/architecture.md names the test {name}: there is none"
            );
        }
    }
}

#[test]
fn each_file_that_is_named_exists() {
    let architecture = architecture();
    let files: Vec<&str> = quoted(&architecture).filter(|name| name.ends_with(".rs")).collect();
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        assert!(
            root().join(file).is_file(),
            "docs/architecture.md names {file}: there is none"
        );
    }
}

#[test]
fn the_bounds_are_the_codes() {
    let model = read(&root().join("switcher-user/src/model/mod.rs"));
    let of_model = |name: &str| {
        let (_, after) = model.split_once(&format!("pub const {name}: usize = ")).expect(name);
        after
            .split_once(';')
            .unwrap()
            .0
            .replace('_', "")
            .parse::<u32>()
            .unwrap()
    };
    let bounds = [
        ("PENDING_SLOTS", abi::PENDING_SLOTS),
        ("ESTABLISHED_SLOTS", abi::ESTABLISHED_SLOTS),
        ("ESTABLISHED_PROBES_MAX", abi::ESTABLISHED_PROBES_MAX),
        ("LOCAL_SLOTS", abi::LOCAL_SLOTS),
        ("LOCAL_PROBES_MAX", abi::LOCAL_PROBES_MAX),
        ("CONVERSATIONS_MAX", abi::CONVERSATIONS_MAX),
        ("SOURCE_PORT_TRIES_MAX", u32::from(abi::SOURCE_PORT_TRIES_MAX)),
        ("LISTENER_PROBES_MAX", abi::LISTENER_PROBES_MAX),
        ("SEGMENTS_MAX", abi::SEGMENTS_MAX),
        ("SETS_MAX", abi::SETS_MAX),
        ("IMAGE_ROWS_MAX", abi::IMAGE_ROWS_MAX),
        ("XDP_DEVICES_MAX", abi::XDP_DEVICES_MAX),
        ("ALIASES_MAX", of_model("ALIASES_MAX")),
        ("LISTENERS_PER_ALIAS_MAX", of_model("LISTENERS_PER_ALIAS_MAX")),
        ("SETS_PER_ALIAS_MAX", of_model("SETS_PER_ALIAS_MAX")),
        ("BACKENDS_PER_SET_MAX", of_model("BACKENDS_PER_SET_MAX")),
    ];
    let architecture = architecture();
    let rows = architecture.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, bounds.len());
    for (name, bound) in bounds {
        let row = format!("| `{name}` | {bound} | ");
        assert!(architecture.contains(&row), "docs/architecture.md has no row {row}");
    }
}

#[test]
fn no_document_links_to_nowhere() {
    let docs = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let documents = docs.filter(|path| path.extension().is_some_and(|end| end == "md"));
    for document in documents.chain([root().join("README.md")]) {
        let folder = document.parent().unwrap();
        for link in read(&document)
            .split("](")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap())
        {
            let file = link.split('#').next().unwrap();
            let leads = link.contains("://") || folder.join(file).exists();
            assert!(leads, "{} links to {link}: there is nothing", document.display());
        }
    }
}
