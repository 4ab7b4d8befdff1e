//! docs/reasons.md says what the code says: each reason's number, name and meaning.

use std::fs;
use std::path::Path;

use switcher_ebpf::reason::Reason;

const HEAD: &str = "| number | name | meaning |\n| ---: | --- | --- |\n";

fn table() -> String {
    let row = |reason: &Reason| format!("| {} | `{}` | {} |\n", *reason as u32, reason.name(), reason.meaning());
    Reason::ALL
        .iter()
        .map(row)
        .fold(HEAD.to_owned(), |table, row| table + &row)
}

/// The lines of the document that begin with a bar: it has one table.
fn documented() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reasons.md");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn the_documented_table_is_the_codes() {
    let table = table();
    assert!(
        documented() == table,
        "the table in docs/reasons.md is not the code's; replace it by:\n\n{table}"
    );
}

#[test]
fn meanings_begin_with_what_becomes_of_the_packet() {
    for reason in Reason::ALL {
        let meaning = reason.meaning();
        let known = ["Passed: ", "Rewritten: ", "Dropped: "]
            .iter()
            .any(|word| meaning.starts_with(word));
        assert!(
            known && meaning.ends_with('.') && !meaning.contains('|'),
            "{}: {meaning}",
            reason.name()
        );
    }
}
