//! Taking over what an earlier agent pinned: maps, programs and links, each looked at before it is used.
//!
//! Of the same build, programs are adopted as they run. Of another build, the maps are kept and each link gets the new
//! program in one step. At any moment, also of a crash, each link's program is among the pinned ones: that is how the next
//! agent knows that a link is ours, and on our maps.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::maps::{MapData, MapInfo};
use aya::programs::{
    CgroupSkb, CgroupSock, CgroupSockAddr, CgroupSockAttachType, Program, ProgramError, ProgramInfo, SchedClassifier,
    SockOps, Xdp,
};
use aya::{Ebpf, EbpfLoader};
use aya_obj::generated::bpf_prog_type;
use aya_obj::programs::XdpAttachType;

use super::build::{self, Build, Settings};
use super::error::{KernelError, NEEDS_RIGHTS, SEE_REASON, foreign, step};
use super::pin::{self, Kind, LinkPlan, Pin};
use super::{cgroup, hooks, xdp};

/// What an agent found in the kernel when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: the programs were loaded.
    Nothing,
    /// The programs of the same build: they run on as they are.
    SameBuild,
    /// Programs of another build: each link got the new one, the maps stayed.
    OtherBuild,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "programs loaded",
            Self::SameBuild => "programs of an earlier agent adopted as they run, with maps and links",
            Self::OtherBuild => "programs of another build replaced in each link; maps and flows kept",
        })
    }
}

/// Opens the data path below `root`: with what is pinned there, as far as there is.
pub(super) fn open(root: &Path, maps: &[&str], programs: &[&str]) -> Result<(Ebpf, Found), KernelError> {
    let settings = Settings::of_this_kernel();
    let map_ids = verify_maps(root, maps)?;
    let pinned = verify_programs(root, &map_ids)?;
    let links = verify_links(root, &pinned)?;
    let mut ebpf = load_maps(root, maps, &settings)?;
    let mut found = if pinned.is_empty() {
        Found::Nothing
    } else {
        Found::SameBuild
    };
    // Those of held links too: what an earlier agent attached goes on with this build's program.
    let of_links: Vec<&str> = links.iter().map(|link| link.program).collect();
    let mut needed: Vec<&str> = programs.to_vec();
    needed.extend(of_links.iter().filter(|name| !programs.contains(*name)));
    needed.dedup();
    for name in needed {
        if !ready(&mut ebpf, root, name)? && !pinned.is_empty() {
            found = Found::OtherBuild;
        }
    }
    if of_links.contains(&xdp::PROGRAM) {
        // Before the one that calls them.
        xdp::install_called(&mut ebpf, root)?;
    }
    carry_over(&mut ebpf, &links)?;
    // Last: until a link has its new program, the old one's pin says that the link is ours.
    remove_other_builds(root)?;
    Ok((ebpf, found))
}

/// Checks each pinned map against the object's own. Returns their ids with their names.
fn verify_maps(root: &Path, names: &[&str]) -> Result<BTreeMap<u32, String>, KernelError> {
    let doing = "reading the BPF object";
    let object = aya_obj::Object::parse(super::OBJECT).map_err(step(doing, SEE_REASON))?;
    let mut ids = BTreeMap::new();
    for name in names {
        let path = root.join("maps").join(name);
        let pin = match Pin::open(&path) {
            Ok(pin) => pin,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(foreign(&path, format!("it cannot be opened: {error}"))),
        };
        if pin.kind != Kind::Map {
            return Err(foreign(&path, "it is no map".to_owned()));
        }
        let Some(wanted) = object.maps.get(*name) else {
            return Err(super::datapath::missing(name));
        };
        let info = MapData::from_fd(pin.into_fd())
            .and_then(|data| data.info())
            .map_err(step(format!("reading {}", path.display()), NEEDS_RIGHTS))?;
        if let Some(what) = difference(&info, wanted) {
            return Err(foreign(&path, what));
        }
        ids.insert(info.id(), (*name).to_owned());
    }
    Ok(ids)
}

