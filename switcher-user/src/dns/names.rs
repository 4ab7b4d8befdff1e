//! Which names there are. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::Zone;

/// The aliases' addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// By name, in small letters. Of an alias there are as many as listeners at most.
    pub addresses: BTreeMap<String, Vec<IpAddr>>,
    /// Names that only one asks by, a container: what its links say, by its own address.
    pub links: BTreeMap<IpAddr, BTreeMap<String, Vec<IpAddr>>>,
}

/// What a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<'n> {
    /// None of ours: another server may know it.
    Elsewhere,
    /// It would be ours, and is not there.
    Missing,
    /// The zone itself.
    Zone,
    /// There are names below it, and nothing at it.
    Above,
    /// An alias, in the zone.
    Alias(&'n [IpAddr]),
    /// An alias by its bare name.
    Bare(&'n [IpAddr]),
}

impl Names {
    /// The addresses of a name as this client knows it.
    fn of(&self, client: IpAddr, name: &str) -> Option<&[IpAddr]> {
        let linked = self.links.get(&client).and_then(|links| links.get(name));
        linked.or_else(|| self.addresses.get(name)).map(Vec::as_slice)
    }

    /// Finds a name, as this client knows it: in small letters, without the dot at its end.
    pub(super) fn find(&self, client: IpAddr, zone: &Zone, name: &str) -> Found<'_> {
        let Some(rest) = name.strip_suffix(zone.as_str()) else {
            return self.of(client, name).map_or(Found::Elsewhere, Found::Bare);
        };
        if rest.is_empty() {
            return Found::Zone;
        }
        let Some(alias) = rest.strip_suffix('.') else {
            return Found::Elsewhere;
        };
        match self.of(client, alias) {
            Some(all) => Found::Alias(all),
            // "No such name" would say that there is nothing below it either (RFC 8020).
            None if self.is_above(alias) => Found::Above,
            None => Found::Missing,
        }
    }

    fn is_above(&self, name: &str) -> bool {
        let below = |alias: &String| alias.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
        self.addresses.keys().any(below)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// Who has links, and who has none.
    pub(in super::super) const LINKED: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 17, 0, 9));
    pub(in super::super) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 17, 0, 8));

    /// `web` with one address of each family, `a.b` with none, `many` with more than a datagram takes.
    pub(in super::super) fn names() -> Names {
        let both = vec!["198.18.255.2".parse().unwrap(), "fd00::5".parse().unwrap()];
        let many = (1..=64).map(|last| IpAddr::from([198, 51, 100, last])).collect();
        Names {
            addresses: BTreeMap::from([
                ("web".to_owned(), both),
                ("a.b".to_owned(), Vec::new()),
                ("many".to_owned(), many),
            ]),
            links: BTreeMap::from([(
                LINKED,
                BTreeMap::from([("db".to_owned(), vec![IpAddr::from([172, 17, 0, 7])])]),
            )]),
        }
    }

    #[test]
    fn what_is_not_there_is_told_apart_from_what_is_not_ours() {
        let (names, zone) = (names(), Zone::default());
        let web = &names.addresses["web"][..];
        for (name, found) in [
            ("web", Found::Bare(web)),
            ("web.switcher.internal", Found::Alias(web)),
            ("a.b.switcher.internal", Found::Alias(&[])),
            ("b.switcher.internal", Found::Above),
            ("eb.switcher.internal", Found::Missing),
            ("other.switcher.internal", Found::Missing),
            ("x.web.switcher.internal", Found::Missing),
            ("switcher.internal", Found::Zone),
            ("xswitcher.internal", Found::Elsewhere),
            ("internal", Found::Elsewhere),
            ("web.example.com", Found::Elsewhere),
            ("other", Found::Elsewhere),
            ("", Found::Elsewhere),
        ] {
            assert_eq!(names.find(CLIENT, &zone, name), found, "{name}");
        }
    }

    #[test]
    fn another_zone_answers_its_own_names() {
        let (names, zone) = (names(), "shop.example".parse().unwrap());
        assert!(matches!(names.find(CLIENT, &zone, "web.shop.example"), Found::Alias(_)));
        assert_eq!(names.find(CLIENT, &zone, "web.switcher.internal"), Found::Elsewhere);
    }

    #[test]
    fn a_links_name_is_known_to_whoever_has_the_link() {
        let (names, zone) = (names(), Zone::default());
        let there = [IpAddr::from([172, 17, 0, 7])];
        assert_eq!(names.find(LINKED, &zone, "db"), Found::Bare(&there));
        assert_eq!(names.find(LINKED, &zone, "db.switcher.internal"), Found::Alias(&there));
        assert_eq!(names.find(CLIENT, &zone, "db"), Found::Elsewhere);
        assert!(matches!(names.find(LINKED, &zone, "web"), Found::Bare(_)));
    }
}
