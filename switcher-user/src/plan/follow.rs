//! Sets that follow containers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use super::{Alias, Desired, FlowSetIds, Refusal};
use crate::model::{
    AliasName, BACKENDS_PER_SET_MAX, BackendAddress, ContainerSource, Listener, Protocol, SetName, is_open,
};

/// A container that new connections may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name, for notes.
    pub name: String,
    /// The alias and set that its labels name.
    pub labelled: Option<(AliasName, SetName)>,
    /// Its compose project and service.
    pub service: Option<(String, String)>,
    /// What it was made of.
    pub hash: Option<String>,
    /// Where it is.
    pub addresses: Vec<IpAddr>,
    /// The port that its label names.
    pub port: Option<NonZeroU16>,
    /// Where it was asked for a connection, by whatever aliases.
    pub asked: BTreeSet<u16>,
    /// Where it took one.
    pub open: BTreeSet<SocketAddr>,
}

impl Candidate {
    /// Whether it belongs to this set.
    #[must_use]
    pub fn serves(&self, alias: &AliasName, set: &SetName, source: &ContainerSource) -> bool {
        match source {
            ContainerSource::Labels => self.labelled.as_ref().is_some_and(|(a, s)| a == alias && s == set),
            ContainerSource::Service {
                project,
                service,
                hashes,
                ..
            } => {
                let same = |(p, s): &(String, String)| p == project.as_str() && s == service.as_str();
                self.service.as_ref().is_some_and(same)
                    && (hashes.is_empty() || self.hash.as_ref().is_some_and(|hash| hashes.contains(hash)))
            }
        }
    }

    /// Where it takes connections of these listeners.
    #[must_use]
    pub fn places(&self, listen: &[Listener], source: &ContainerSource) -> Vec<BackendAddress> {
        let port = self.port.or(source.port());
        let mut ports = target_ports(listen, port);
        if ports.is_empty() {
            ports.clone_from(&self.asked);
        }
        let all = self.addresses.iter().copied();
        let open = all.filter(|address| is_open(*address, &ports, &self.open));
        open.map(|address| BackendAddress { address, port }).collect()
    }
}

impl Alias {
    /// The TCP ports of containers that its listeners lead to; `port`: what a set says of its own.
    #[must_use]
    pub fn target_ports(&self, port: Option<NonZeroU16>) -> BTreeSet<u16> {
        target_ports(&self.listen, port)
    }
}

fn target_ports(listen: &[Listener], port: Option<NonZeroU16>) -> BTreeSet<u16> {
    let listeners = listen.iter().filter(|one| one.protocol == Protocol::Tcp);
    listeners
        .map(|listener| port.map_or(listener.port, NonZeroU16::get))
        .collect()
}

/// Where the ready containers of a set take connections of its alias, no two alike.
#[must_use]
pub fn places_of(
    ready: &[Candidate],
    alias: &AliasName,
    set: &SetName,
    listen: &[Listener],
    source: &ContainerSource,
) -> Vec<BackendAddress> {
    let serving = ready.iter().filter(|candidate| candidate.serves(alias, set, source));
    let mut places: Vec<BackendAddress> = serving.flat_map(|candidate| candidate.places(listen, source)).collect();
    places.sort_unstable();
    places.dedup();
    places
}

impl Desired {
    /// Lets every set that follows containers have exactly the `ready` ones. One that would have none keeps what it has:
    /// nothing is better. Returns what is not as somebody may expect, as sentences; what goes wrong with one set stays with it.
    /// `only`: this set and no other.
    pub fn follow(
        &mut self,
        ready: &[Candidate],
        taken: &FlowSetIds,
        only: Option<&(AliasName, SetName)>,
    ) -> Vec<String> {
        let mut notes = Vec::new();
        self.make_labelled_sets(ready, taken, only, &mut notes);
        for (alias, set, source) in self.following() {
            if only.is_some_and(|(a, s)| (a, s) != (&alias, &set)) {
                continue;
            }
            let mut places = places_of(ready, &alias, &set, &self.aliases[&alias].listen, &source);
            if places.len() > BACKENDS_PER_SET_MAX {
                notes.push(format!(
                    "set {alias}/{set}: {} containers serve it, only {BACKENDS_PER_SET_MAX} are used",
                    places.len()
                ));
                places.truncate(BACKENDS_PER_SET_MAX);
            }
            if places.is_empty() {
                notes.push(format!(
                    "set {alias}/{set}: no container of it is ready; it keeps the backends it had last"
                ));
                continue;
            }
            let had: BTreeSet<BackendAddress> = self.backends_of(&alias, &set).into_iter().collect();
            if had.iter().ne(places.iter()) {
                let put = self.put_following(&alias, &set, &places, source, taken);
                notes.extend(put.err().map(|refusal| refusal.to_string()));
            }
        }
        notes
    }