/// How a pinned map differs from the object's, in words.
fn difference(info: &MapInfo, wanted: &aya_obj::Map) -> Option<String> {
    let kind = info.map_type().map_or(u32::MAX, |kind| kind as u32);
    let pairs = [
        ("type", kind, wanted.map_type()),
        ("key size", info.key_size(), wanted.key_size()),
        ("value size", info.value_size(), wanted.value_size()),
        ("size", info.max_entries(), wanted.max_entries()),
        ("flags", info.map_flags(), wanted.map_flags()),
    ];
    let (what, is, should) = pairs.into_iter().find(|(_, is, should)| is != should)?;
    Some(format!("the map's {what} is {is}, and this agent's is {should}"))
}

/// Checks that each pinned program, of whatever build, runs on these maps. Returns their names by id.
fn verify_programs(root: &Path, map_ids: &BTreeMap<u32, String>) -> Result<BTreeMap<u32, String>, KernelError> {
    let mut programs = BTreeMap::new();
    for pin in list(&root.join("programs"))? {
        let name = pin.name();
        let Some(program) = build::program_of_pin(&name) else {
            return Err(foreign(&pin.path, "no agent gives this name".to_owned()));
        };
        if pin.kind != Kind::Program {
            return Err(foreign(&pin.path, "it is no program".to_owned()));
        }
        let reading = || format!("reading {}", pin.path.display());
        let info = ProgramInfo::from_pin(&pin.path).map_err(step(reading(), NEEDS_RIGHTS))?;
        let used = info
            .map_ids()
            .map_err(step(reading(), NEEDS_RIGHTS))?
            .unwrap_or_default();
        if let Some(id) = stranger(&used, map_ids) {
            let what = format!("it uses map {id}, which is not pinned beside it: the flows that it serves are there");
            return Err(foreign(&pin.path, what));
        }
        if info.name_as_str().is_some_and(|name| !program.starts_with(name)) {
            return Err(foreign(&pin.path, "it is another program".to_owned()));
        }
        programs.insert(info.id(), program.to_owned());
    }
    Ok(programs)
}

/// A map that is neither pinned nor a program's own constants. To look at those by id takes more rights than the agent
/// needs; without them, one unknown map is taken for them.
fn stranger(used: &[u32], known: &BTreeMap<u32, String>) -> Option<u32> {
    let mut unknown: Vec<u32> = used.iter().copied().filter(|id| !known.contains_key(id)).collect();
    unknown.retain(|id| match MapInfo::from_id(*id) {
        Ok(info) => !info.name_as_str().is_some_and(|name| name.ends_with(".rodata")),
        Err(_) => unknown_count(used, known) > 1,
    });
    unknown.first().copied()
}

fn unknown_count(used: &[u32], known: &BTreeMap<u32, String>) -> usize {
    used.iter().filter(|id| !known.contains_key(id)).count()
}

/// A link that lives, and the program that it is to run.
struct Held {
    pin: Pin,
    program: &'static str,
}

/// Checks that each pinned link is on the hook that its name says, and runs one of the pinned programs. Pins of links whose
/// interface is gone are removed.
fn verify_links(root: &Path, programs: &BTreeMap<u32, String>) -> Result<Vec<Held>, KernelError> {
    let mut held = Vec::new();
    for pin in list(&root.join("links"))? {
        let Some(plan) = plan_of_pin(&pin.name()) else {
            return Err(foreign(&pin.path, "no agent gives this name".to_owned()));
        };
        if pin.kind != Kind::Link {
            return Err(foreign(&pin.path, "it is no link".to_owned()));
        }
        let facts = pin
            .link_facts()
            .map_err(step(format!("reading {}", pin.path.display()), NEEDS_RIGHTS))?;
        if plan.is_dead(&facts) {
            fs::remove_file(&pin.path).map_err(step("removing the pin of a dead link", NEEDS_RIGHTS))?;
            continue;
        }
        if let Some(what) = plan.difference(&facts) {
            return Err(foreign(&pin.path, what));
        }
        if programs.get(&facts.program).is_none_or(|name| name != plan.program) {
            let what = format!("it runs program {}, which is no pinned {}", facts.program, plan.program);
            return Err(foreign(&pin.path, what));
        }
        held.push(Held {
            pin,
            program: plan.program,
        });
    }
    Ok(held)
}

fn plan_of_pin(name: &str) -> Option<LinkPlan> {
    hooks::plan_of_pin(name)
        .or_else(|| xdp::plan_of_pin(name))
        .or_else(|| cgroup::plan_of_pin(name))
}

