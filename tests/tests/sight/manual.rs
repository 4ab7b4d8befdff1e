//! docs/operations.md, from which the tests take what they run.

pub const MANUAL: &str = include_str!("../../../docs/operations.md");

/// The code below `<!-- test: NAME -->`.
pub fn block(name: &str) -> &'static str {
    let mark = format!("<!-- test: {name} -->\n```");
    let (_, after) = MANUAL
        .split_once(&mark)
        .unwrap_or_else(|| panic!("docs/operations.md has no block {name}"));
    let (_, code) = after.split_once('\n').unwrap();
    code.split_once("\n```").expect("the block ends").0
}

/// The cells of the table below `<!-- test: NAME -->`, without its head.
pub fn table(name: &str) -> Vec<Vec<&'static str>> {
    let mark = format!("<!-- test: {name} -->\n|");
    let (_, after) = MANUAL
        .split_once(&mark)
        .unwrap_or_else(|| panic!("docs/operations.md has no table {name}"));
    let rows = after.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}