    fn put_following(
        &mut self,
        alias: &AliasName,
        set: &SetName,
        places: &[BackendAddress],
        source: ContainerSource,
        taken: &FlowSetIds,
    ) -> Result<(), Refusal> {
        self.set_put(alias, set, places, taken)?;
        self.set_containers(alias, set, Some(source))
    }

    /// The sets that follow containers, and those that labels name.
    #[must_use]
    pub fn sets_to_follow(&self, ready: &[Candidate]) -> BTreeSet<(AliasName, SetName)> {
        let named = ready.iter().filter_map(|candidate| candidate.labelled.clone());
        let following = self.following().into_iter().map(|(alias, set, _)| (alias, set));
        following.chain(named).collect()
    }

    /// Number and address of each backend of a set.
    #[must_use]
    pub fn numbered_backends(&self, alias: &AliasName, set: &SetName) -> Vec<(u32, IpAddr)> {
        let set = self.aliases.get(alias).and_then(|alias| alias.sets.get(set));
        let backends = set.into_iter().flat_map(|set| &set.backends);
        backends.map(|backend| (backend.id, backend.address.address)).collect()
    }

    /// The sets that follow containers, and which.
    #[must_use]
    pub fn following(&self) -> Vec<(AliasName, SetName, ContainerSource)> {
        let sets = self
            .aliases
            .iter()
            .flat_map(|(name, alias)| alias.sets.iter().map(move |set| (name, set)));
        sets.filter_map(|(alias, (name, set))| Some((alias.clone(), name.clone(), set.containers.clone()?)))
            .collect()
    }

    fn backends_of(&self, alias: &AliasName, set: &SetName) -> Vec<BackendAddress> {
        let set = self.aliases.get(alias).and_then(|alias| alias.sets.get(set));
        set.map(|set| set.backends.iter().map(|backend| backend.address).collect())
            .unwrap_or_default()
    }

