//! Reads what the test binaries of `cargo test` print.

/// What all test binaries of one `cargo test` reported.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Tests that were named as run, whatever their result.
    pub named: Vec<String>,
    /// Tests that failed.
    pub failed: Vec<String>,
    /// How many passed.
    pub passed: u64,
    /// How many were left out by `#[ignore]`.
    pub ignored: u64,
    /// Test binaries that came to their end: none means that nothing was built or all were killed.
    pub ended: u64,
}

/// Reads the standard output of `cargo test`.
///
/// The list of failures at a binary's end is what counts, and the sums after it: the lines `test NAME ... ok` may be torn by
/// what a test or its children print.
pub fn parse(output: &str) -> Report {
    let mut report = Report::default();
    let mut list: Option<Vec<String>> = None;
    for line in output.lines() {
        if line == "failures:" {
            // Comes twice: before the failed tests' output, and before the list of their names.
            list = Some(Vec::new());
        } else if let Some(sums) = sums(line) {
            report.failed.append(&mut list.take().unwrap_or_default());
            report.passed += count(sums, "passed");
            report.ignored += count(sums, "ignored");
            report.ended += 1;
        } else if let Some(names) = list.as_mut() {
            match line.strip_prefix("    ") {
                Some(name) => names.push(name.to_owned()),
                None if line.is_empty() => {}
                None => list = None,
            }
        } else if let Some((name, _)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
            report.named.push(name.trim_end_matches(" - should panic").to_owned());
        }
    }
    report
}

/// The sums of a binary's last line; a test may print something alike.
fn sums(line: &str) -> Option<&str> {
    let sums = line.strip_prefix("test result: ")?;
    (sums.starts_with("ok. ") || sums.starts_with("FAILED. ")).then_some(sums)
}

/// From `FAILED. 3 passed; 1 failed; 0 ignored; …` the number before `word`.
fn count(sums: &str, word: &str) -> u64 {
    let fields = sums.split(['.', ';']).map(str::trim);
    fields
        .filter_map(|field| field.strip_suffix(word)?.trim().parse::<u64>().ok())
        .next()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_BINARIES: &str = "
running 3 tests
test a::passes ... ok
test a::is_left_out ... ignored
test a::fails ... FAILED

failures:

---- a::fails stdout ----
failures:
    not_a_test

thread 'a::fails' panicked at src/lib.rs:1:1:
test result: none of your business


failures:
    a::fails

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s


running 2 tests
test b::one ... ok
test b::two - should panic ... ok

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.00s
";

    #[test]
    fn sums_up_all_binaries() {
        // The line that a failing test printed looks like a sum; it must not hide the failure.
        let report = parse(TWO_BINARIES);
        assert_eq!(report.failed, ["a::fails"]);
        assert_eq!(
            report.named,
            ["a::passes", "a::is_left_out", "a::fails", "b::one", "b::two"]
        );
        assert_eq!((report.passed, report.ignored, report.ended), (3, 1, 2));
    }

    #[test]
    fn two_failures() {
        let report =
            parse("failures:\n    x\n    y::z\n\ntest result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured\n");
        assert_eq!(report.failed, ["x", "y::z"]);
        assert_eq!(report.passed, 10);
    }

    #[test]
    fn nothing_ended() {
        assert_eq!(parse("error: could not compile\n"), Report::default());
        assert_eq!(parse("running 1 test\ntest dies ... ").ended, 0);
    }
}