fn list(folder: &Path) -> Result<Vec<Pin>, KernelError> {
    pin::list(folder).map_err(|(path, error)| foreign(&path, format!("it cannot be opened: {error}")))
}

fn load_maps(root: &Path, maps: &[&str], settings: &Settings) -> Result<Ebpf, KernelError> {
    let mut loader = EbpfLoader::new();
    settings.give(&mut loader);
    for name in maps {
        loader.map_pin_path(name, root.join("maps").join(name));
    }
    loader
        .load(super::OBJECT)
        .map_err(step("loading the BPF maps", NEEDS_RIGHTS))
}

/// Makes a program ready for its hooks. True: it was there, of the same build; false: it was loaded.
pub(super) fn ready(ebpf: &mut Ebpf, root: &Path, name: &str) -> Result<bool, KernelError> {
    let pin = root.join("programs").join(Build::ours().pin_name(name));
    let program = ebpf.program_mut(name).ok_or_else(|| super::datapath::missing(name))?;
    if pin.exists() {
        let adopting = || format!("adopting {}", pin.display());
        let info = ProgramInfo::from_pin(&pin).map_err(step(adopting(), NEEDS_RIGHTS))?;
        if info.program_type() as u32 != bpf_prog_type::from(program.prog_type()) as u32 {
            return Err(foreign(&pin, "it is a program of another type".to_owned()));
        }
        adopt(program, name, &pin).map_err(step(adopting(), NEEDS_RIGHTS))?;
        return Ok(true);
    }
    load(program).map_err(step(format!("loading the BPF program {name}"), NEEDS_RIGHTS))?;
    program
        .pin(&pin)
        .map_err(step(format!("pinning the BPF program {name}"), SEE_REASON))?;
    Ok(false)
}

/// Puts the pinned program in the place of the one that could be loaded; both are of one build. A new kind of program gets
/// its line here and in [`load`].
fn adopt(program: &mut Program, name: &str, pin: &Path) -> Result<(), ProgramError> {
    *program = match program {
        Program::SchedClassifier(_) => Program::SchedClassifier(SchedClassifier::from_pin(pin)?),
        Program::Xdp(_) => Program::Xdp(Xdp::from_pin(pin, XdpAttachType::Interface)?),
        Program::SockOps(_) => Program::SockOps(SockOps::from_pin(pin)?),
        Program::CgroupSock(_) => Program::CgroupSock(CgroupSock::from_pin(pin, CgroupSockAttachType::SockRelease)?),
        Program::CgroupSkb(_) => {
            let kind = cgroup::packet_attach_type(name).ok_or(ProgramError::UnexpectedProgramType)?;
            Program::CgroupSkb(CgroupSkb::from_pin(pin, kind)?)
        }
        Program::CgroupSockAddr(_) => {
            let kind = cgroup::attach_type(name).ok_or(ProgramError::UnexpectedProgramType)?;
            Program::CgroupSockAddr(CgroupSockAddr::from_pin(pin, kind)?)
        }
        _ => return Err(ProgramError::UnexpectedProgramType),
    };
    Ok(())
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::SchedClassifier(program) => program.load(),
        Program::Xdp(program) => program.load(),
        Program::SockOps(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Each link runs this build's program from here on, also on interfaces that this agent was not told of: flows live there.
fn carry_over(ebpf: &mut Ebpf, links: &[Held]) -> Result<(), KernelError> {
    for link in links {
        let doing = || format!("putting this agent's program into {}", link.pin.path.display());
        let program = ebpf
            .program(link.program)
            .ok_or_else(|| super::datapath::missing(link.program))?;
        let fd = program.fd().map_err(step(doing(), SEE_REASON))?;
        link.pin
            .replace_program(fd.as_fd())
            .map_err(step(doing(), NEEDS_RIGHTS))?;
    }
    Ok(())
}

fn remove_other_builds(root: &Path) -> Result<(), KernelError> {
    let ours = format!("-{}", Build::ours());
    let pins = list(&root.join("programs"))?;
    let others: Vec<PathBuf> = pins
        .into_iter()
        .filter(|pin| !pin.name().ends_with(&ours))
        .map(|pin| pin.path)
        .collect();
    for path in others {
        fs::remove_file(&path).map_err(step(format!("removing {}", path.display()), NEEDS_RIGHTS))?;
    }
    Ok(())
}
