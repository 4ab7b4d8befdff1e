use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::image::Path;
use crate::model::{AliasName, PathPolicy, SETS_PER_ALIAS_MAX, SetName, Weight};
use crate::net::{BackendRoute, Observed, RouteKind, XdpEdge};

fn alias(name: &str) -> AliasName {
    name.parse().unwrap()
}

fn set(name: &str) -> SetName {
    name.parse().unwrap()
}

fn weights(list: &[(&str, i64)]) -> BTreeMap<SetName, Weight> {
    list.iter()
        .map(|(name, weight)| (set(name), (*weight).try_into().unwrap()))
        .collect()
}

/// Alias `web` with sets `v1` (everything) and `v2`.
fn web(path: PathPolicy) -> Desired {
    let mut desired = Desired::default();
    desired
        .alias_put(&alias("web"), &["198.51.100.10:80/tcp".parse().unwrap()], path)
        .unwrap();
    for (name, address) in [("v1", "10.1.0.2:8080"), ("v2", "10.1.1.2")] {
        desired
            .set_put(
                &alias("web"),
                &set(name),
                &[address.parse().unwrap()],
                &FlowSetIds::new(),
            )
            .unwrap();
    }
    desired.split(&alias("web"), &weights(&[("v1", 100)])).unwrap();
    desired.check().unwrap();
    desired
}

fn observed(desired: &Desired, kind: RouteKind, firewall: bool) -> Observed {
    let route = BackendRoute {
        ifindex: 7,
        interface: "veth7".to_owned(),
        kind,
    };
    Observed {
        backends: desired
            .backend_addresses()
            .into_iter()
            .map(|address| (address, route.clone()))
            .collect(),
        firewall: if firewall {
            vec!["table ip nat has rules".to_owned()]
        } else {
            Vec::new()
        },
        ..Observed::default()
    }
}

#[test]
fn the_path_follows_policy_place_and_firewall() {
    use PathPolicy::{Auto, Bypass, Stack};
    use RouteKind::{Routed, Unreachable, Veth};
    let table = [
        (Auto, Veth, false, Some(true)),
        (Auto, Veth, true, Some(false)),
        (Auto, Routed, false, Some(false)),
        (Auto, Unreachable, false, Some(false)),
        (Bypass, Veth, false, Some(true)),
        (Bypass, Veth, true, Some(true)),
        (Bypass, Routed, false, None),
        (Bypass, Unreachable, false, None),
        (Stack, Veth, false, Some(false)),
        (Stack, Routed, true, Some(false)),
        (Stack, RouteKind::Local, false, Some(false)),
        (Auto, RouteKind::Local, false, Some(false)),
        (Bypass, RouteKind::Local, false, None),
    ];
    for (policy, kind, firewall, bypass) in table {
        let desired = web(policy);
        let everything = Touched::between(&Desired::default(), &desired);
        let resolved = desired.resolve(&observed(&desired, kind, firewall), &everything);
        let case = format!("{policy:?} {kind:?} firewall {firewall}");
        let got = resolved
            .ok()
            .map(|resolved| resolved.image.aliases[0].sets[0].backends[0].path);
        let wanted = bypass.map(|bypass| {
            if bypass {
                Path::Bypass { ifindex: 7 }
            } else {
                Path::Stack
            }
        });
        assert_eq!(got, wanted, "{case}");
    }
}

/// The backend behind an interface that has XDP, whose driver takes part; and behind one whose driver does not.
#[test]
fn a_backend_behind_a_driver_that_sends_on_is_reached_so() {
    use PathPolicy::{Auto, Bypass, Stack};
    let table = [
        (Auto, true, false, Some(Path::Driver { ifindex: 7 })),
        (Auto, true, true, Some(Path::Stack)),
        (Auto, false, false, Some(Path::Stack)),
        (Bypass, true, true, Some(Path::Driver { ifindex: 7 })),
        (Bypass, false, false, None),
        (Stack, true, false, Some(Path::Stack)),
    ];
    for (policy, sends_on, firewall, wanted) in table {
        let desired = web(policy);
        let everything = Touched::between(&Desired::default(), &desired);
        let edge = |ifindex, sends_on| XdpEdge {
            name: format!("edge{ifindex}"),
            ifindex,
            sends_on,
        };
        let observed = Observed {
            xdp_edges: vec![edge(2, true), edge(7, sends_on)],
            ..observed(&desired, RouteKind::Routed, firewall)
        };
        let got = desired.resolve(&observed, &everything).ok();
        let path = got.map(|resolved| resolved.image.aliases[0].sets[0].backends[0].path);
        assert_eq!(path, wanted, "{policy:?}, sends on {sends_on}, firewall {firewall}");
    }
}

