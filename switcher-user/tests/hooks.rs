//! Hooks on real interfaces, in a namespace of the test's own. Needs root; fails without it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod place;

use aya::util::KernelVersion;
use switcher_user::kernel::{Datapath, HookMode, Role};

use place::Place;

/// Programs at ingress and egress, however they are attached: before Linux 6.6 there is no TCX, and `Auto` takes clsact.
fn programs(place: &Place) -> [usize; 2] {
    use aya::programs::{SchedClassifier, TcAttachType};
    [(TcAttachType::Ingress, "ingress"), (TcAttachType::Egress, "egress")].map(|(kind, hook)| {
        if KernelVersion::current().unwrap() < KernelVersion::new(6, 6, 0) {
            place.filters(hook).matches("direct-action").count()
        } else {
            SchedClassifier::query_tcx("sw0", kind).unwrap().1.len()
        }
    })
}

#[test]
fn programs_outlive_the_agent_and_the_next_one_replaces_its_programs() {
    let place = Place::new("tcx");
    let ifindex = place.ifindex();
    place.inside(|| {
        for _agent in 0..3 {
            let mut datapath = place.open(HookMode::Auto);
            datapath.attach("sw0", ifindex, Role::Edge).unwrap();
            // An edge that is a backend's veth too has one ingress program still.
            datapath.attach("sw0", ifindex, Role::Backend).unwrap();
            drop(datapath);
            assert_eq!(programs(&place), [1, 1]);
        }
        Datapath::detach(&place.bpffs).unwrap();
        assert_eq!(programs(&place), [0, 0]);
    });
}

#[test]
fn clsact_filters_outlive_the_agent_and_the_next_one_replaces_them() {
    let place = Place::new("clsact");
    let ifindex = place.ifindex();
    let count = || ["ingress", "egress"].map(|hook| place.filters(hook).matches("direct-action").count());
    place.inside(|| {
        for _agent in 0..3 {
            let mut datapath = place.open(HookMode::Clsact);
            datapath.attach("sw0", ifindex, Role::Edge).unwrap();
            drop(datapath);
            assert_eq!(count(), [1, 1], "{}", place.filters("ingress"));
        }
        Datapath::detach(&place.bpffs).unwrap();
        assert_eq!(count(), [0, 0]);
    });
}

#[test]
fn a_new_interface_under_an_old_name_is_attached_anew() {
    let place = Place::new("again");
    let first = place.ifindex();
    place.inside(|| {
        let mut datapath = place.open(HookMode::Auto);
        datapath.attach("sw0", first, Role::Edge).unwrap();
        place.ip("link del sw0");
        place.ip("link add sw0 type veth peer name sw1");
        datapath.attach("sw0", place.ifindex(), Role::Edge).unwrap();
        assert_eq!(programs(&place), [1, 1]);
    });
}

#[test]
fn an_interface_that_is_not_there_is_an_error_that_names_it() {
    let place = Place::new("none");
    let error = place.inside(|| place.open(HookMode::Auto).attach("nosuch", 77, Role::Edge).unwrap_err());
    assert!(error.to_string().contains("nosuch"), "{error}");
}