    /// A label may name a set that is not there yet; it gets no share by that.
    fn make_labelled_sets(
        &mut self,
        ready: &[Candidate],
        taken: &FlowSetIds,
        only: Option<&(AliasName, SetName)>,
        notes: &mut Vec<String>,
    ) {
        let mut wanted: BTreeMap<(AliasName, SetName), &Candidate> = BTreeMap::new();
        for candidate in ready {
            if let Some(labelled) = &candidate.labelled
                && only.is_none_or(|only| only == labelled)
            {
                wanted.entry(labelled.clone()).or_insert(candidate);
            }
        }
        for ((alias, set), candidate) in wanted {
            let Some(known) = self.aliases.get(&alias) else {
                notes.push(format!(
                    "container {}: there is no alias '{alias}'; make it with: switcher alias put {alias} --listen ADDR:PORT/PROTO",
                    candidate.name
                ));
                continue;
            };
            match known.sets.get(&set) {
                Some(set) if set.containers.is_some() => {}
                Some(_) => notes.push(format!(
                    "container {}: set {alias}/{set} was given by hand and stays so; remove the set, or the label",
                    candidate.name
                )),
                None => {
                    let places = candidate.places(&known.listen, &ContainerSource::Labels);
                    if places.is_empty() {
                        continue;
                    }
                    let put = self.put_following(&alias, &set, &places, ContainerSource::Labels, taken);
                    notes.extend(put.err().map(|refusal| refusal.to_string()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PathPolicy;

    fn desired() -> Desired {
        let mut desired = Desired::default();
        let web = "web".parse().unwrap();
        let listen = ["198.51.100.10:80/tcp".parse().unwrap()];
        desired.alias_put(&web, &listen, PathPolicy::Auto).unwrap();
        desired
    }

    fn candidate(name: &str, address: &str, set: &str) -> Candidate {
        Candidate {
            name: name.to_owned(),
            labelled: Some(("web".parse().unwrap(), set.parse().unwrap())),
            service: Some(("shop".to_owned(), set.to_owned())),
            hash: None,
            addresses: vec![address.parse().unwrap()],
            port: None,
            asked: BTreeSet::from([80]),
            open: BTreeSet::from([format!("{address}:80").parse().unwrap()]),
        }
    }

    fn places(desired: &Desired, set: &str) -> Vec<String> {
        let places = desired.backends_of(&"web".parse().unwrap(), &set.parse().unwrap());
        places.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn labelled_containers_come_and_go() {
        let mut desired = desired();
        let (a, b) = (candidate("a", "172.17.0.2", "v1"), candidate("b", "172.17.0.3", "v1"));
        assert!(
            desired
                .follow(&[a.clone(), b.clone()], &BTreeSet::new(), None)
                .is_empty()
        );
        assert_eq!(places(&desired, "v1"), ["172.17.0.2", "172.17.0.3"]);
        desired.follow(&[b], &BTreeSet::new(), None);
        assert_eq!(places(&desired, "v1"), ["172.17.0.3"]);
        desired.follow(&[a], &BTreeSet::new(), None);
        assert_eq!(places(&desired, "v1"), ["172.17.0.2"]);
    }

    #[test]
    fn a_set_is_never_emptied() {
        let mut desired = desired();
        let only = candidate("a", "172.17.0.2", "v1");
        desired.follow(&[only], &BTreeSet::new(), None);
        let before = desired.clone();
        let notes = desired.follow(&[], &BTreeSet::new(), None);
        assert_eq!(desired, before);
        assert!(notes[0].contains("keeps the backends it had last"), "{notes:?}");
    }

    #[test]
    fn what_was_given_by_hand_stays() {
        let mut desired = desired();
        let (web, v1) = ("web".parse().unwrap(), "v1".parse().unwrap());
        desired
            .set_put(&web, &v1, &["10.1.0.2".parse().unwrap()], &BTreeSet::new())
            .unwrap();
        let notes = desired.follow(&[candidate("a", "172.17.0.2", "v1")], &BTreeSet::new(), None);
        assert_eq!(places(&desired, "v1"), ["10.1.0.2"]);
        assert!(notes[0].contains("by hand"), "{notes:?}");
    }

    #[test]
    fn a_service_is_followed_by_project_hash_and_port() {
        let mut desired = desired();
        let (web, v1) = ("web".parse().unwrap(), "v1".parse().unwrap());
        desired
            .set_put(&web, &v1, &["10.1.0.2".parse().unwrap()], &BTreeSet::new())
            .unwrap();
        let source = ContainerSource::Service {
            project: "shop".parse().unwrap(),
            service: "v1".parse().unwrap(),
            hashes: vec!["new".to_owned()],
            port: NonZeroU16::new(8080),
        };
        desired.set_containers(&web, &v1, Some(source)).unwrap();
        let mut old = candidate("a", "172.17.0.2", "v1");
        old.labelled = None;
        let mut new = old.clone();
        (new.hash, new.addresses) = (Some("new".to_owned()), vec!["172.17.0.9".parse().unwrap()]);
        new.open = BTreeSet::from(["172.17.0.9:8080".parse().unwrap()]);
        let mut other = new.clone();
        other.service = Some(("other".to_owned(), "v1".to_owned()));
        other.addresses = vec!["172.17.0.8".parse().unwrap()];
        other.open = BTreeSet::from(["172.17.0.8:8080".parse().unwrap()]);
        desired.follow(&[old, new, other], &BTreeSet::new(), None);
        assert_eq!(places(&desired, "v1"), ["172.17.0.9:8080"]);
    }

    #[test]
    fn a_container_serves_where_it_takes_connections_of_the_alias() {
        let mut desired = desired();
        let mut one = candidate("a", "172.17.0.2", "v1");
        one.addresses.push("fd00::2".parse().unwrap());
        let mut metrics_only = candidate("b", "172.17.0.3", "v1");
        metrics_only.open = BTreeSet::from(["172.17.0.3:9100".parse().unwrap()]);
        let udp = "198.51.100.10:80/udp".parse().unwrap();
        let dns = "dns".parse().unwrap();
        desired.alias_put(&dns, &[udp], PathPolicy::Auto).unwrap();
        desired.follow(&[one.clone(), metrics_only], &BTreeSet::new(), None);
        assert_eq!(places(&desired, "v1"), ["172.17.0.2"]);
        assert_eq!(desired.aliases[&dns].target_ports(None), BTreeSet::new());
        assert_eq!(
            desired.aliases[&"web".parse().unwrap()].target_ports(NonZeroU16::new(8080)),
            BTreeSet::from([8080])
        );
        one.open.insert("[fd00::2]:80".parse().unwrap());
        desired.follow(&[one], &BTreeSet::new(), None);
        assert_eq!(places(&desired, "v1"), ["172.17.0.2", "fd00::2"]);
    }
}
