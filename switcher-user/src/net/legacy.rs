//! Traces of iptables-legacy, whose rules netlink does not show.

use std::{fs, io};

/// The tables in use in the calling thread's network namespace, by family.
const FILES: [(&str, &str); 2] = [
    ("IPv4", "/proc/thread-self/net/ip_tables_names"),
    ("IPv6", "/proc/thread-self/net/ip6_tables_names"),
];

/// A sentence for each family that has tables. Whether a table holds rules cannot be seen here, so each counts, and so
/// does a list that may not be read.
pub(super) fn sentences() -> Vec<String> {
    FILES
        .iter()
        .filter_map(|(family, file)| judge(family, fs::read_to_string(file)))
        .collect()
}

fn judge(family: &str, names: io::Result<String>) -> Option<String> {
    match names {
        Ok(names) => sentence(family, &names),
        // The kernel has no iptables-legacy, or nobody used it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(format!(
            "iptables-legacy: {family} tables may be in use (the list cannot be read: {error})"
        )),
    }
}

fn sentence(family: &str, names: &str) -> Option<String> {
    let mut tables: Vec<&str> = names.split_whitespace().collect();
    tables.sort_unstable();
    let (noun, verb) = if tables.len() == 1 {
        ("table", "is")
    } else {
        ("tables", "are")
    };
    (!tables.is_empty()).then(|| {
        format!(
            "iptables-legacy: {family} {noun} {} {verb} in use (whether empty cannot be seen)",
            tables.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{judge, sentence};

    #[test]
    fn no_list_says_nothing_and_a_hidden_one_counts() {
        assert_eq!(judge("IPv4", Err(io::ErrorKind::NotFound.into())), None);
        assert_eq!(
            judge("IPv4", Err(io::ErrorKind::PermissionDenied.into())).as_deref(),
            Some("iptables-legacy: IPv4 tables may be in use (the list cannot be read: permission denied)")
        );
    }

    #[test]
    fn tables_are_named_and_no_table_says_nothing() {
        assert_eq!(sentence("IPv4", ""), None);
        let one = "iptables-legacy: IPv6 table filter is in use (whether empty cannot be seen)";
        assert_eq!(sentence("IPv6", "filter\n").as_deref(), Some(one));
        let two = "iptables-legacy: IPv4 tables filter, nat are in use (whether empty cannot be seen)";
        assert_eq!(sentence("IPv4", "nat\nfilter\n").as_deref(), Some(two));
    }
}