/// `path: bypass` is had where it can be, and it is said where not.
#[test]
fn clients_of_an_edge_that_cannot_send_on_are_named() {
    let desired = web(PathPolicy::Bypass);
    let everything = Touched::between(&Desired::default(), &desired);
    let edge = |name: &str, ifindex, sends_on| XdpEdge {
        name: name.to_owned(),
        ifindex,
        sends_on,
    };
    let why = |xdp_edges, tc_edges| {
        let observed = Observed {
            xdp_edges,
            tc_edges,
            ..observed(&desired, RouteKind::Routed, false)
        };
        let resolved = desired.resolve(&observed, &everything).unwrap();
        resolved.paths.values().next().unwrap().values().next().unwrap()[0]
            .why
            .clone()
    };
    let all = why(vec![edge("a", 2, true), edge("b", 7, true)], Vec::new());
    assert!(!all.contains("take the stack"), "{all}");
    let some = why(vec![edge("a", 2, false), edge("b", 7, true)], vec!["c".to_owned()]);
    assert!(some.contains("clients that come in by a, c take the stack"), "{some}");
}

#[test]
fn what_was_not_touched_takes_the_stack_with_a_note() {
    let desired = web(PathPolicy::Bypass);
    let resolved = desired
        .resolve(&observed(&desired, RouteKind::Unreachable, false), &Touched::default())
        .unwrap();
    assert_eq!(resolved.image.aliases[0].sets[0].backends[0].path, Path::Stack);
    assert_eq!(
        resolved.notes.len(),
        1,
        "only the set with a share: {:?}",
        resolved.notes
    );
    assert!(resolved.notes[0].contains("no route"), "{:?}", resolved.notes);
    assert!(resolved.veths.is_empty());
}

#[test]
fn a_host_that_does_not_forward_is_noted_where_the_stack_is_needed() {
    let notes = |policy, v4_off| {
        let desired = web(policy);
        let observed = Observed {
            forwards_no_v4: v4_off,
            ..observed(&desired, RouteKind::Veth, false)
        };
        desired.resolve(&observed, &Touched::default()).unwrap().notes
    };
    let said = notes(PathPolicy::Stack, true);
    assert!(said.len() == 1 && said[0].contains("net.ipv4.ip_forward"), "{said:?}");
    assert_eq!(notes(PathPolicy::Stack, false), Vec::<String>::new());
    assert_eq!(notes(PathPolicy::Bypass, true), Vec::<String>::new());
}

#[test]
fn only_sets_with_a_share_are_in_the_image_and_ports_default_to_the_listeners() {
    let mut desired = web(PathPolicy::Auto);
    let sets = |desired: &Desired| {
        let observed = observed(desired, RouteKind::Veth, false);
        desired.resolve(&observed, &Touched::default()).unwrap().image.aliases[0].clone()
    };
    let plan = sets(&desired);
    assert_eq!(
        (plan.sets.len(), plan.sets[0].id, plan.sets[0].backends[0].port),
        (1, 1, 8_080)
    );
    desired.split(&alias("web"), &weights(&[("v1", 1), ("v2", 1)])).unwrap();
    let plan = sets(&desired);
    assert_eq!((plan.sets[1].id, plan.sets[1].backends[0].port), (2, 0));
    assert_eq!(
        plan.segments.iter().map(|segment| segment.set).collect::<Vec<_>>(),
        [0, 1]
    );
}

