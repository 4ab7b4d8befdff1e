//! Local clients: programs at a cgroup, attached by pinned links that outlive the agent.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::{FdLink, LinkError};
use aya::programs::{CgroupAttachMode, CgroupSkbAttachType, CgroupSockAddrAttachType, Program, ProgramError};

use super::adopt;
use super::error::{KernelError, NEEDS_RIGHTS, SEE_REASON, step};
use super::pin::{LinkPlace, LinkPlan, Pin};

/// What follows a flow comes before what begins one: a flow that nobody follows would never end.
const PROGRAMS: [&str; 10] = [
    "switcher_states",
    "switcher_release",
    "switcher_getpeername4",
    "switcher_getpeername6",
    "switcher_recvmsg4",
    "switcher_recvmsg6",
    "switcher_sendmsg4",
    "switcher_sendmsg6",
    "switcher_connect4",
    "switcher_connect6",
];

/// Attached only while an alias is held or shielded: they are asked at every packet of the cgroup's sockets.
const WAITING: [&str; 2] = ["switcher_leaves", "switcher_arrives"];

/// `BPF_LINK_TYPE_CGROUP`.
const LINK_TYPE_CGROUP: u32 = 3;

/// The plan of a link on a cgroup, by its pin's name, which is its program's; `None`: it is none of these.
pub(super) fn plan_of_pin(name: &str) -> Option<LinkPlan> {
    Some(LinkPlan {
        program: PROGRAMS.into_iter().chain(WAITING).find(|program| *program == name)?,
        kind: LINK_TYPE_CGROUP,
        place: LinkPlace::Cgroup,
    })
}

/// Where a program of socket addresses is attached: a pin does not tell.
pub(super) fn attach_type(program: &str) -> Option<CgroupSockAddrAttachType> {
    use CgroupSockAddrAttachType as Kind;
    Some(match program {
        "switcher_getpeername4" => Kind::GetPeerName4,
        "switcher_getpeername6" => Kind::GetPeerName6,
        "switcher_recvmsg4" => Kind::UDPRecvMsg4,
        "switcher_recvmsg6" => Kind::UDPRecvMsg6,
        "switcher_sendmsg4" => Kind::UDPSendMsg4,
        "switcher_sendmsg6" => Kind::UDPSendMsg6,
        "switcher_connect4" => Kind::Connect4,
        "switcher_connect6" => Kind::Connect6,
        _ => return None,
    })
}

/// The same of a program of packets.
pub(super) fn packet_attach_type(program: &str) -> Option<CgroupSkbAttachType> {
    match program {
        "switcher_leaves" => Some(CgroupSkbAttachType::Egress),
        "switcher_arrives" => Some(CgroupSkbAttachType::Ingress),
        _ => None,
    }
}

/// Whose processes are local clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CgroupChoice {
    /// All: the root of the cgroup2 file system that is mounted.
    #[default]
    Root,
    /// Those in a cgroup, and in the ones below it.
    At(PathBuf),
    /// Nobody's.
    Off,
}

/// Whether local clients are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalClients {
    /// Those in this cgroup, and in the ones below it.
    Served(PathBuf),
    /// They are not, and why.
    NotServed(String),
}

/// Attaches to the cgroup, or takes an earlier agent's programs off where that was at another.
pub(super) fn serve(ebpf: &mut Ebpf, choice: &CgroupChoice, root: &Path) -> LocalClients {
    let links = root.join("links");
    let served = match choice {
        CgroupChoice::Off => Err("--cgroup none".to_owned()),
        CgroupChoice::Root => cgroup2_mount().and_then(|cgroup| attach(ebpf, &cgroup, root).map(|()| cgroup)),
        CgroupChoice::At(cgroup) => attach(ebpf, cgroup, root).map(|()| cgroup.clone()),
    };
    match served {
        Ok(cgroup) => LocalClients::Served(cgroup),
        Err(why) => {
            // Half of the programs would be worse than none.
            PROGRAMS
                .iter()
                .chain(&WAITING)
                .for_each(|name| take_off(&links.join(name)));
            LocalClients::NotServed(why)
        }
    }
}

fn attach(ebpf: &mut Ebpf, cgroup: &Path, root: &Path) -> Result<(), String> {
    attach_all(ebpf, &PROGRAMS, cgroup, root).map_err(|error| sentence(&error))
}

fn attach_all(ebpf: &mut Ebpf, names: &[&str], cgroup: &Path, root: &Path) -> Result<(), KernelError> {
    let opening = || format!("opening {} as a cgroup", cgroup.display());
    let folder = File::open(cgroup).map_err(step(opening(), SEE_REASON))?;
    // A folder's inode number is its cgroup's own number.
    let number = folder.metadata().map_err(step(opening(), SEE_REASON))?.ino();
    for name in names {
        let place = Place {
            folder: &folder,
            number,
            pin: root.join("links").join(name),
        };
        attach_one(ebpf, name, &place, root)?;
    }
    Ok(())
}

