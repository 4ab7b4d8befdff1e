//! What one agent pins, the next takes over: after a look at each piece. Needs root; fails without it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod place;

use std::fs;
use std::path::{Path, PathBuf};

use aya::maps::{MapData, MapInfo};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{ProgramInfo, SchedClassifier, TcAttachType};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use switcher_user::kernel::{Datapath, Found, HookMode, Role};

use place::Place;

/// Ids of everything that is pinned, by path below the root.
#[derive(Debug, PartialEq, Eq)]
struct Ids {
    maps: Vec<(String, u32)>,
    programs: Vec<(String, u32)>,
    links: Vec<(String, u32)>,
    /// Programs that the links run.
    running: Vec<u32>,
}

fn root(place: &Place) -> PathBuf {
    let versions = place.bpffs.join("switcher");
    let mut found = fs::read_dir(versions).unwrap().flatten();
    let root = found.next().expect("a data path is pinned").path();
    assert!(found.next().is_none(), "one version only");
    root
}

fn pins(folder: &Path) -> Vec<PathBuf> {
    let mut pins: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    pins.sort();
    pins
}

fn named(folder: &Path, id: impl Fn(&Path) -> u32) -> Vec<(String, u32)> {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    pins(folder).iter().map(|path| (name(path), id(path))).collect()
}

fn ids(place: &Place) -> Ids {
    let root = root(place);
    let link = |path: &Path| FdLink::from(PinnedLink::from_pin(path).unwrap()).info().unwrap();
    Ids {
        maps: named(&root.join("maps"), |path| MapInfo::from_pin(path).unwrap().id()),
        programs: named(&root.join("programs"), |path| ProgramInfo::from_pin(path).unwrap().id()),
        links: named(&root.join("links"), |path| link(path).id()),
        running: pins(&root.join("links"))
            .iter()
            .map(|path| link(path).program_id())
            .collect(),
    }
}

/// One agent that attached, and ended.
fn agent(place: &Place, hooks: HookMode) -> Found {
    let ifindex = place.ifindex();
    place.inside(|| {
        let mut datapath = place.open(hooks);
        datapath.attach("sw0", ifindex, Role::Edge).unwrap();
        datapath.found()
    })
}

/// Makes the pinned programs look like those of another build.
fn age(place: &Place) {
    for pin in pins(&root(place).join("programs")) {
        let name = pin.file_name().unwrap().to_str().unwrap();
        let (program, _) = name.rsplit_once('-').unwrap();
        fs::rename(&pin, pin.with_file_name(format!("{program}-00000000deadbeef"))).unwrap();
    }
}

fn refused(place: &Place) -> String {
    place.inside(|| {
        place
            .try_open(HookMode::Auto)
            .expect_err("it is to be refused")
            .to_string()
    })
}

#[test]
fn the_same_build_is_adopted_as_it_runs() {
    let place = Place::new("same");
    assert_eq!(agent(&place, HookMode::Auto), Found::Nothing);
    let first = ids(&place);
    let pinned: Vec<u32> = first.programs.iter().map(|(_, id)| *id).collect();
    assert_eq!(first.running.len(), 2);
    assert!(first.running.iter().all(|id| pinned.contains(id)), "{first:?}");
    for _agent in 0..2 {
        assert_eq!(agent(&place, HookMode::Auto), Found::SameBuild);
        assert_eq!(ids(&place), first);
    }
}

#[test]
fn another_build_replaces_the_programs_in_their_links_and_keeps_the_maps() {
    let place = Place::new("other");
    agent(&place, HookMode::Auto);
    let first = ids(&place);
    age(&place);
    // The links get their programs at once, also where the new agent was not told of the interface.
    assert_eq!(place.inside(|| place.open(HookMode::Auto).found()), Found::OtherBuild);
    let second = ids(&place);
    assert_eq!((&second.maps, &second.links), (&first.maps, &first.links));
    let names = |ids: &Ids| ids.programs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&second), names(&first), "the old build's pins are gone");
    assert!(first.running.iter().all(|id| !second.running.contains(id)));
    place.inside(|| {
        let on_hook = |kind| SchedClassifier::query_tcx("sw0", kind).unwrap().1;
        for kind in [TcAttachType::Ingress, TcAttachType::Egress] {
            let programs = on_hook(kind);
            assert_eq!(programs.len(), 1);
            assert!(second.running.contains(&programs[0].id()));
        }
    });
}

#[test]
fn a_start_that_was_cut_short_between_two_builds_is_gone_on_with() {
    let place = Place::new("cut");
    agent(&place, HookMode::Auto);
    age(&place);
    let root = root(&place);
    let old = pins(&root.join("programs"));
    let mut programs: Vec<_> = old.iter().map(|pin| SchedClassifier::from_pin(pin).unwrap()).collect();
    drop(place.inside(|| place.open(HookMode::Auto)));
    let whole = ids(&place);
    // As if that agent had died when its programs were pinned and no link had them yet.
    for (program, pin) in programs.iter_mut().zip(&old) {
        program.pin(pin).unwrap();
    }
    // Egress, ingress: the first two of the programs, and the links.
    for (program, link) in programs.iter_mut().zip(pins(&root.join("links"))) {
        let link = FdLink::from(PinnedLink::from_pin(link).unwrap());
        let id = program.attach_to_link(link.try_into().unwrap()).unwrap();
        drop(program.take_link(id).unwrap());
    }
    assert_ne!(ids(&place), whole);
    assert_eq!(agent(&place, HookMode::Auto), Found::SameBuild);
    assert_eq!(ids(&place), whole);
}

