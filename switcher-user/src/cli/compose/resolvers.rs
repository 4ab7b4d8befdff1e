//! The host's own resolvers and search domains, as containers can use them.

use std::net::IpAddr;

/// Where the host's resolvers stand; those behind the first where it names only a cache on loopback: of systemd-resolved,
/// of `NetworkManager`'s and of Debian's dnsmasq.
const RESOLV_FILES: [&str; 4] = [
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/NetworkManager/no-stub-resolv.conf",
    "/run/dnsmasq/resolv.conf",
];
/// A resolver asks three at most, and the agent is the first.
const RESOLVERS_MAX: usize = 2;
/// What each C library takes of a search list.
const SEARCH_MAX: usize = 6;
const SEARCH_BYTES_MAX: usize = 256;

/// Who answers names on the host, and where it searches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resolvers {
    /// Those that a container can reach. None: the host asks itself, at a loopback address.
    pub servers: Vec<IpAddr>,
    /// Its search domains.
    pub search: Vec<String>,
}

impl Resolvers {
    /// As they are now.
    pub fn of_host() -> Self {
        let files = RESOLV_FILES
            .iter()
            .filter_map(|file| std::fs::read_to_string(file).ok());
        Self::of(files)
    }

    /// The servers of the first file that names one a container can reach, the search list of the first that has one.
    fn of(files: impl Iterator<Item = String>) -> Self {
        let mut found = Self::default();
        for text in files {
            if found.servers.is_empty() {
                found.servers = nameservers(&text);
            }
            if found.search.is_empty() {
                found.search = search(&text);
            }
            if !found.servers.is_empty() {
                break;
            }
        }
        found
    }

    /// The search list of a container: this zone first, then the host's domains.
    pub fn search_after(&self, zone: &str) -> Vec<String> {
        let mut all = vec![zone.to_owned()];
        let mut bytes = zone.len();
        for domain in self.search.iter().filter(|domain| *domain != zone) {
            bytes += 1 + domain.len();
            if all.len() == SEARCH_MAX || bytes > SEARCH_BYTES_MAX {
                break;
            }
            all.push(domain.clone());
        }
        all
    }
}

fn nameservers(text: &str) -> Vec<IpAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then_some(())?;
        words.next()?.parse().ok()
    });
    named
        .filter(|address: &IpAddr| !address.is_loopback())
        .take(RESOLVERS_MAX)
        .collect()
}

/// The last line of its kind counts. `.` is the root, which is asked in any case.
fn search(text: &str) -> Vec<String> {
    let mut lists = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let kind = words.next()?;
        let domains = words.take(if kind == "domain" { 1 } else { SEARCH_MAX });
        matches!(kind, "search" | "domain").then(|| domains.filter(|one| *one != ".").map(str::to_owned).collect())
    });
    lists.next_back().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY_HAND: &str = "# by hand\ndomain old.example\nsearch example.net . corp.example\nnameserver 127.0.0.53\n";

    #[test]
    fn resolvers_are_those_a_container_can_reach() {
        let behind = "search other.example\nnameserver 10.0.0.2\nnameserver fd00::2\nnameserver 10.0.0.3\n";
        let of = |files: &[&str]| Resolvers::of(files.iter().map(|&text| text.to_owned()));
        let servers: Vec<IpAddr> = ["10.0.0.2", "fd00::2"].map(|one| one.parse().unwrap()).to_vec();
        let search = ["example.net".to_owned(), "corp.example".to_owned()];
        for (files, expected) in [
            (&[BY_HAND, behind, "nameserver 10.9.9.9"][..], &servers[..]),
            (&[BY_HAND, "nameserver ::1"], &[]),
        ] {
            let found = of(files);
            assert_eq!((&found.servers[..], &found.search[..]), (expected, &search[..]));
        }
        assert_eq!(of(&[behind]).search, ["other.example"]);
        assert_eq!(of(&[]), Resolvers::default());
    }

    #[test]
    fn a_search_list_is_no_longer_than_a_resolver_takes() {
        let searched = |domains: &[String]| {
            let host = Resolvers {
                search: domains.to_vec(),
                ..Resolvers::default()
            };
            host.search_after("shop.example")
        };
        let few = ["corp.example".to_owned(), "shop.example".to_owned()];
        assert_eq!(searched(&few), ["shop.example", "corp.example"]);
        let many: Vec<String> = (0..9).map(|number| format!("d{number}.example")).collect();
        let all = searched(&many);
        assert_eq!((all.len(), all.last().unwrap().as_str()), (SEARCH_MAX, "d4.example"));
        assert_eq!(searched(&["a".repeat(200), "b".repeat(60)]).len(), 2);
    }
}