/// Before an alias is held or shielded: its local clients' packets are asked about from here on. With nobody to serve,
/// nothing.
pub(super) fn begin_waiting(ebpf: &mut Ebpf, local: &LocalClients, root: &Path) -> Result<(), KernelError> {
    match local {
        LocalClients::Served(cgroup) => attach_all(ebpf, &WAITING, cgroup, root),
        LocalClients::NotServed(_) => Ok(()),
    }
}

/// No alias is held or shielded any more.
pub(super) fn end_waiting(root: &Path) {
    let links = root.join("links");
    WAITING.iter().for_each(|name| take_off(&links.join(name)));
}

/// Without the verifier's log, which is for those who build.
fn sentence(error: &KernelError) -> String {
    let text = error.to_string();
    let end = text.find(" Verifier output").unwrap_or(text.len());
    text[..end].to_owned()
}

struct Place<'a> {
    folder: &'a File,
    number: u64,
    pin: PathBuf,
}

fn attach_one(ebpf: &mut Ebpf, name: &str, place: &Place<'_>, root: &Path) -> Result<(), KernelError> {
    adopt::ready(ebpf, root, name)?;
    let doing = || format!("attaching {name} to a cgroup");
    let program = ebpf.program_mut(name).ok_or_else(|| super::datapath::missing(name))?;
    if let Ok(link) = Pin::open(&place.pin)
        && link
            .link_facts()
            .is_ok_and(|facts| facts.kind == LINK_TYPE_CGROUP && facts.cgroup == place.number)
    {
        let fd = program.fd().map_err(step(doing(), SEE_REASON))?;
        return link.replace_program(fd.as_fd()).map_err(step(doing(), NEEDS_RIGHTS));
    }
    take_off(&place.pin);
    let link = link(program, place.folder).map_err(step(doing(), NEEDS_RIGHTS))?;
    link.pin(&place.pin)
        .map(drop)
        .map_err(step(format!("pinning the link of {name}"), SEE_REASON))
}

/// A link to a cgroup never takes another's place; `Single` only asks for no flag.
fn link(program: &mut Program, cgroup: &File) -> Result<FdLink, ProgramError> {
    let other = |error: LinkError| ProgramError::IOError(io::Error::other(error));
    match program {
        Program::CgroupSockAddr(program) => {
            let id = program.attach(cgroup, CgroupAttachMode::Single)?;
            FdLink::try_from(program.take_link(id)?).map_err(other)
        }
        Program::CgroupSock(program) => {
            let id = program.attach(cgroup, CgroupAttachMode::Single)?;
            FdLink::try_from(program.take_link(id)?).map_err(other)
        }
        Program::CgroupSkb(program) => {
            let kind = program
                .expected_attach_type()
                .ok_or(ProgramError::UnexpectedProgramType)?;
            let id = program.attach(cgroup, kind, CgroupAttachMode::Single)?;
            FdLink::try_from(program.take_link(id)?).map_err(other)
        }
        Program::SockOps(program) => {
            let id = program.attach(cgroup, CgroupAttachMode::Single)?;
            FdLink::try_from(program.take_link(id)?).map_err(other)
        }
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Takes a link off its cgroup at once, and its pin away. Nothing there is nothing to do.
fn take_off(pin: &Path) {
    let _ = Pin::open(pin).and_then(|pin| pin.detach_link());
    let _ = fs::remove_file(pin);
}

/// Where the cgroup2 file system is mounted.
fn cgroup2_mount() -> Result<PathBuf, String> {
    const REMEDY: &str = "mount one, or name a cgroup with --cgroup DIR";
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(|error| format!("/proc/self/mounts: {error}"))?;
    // The last one hides those before it at the same place.
    mount_of_cgroup2(&mounts).ok_or_else(|| format!("no cgroup2 file system is mounted; {REMEDY}"))
}

fn mount_of_cgroup2(mounts: &str) -> Option<PathBuf> {
    mounts.lines().rev().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let place = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(place))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_is_the_one_that_is_seen() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(mount_of_cgroup2(hybrid), Some("/sys/fs/cgroup/unified".into()));
        let again = format!("{hybrid}none /run/cg cgroup2 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n");
        assert_eq!(mount_of_cgroup2(&again), Some("/run/cg".into()));
        assert_eq!(mount_of_cgroup2("tmpfs /cgroup2 tmpfs rw 0 0\n"), None);
    }
}