#[test]
fn an_alias_without_a_split_has_no_segments() {
    let mut desired = Desired::default();
    desired
        .alias_put(
            &alias("web"),
            &["198.51.100.10:80/tcp".parse().unwrap()],
            PathPolicy::Auto,
        )
        .unwrap();
    let resolved = desired.resolve(&Observed::default(), &Touched::default()).unwrap();
    assert!(resolved.image.aliases[0].segments.is_empty() && resolved.image.aliases[0].sets.is_empty());
}

#[test]
fn touched_is_what_gained_or_changed() {
    let old = web(PathPolicy::Auto);
    assert_eq!(Touched::between(&old, &old), Touched::default());
    let mut new = old.clone();
    new.split(&alias("web"), &weights(&[("v1", 60), ("v2", 40)])).unwrap();
    let sets: Vec<_> = Touched::between(&old, &new)
        .sets
        .into_iter()
        .map(|(_, set)| set)
        .collect();
    assert_eq!(sets, [set("v2")], "who loses is not asked to be perfect");
    let mut new = old.clone();
    new.alias_put(&alias("web"), &old.aliases[&alias("web")].listen, PathPolicy::Stack)
        .unwrap();
    assert!(Touched::between(&old, &new).aliases.contains(&alias("web")));
}

#[test]
fn limits_are_refused() {
    let mut desired = web(PathPolicy::Auto);
    let listener = "198.51.100.10:80/tcp".parse().unwrap();
    desired
        .alias_put(&alias("web"), &[listener, listener], PathPolicy::Auto)
        .unwrap();
    assert!(matches!(desired.check(), Err(Refusal::ListenerTwice { index: 1, .. })));
    desired.alias_put(&alias("web"), &[], PathPolicy::Auto).unwrap();
    assert!(matches!(desired.check(), Err(Refusal::NoListeners { .. })));
    let many: Vec<_> = (1..=65)
        .map(|port| format!("198.51.100.10:{port}/tcp").parse().unwrap())
        .collect();
    desired.alias_put(&alias("web"), &many, PathPolicy::Auto).unwrap();
    assert!(matches!(
        desired.check(),
        Err(Refusal::TooManyListeners { count: 65, .. })
    ));

    let mut desired = web(PathPolicy::Auto);
    for number in 0..SETS_PER_ALIAS_MAX {
        let backend = ["10.1.9.9".parse().unwrap()];
        desired
            .set_put(&alias("web"), &set(&format!("x{number}")), &backend, &FlowSetIds::new())
            .unwrap();
    }
    assert!(matches!(desired.check(), Err(Refusal::TooManySets { count: 66, .. })));

    let all: FlowSetIds = (0..switcher_ebpf::abi::SETS_MAX).collect();
    let full = web(PathPolicy::Auto).set_put(&alias("web"), &set("v3"), &["10.1.0.9".parse().unwrap()], &all);
    assert!(matches!(full, Err(Refusal::SetNumbersUsedUp { .. })));

    let mut desired = Desired {
        next_backend_id: u32::MAX,
        ..web(PathPolicy::Auto)
    };
    let full = desired.set_put(
        &alias("web"),
        &set("v3"),
        &["10.1.0.9".parse().unwrap()],
        &FlowSetIds::new(),
    );
    assert!(matches!(full, Err(Refusal::NumbersUsedUp { .. })));
}

#[test]
fn the_alias_that_came_later_is_the_one_that_claims() {
    let mut desired = web(PathPolicy::Auto);
    desired
        .alias_put(
            &alias("api"),
            &["198.51.100.10:80/tcp".parse().unwrap()],
            PathPolicy::Auto,
        )
        .unwrap();
    let refusal = desired.check().unwrap_err();
    assert_eq!(refusal.field().as_deref(), Some("aliases.api.listen[0]"));
}