#[test]
fn clsact_programs_of_the_same_build_are_adopted_and_detached() {
    let place = Place::new("clsact");
    agent(&place, HookMode::Clsact);
    let first = ids(&place);
    assert_eq!(agent(&place, HookMode::Clsact), Found::SameBuild);
    assert_eq!(ids(&place), first);
    for hook in ["ingress", "egress"] {
        let filters = place.filters(hook);
        assert_eq!(filters.matches("direct-action").count(), 1, "{filters}");
        let id = |(_, id): &(String, u32)| filters.contains(&format!("id {id} "));
        assert!(first.programs.iter().any(id), "{filters}");
    }
    place.inside(|| Datapath::detach(&place.bpffs).unwrap());
    for hook in ["ingress", "egress"] {
        assert_eq!(place.filters(hook).matches("direct-action").count(), 0);
    }
}

#[test]
fn a_map_of_another_shape_is_refused_by_name() {
    let place = Place::new("shape");
    agent(&place, HookMode::Auto);
    let pin = root(&place).join("maps/LIVENESS");
    place.inside(|| Datapath::detach(&place.bpffs).unwrap());
    fs::create_dir_all(pin.parent().unwrap()).unwrap();
    for (key, value, entries, flags, what) in [
        (4, 8, 9, 0x400, "size"),
        (4, 16, 8, 0x400, "value size"),
        (4, 8, 8, 0, "flags"),
    ] {
        let shape = aya_obj::Map::new_from_params(BPF_MAP_TYPE_ARRAY as u32, key, value, entries, flags);
        let map = MapData::create(shape, "foreign", None).unwrap();
        map.pin(&pin).unwrap();
        let error = refused(&place);
        assert!(
            error.contains(&*pin.to_string_lossy()) && error.contains(what),
            "{error}"
        );
        assert!(
            error.contains("switcher detach") && error.contains("--bpffs"),
            "{error}"
        );
        let beside = pins(pin.parent().unwrap());
        assert_eq!(beside, std::slice::from_ref(&pin), "nothing was made");
        fs::remove_file(&pin).unwrap();
    }
    agent(&place, HookMode::Auto);
}

#[test]
fn a_map_pin_that_is_gone_or_another_object_is_refused_by_name() {
    let place = Place::new("gone");
    agent(&place, HookMode::Auto);
    let root = root(&place);
    let records = root.join("maps/FLOW_RECORDS");
    let kept = root.join("maps/kept");
    fs::rename(&records, &kept).unwrap();
    let error = refused(&place);
    assert!(error.contains("programs/switcher_egress"), "{error}");
    assert!(!records.exists(), "no empty map came in its place");
    let program = pins(&root.join("programs")).remove(0);
    fs::rename(&program, &records).unwrap();
    let error = refused(&place);
    assert!(error.contains("FLOW_RECORDS") && error.contains("no map"), "{error}");
    fs::rename(&records, &program).unwrap();
    fs::rename(&kept, &records).unwrap();
    assert_eq!(agent(&place, HookMode::Auto), Found::SameBuild);
}

#[test]
fn a_link_on_another_hook_or_with_a_program_of_nobodys_is_refused_by_name() {
    let place = Place::new("link");
    agent(&place, HookMode::Auto);
    let root = root(&place);
    let [egress, ingress] = pins(&root.join("links")).try_into().unwrap();
    let aside = ingress.with_file_name("aside");
    fs::rename(&ingress, &aside).unwrap();
    let error = refused(&place);
    assert!(error.contains("links/aside"), "{error}");
    fs::rename(&egress, &ingress).unwrap();
    fs::rename(&aside, &egress).unwrap();
    let error = refused(&place);
    assert!(error.contains("-egress") && error.contains("hook"), "{error}");
    fs::rename(&egress, &aside).unwrap();
    fs::rename(&ingress, &egress).unwrap();
    fs::rename(&aside, &ingress).unwrap();
    // Its program is pinned no more: nobody can tell what it is.
    let mut programs = pins(&root.join("programs")).into_iter();
    let program = programs.find(|pin| pin.to_string_lossy().contains("ingress")).unwrap();
    fs::remove_file(&program).unwrap();
    let error = refused(&place);
    assert!(error.contains("-ingress") && error.contains("program"), "{error}");
    place.inside(|| Datapath::detach(&place.bpffs).unwrap());
    assert_eq!(agent(&place, HookMode::Auto), Found::Nothing);
}

#[test]
fn another_versions_data_path_is_refused_and_goes_on_until_detach() {
    let place = Place::new("version");
    agent(&place, HookMode::Auto);
    let root = root(&place);
    let older = root.with_file_name("v0");
    fs::rename(&root, &older).unwrap();
    let error = refused(&place);
    assert!(error.contains(&*older.to_string_lossy()), "{error}");
    assert!(
        error.contains("layout 0") && error.contains("switcher detach"),
        "{error}"
    );
    let attached = || {
        place.inside(|| {
            SchedClassifier::query_tcx("sw0", TcAttachType::Ingress)
                .unwrap()
                .1
                .len()
        })
    };
    assert_eq!(attached(), 1, "it goes on");
    place.inside(|| Datapath::detach(&place.bpffs).unwrap());
    assert_eq!(attached(), 0);
    assert_eq!(agent(&place, HookMode::Auto), Found::Nothing);
}