#[derive(Clone, Debug)]
enum Edit {
    AliasPut(u8, u8),
    AliasRm(u8),
    SetPut(u8, u8, Vec<u8>),
    SetRm(u8, u8),
    Split(u8, Vec<(u8, i64)>),
    Upgrade(u8, u8),
    Rollback(u8),
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let (a, s) = (0..3_u8, 0..4_u8);
    prop_oneof![
        (a.clone(), 1..9_u8).prop_map(|(alias, port)| Edit::AliasPut(alias, port)),
        a.clone().prop_map(Edit::AliasRm),
        (a.clone(), s.clone(), prop::collection::vec(1..20_u8, 1..5))
            .prop_map(|(alias, set, backends)| Edit::SetPut(alias, set, backends)),
        (a.clone(), s.clone()).prop_map(|(alias, set)| Edit::SetRm(alias, set)),
        (a.clone(), prop::collection::vec((s.clone(), 0..=1_000_i64), 1..4))
            .prop_map(|(alias, weights)| Edit::Split(alias, weights)),
        (a.clone(), s).prop_map(|(alias, set)| Edit::Upgrade(alias, set)),
        a.prop_map(Edit::Rollback),
    ]
}

fn edit(desired: &mut Desired, edit: &Edit) -> Result<(), Refusal> {
    let name = |number: &u8| alias(&format!("a{number}"));
    let of = |number: &u8| set(&format!("v{number}"));
    let none = FlowSetIds::new();
    match edit {
        Edit::AliasPut(at, port) => {
            let listen = [format!("198.51.100.10:{port}/tcp").parse().unwrap()];
            desired.alias_put(&name(at), &listen, PathPolicy::Auto)
        }
        Edit::AliasRm(at) => desired.alias_rm(&name(at)),
        Edit::SetPut(at, set, hosts) => {
            let backends: Vec<_> = hosts
                .iter()
                .map(|host| format!("10.1.0.{host}").parse().unwrap())
                .collect();
            desired.set_put(&name(at), &of(set), &backends, &none)
        }
        Edit::SetRm(at, set) => desired.set_rm(&name(at), &of(set)),
        Edit::Split(at, list) => {
            let list = list
                .iter()
                .map(|(set, weight)| (of(set), (*weight).try_into().unwrap()))
                .collect();
            desired.split(&name(at), &list).map(|_| ())
        }
        Edit::Upgrade(at, to) => desired.upgrade(&name(at), None, &of(to)).map(|_| ()),
        Edit::Rollback(at) => desired.rollback(&name(at)),
    }
}

proptest! {
    /// Whatever is asked for, in any order: what was accepted makes an image that holds together, and goes to disk and back.
    #[test]
    fn what_is_accepted_always_makes_an_image(edits in prop::collection::vec(any_edit(), 1..40)) {
        let mut desired = Desired::default();
        for one in &edits {
            let mut next = desired.clone();
            if edit(&mut next, one).and_then(|()| next.check()).is_err() {
                continue;
            }
            desired = next;
            let observed = observed(&desired, RouteKind::Veth, false);
            let image = desired.resolve(&observed, &Touched::default()).unwrap().image;
            let mut listeners = BTreeSet::new();
            let mut set_ids = BTreeSet::new();
            let mut backend_ids = BTreeSet::new();
            for plan in &image.aliases {
                prop_assert!(plan.listeners.iter().all(|listener| listeners.insert(*listener)));
                prop_assert!(plan.segments.iter().all(|segment| segment.set < plan.sets.len()));
                prop_assert!(plan.segments.last().is_none_or(|segment| segment.end == HASH_SPACE));
                prop_assert_eq!(plan.segments.is_empty(), plan.sets.is_empty());
                for set in &plan.sets {
                    prop_assert!(set_ids.insert(set.id) && set.id > 0 && !set.backends.is_empty());
                    prop_assert!(set.backends.iter().all(|backend| backend_ids.insert(backend.id)));
                }
            }
            let json = serde_json::to_string(&desired).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Desired>(&json).unwrap(), &desired);
        }
    }
}

#[test]
fn a_listener_on_loopback_is_refused_with_the_reason() {
    for (listener, at) in [("127.0.0.1:80/tcp", 0), ("127.9.9.9:80/tcp", 0), ("[::1]:80/tcp", 0)] {
        let mut desired = web(PathPolicy::Auto);
        desired
            .alias_put(&alias("web"), &[listener.parse().unwrap()], PathPolicy::Auto)
            .unwrap();
        let refusal = desired.check().unwrap_err();
        assert_eq!(refusal.field(), Some(format!("aliases.web.listen[{at}]")));
        assert!(refusal.to_string().contains("host itself"), "{refusal}");
    }
}
