//! Attaches programs to interfaces, in a way that outlives the agent: TCX links, pinned (Linux 6.6), or clsact filters.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, tc};

use super::error::{KernelError, NEEDS_RIGHTS, SEE_REASON, step};
use super::pin::{LinkPlace, LinkPlan, Pin};
use crate::model::Hook;

/// Priority and handle of our clsact filters: fixed, so that the next agent finds and replaces them.
const FILTER_PRIORITY: u16 = 7;
const FILTER_HANDLE: TcHandle = TcHandle::new(0, 0x5357);

/// Letters that the kernel keeps of a program's name.
const KERNEL_NAME_MAX: usize = 15;

/// How programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HookMode {
    /// TCX where the kernel has it.
    #[default]
    Auto,
    /// Clsact filters, as before Linux 6.6.
    Clsact,
}

/// What an interface is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Clients come in here: programs at ingress and at egress.
    Edge,
    /// The host-side veth of a bypass backend: a program at ingress.
    Backend,
}

/// A hook of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    pub(super) const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    pub(super) fn attach_type(self) -> TcAttachType {
        match self {
            Self::Ingress => TcAttachType::Ingress,
            Self::Egress => TcAttachType::Egress,
        }
    }

    /// `BPF_TCX_INGRESS`, `BPF_TCX_EGRESS`.
    const fn tcx_attach_type(self) -> u32 {
        match self {
            Self::Ingress => 46,
            Self::Egress => 47,
        }
    }

    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Ingress => "switcher_ingress",
            Self::Egress => "switcher_egress",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// `BPF_LINK_TYPE_TCX`.
const LINK_TYPE_TCX: u32 = 11;

/// The plan of a link on an interface, by its pin's name; `None`: it is none of these.
pub(super) fn plan_of_pin(name: &str) -> Option<LinkPlan> {
    let (ifindex, hook) = name.split_once('-')?;
    let direction = Direction::BOTH.into_iter().find(|direction| direction.name() == hook)?;
    Some(LinkPlan {
        program: direction.program(),
        kind: LINK_TYPE_TCX,
        place: LinkPlace::Interface {
            ifindex: ifindex.parse().ok()?,
            attach_type: direction.tcx_attach_type(),
        },
    })
}

/// An interface with programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The interface.
    pub interface: String,
    /// What it is for.
    pub role: Role,
    /// Where the program for what comes in stands.
    pub hook: Hook,
}

/// Interfaces by name, with what they are for.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    roles: BTreeMap<(String, Role), (u32, Hook)>,
}

/// One interface's hook.
pub(super) struct Place<'a> {
    pub interface: &'a str,
    pub ifindex: u32,
    pub direction: Direction,
}

impl Place<'_> {
    /// Whether a link of ours is there, of this agent or an earlier one.
    pub(super) fn is_pinned(&self, root: &Path) -> bool {
        self.pin(root).exists()
    }

    /// By index: an interface that was made anew under an old name has another, and the old link is dead.
    fn pin(&self, root: &Path) -> PathBuf {
        root.join("links")
            .join(format!("{}-{}", self.ifindex, self.direction.name()))
    }
}

impl Hooks {
    /// True when this exact interface is attached in this role, by this hook.
    pub(super) fn has(&self, interface: &str, ifindex: u32, role: Role, hook: Hook) -> bool {
        self.roles.get(&(interface.to_owned(), role)) == Some(&(ifindex, hook))
    }

    /// Notes what was attached. An interface has one hook for what comes in, whatever it is for.
    pub(super) fn note(&mut self, interface: &str, ifindex: u32, role: Role, hook: Hook) {
        if hook == Hook::Xdp {
            self.roles.remove(&(interface.to_owned(), Role::Backend));
        }
        self.roles.insert((interface.to_owned(), role), (ifindex, hook));
    }

    /// Forgets interfaces that are not among these, by index.
    pub(super) fn keep(&mut self, present: &BTreeMap<u32, String>) {
        self.roles
            .retain(|(interface, _), (ifindex, _)| present.get(ifindex) == Some(interface));
    }

    /// All of them.
    pub(super) fn list(&self) -> Vec<Attached> {
        let attached = |((interface, role), (_, hook)): (&(String, Role), &(u32, Hook))| Attached {
            interface: interface.clone(),
            role: *role,
            hook: *hook,
        };
        self.roles.iter().map(attached).collect()
    }
}

/// Attaches one program, or replaces an earlier agent's at the same place without a gap.
pub(super) fn attach(
    program: &mut SchedClassifier,
    place: &Place<'_>,
    root: &Path,
    mode: HookMode,
) -> Result<(), KernelError> {
    let doing = || format!("attaching to {} {}", place.interface, place.direction.name());
    let tcx = match mode {
        HookMode::Auto => attach_tcx(program, place, root).map_err(step(doing(), NEEDS_RIGHTS))?,
        HookMode::Clsact => false,
    };
    if tcx {
        Ok(())
    } else {
        attach_clsact(program, place).map_err(step(doing(), NEEDS_RIGHTS))
    }
}

/// False: the kernel has no TCX.
fn attach_tcx(program: &mut SchedClassifier, place: &Place<'_>, root: &Path) -> Result<bool, ProgramError> {
    let pin = place.pin(root);
    if replace_pinned(program, &pin)? {
        return Ok(true);
    }
    let order = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = match program.attach_with_options(place.interface, place.direction.attach_type(), order) {
        Ok(id) => id,
        Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::EINVAL) => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    pin_link(program.take_link(id)?, &pin)?;
    Ok(true)
}

/// Puts the program into the link that is pinned there; false when there is none that lives.
fn replace_pinned(program: &SchedClassifier, pin: &Path) -> Result<bool, ProgramError> {
    let link = match Pin::open(pin) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(other(error)),
    };
    if link.link_facts().map_err(other)?.ifindex == 0 {
        // The interface is gone, and the link with it.
        let _ = fs::remove_file(pin);
        return Ok(false);
    }
    link.replace_program(program.fd()?.as_fd()).map_err(other)?;
    Ok(true)
}

fn pin_link(link: SchedClassifierLink, pin: &Path) -> Result<(), ProgramError> {
    let link = FdLink::try_from(link).map_err(other)?;
    link.pin(pin).map(drop).map_err(other)
}

fn other<E: std::error::Error + Send + Sync + 'static>(error: E) -> ProgramError {
    ProgramError::IOError(io::Error::other(error))
}

fn attach_clsact(program: &mut SchedClassifier, place: &Place<'_>) -> Result<(), ProgramError> {
    // It is there already: the only harmless reason to fail; any other shows when the filter is added.
    let _ = tc::qdisc_add_clsact(place.interface);
    let kind = place.direction.attach_type();
    let options = || {
        TcAttachOptions::Netlink(NlOptions {
            priority: FILTER_PRIORITY,
            handle: FILTER_HANDLE,
            classid: None,
        })
    };
    let id = match program.attach_with_options(place.interface, kind, options()) {
        Ok(id) => id,
        Err(ProgramError::TcError(TcError::NetlinkError(_))) => {
            let old = SchedClassifierLink::attached(place.interface, kind, FILTER_PRIORITY, FILTER_HANDLE, None)
                .map_err(ProgramError::IOError)?;
            program.attach_to_link(old)?
        }
        Err(error) => return Err(error),
    };
    // Dropped, the link would take the filter away; it is to stay when the agent goes.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

/// Takes our program from one place, by whatever it is attached.
pub(super) fn detach(place: &Place<'_>, root: &Path) -> Result<(), KernelError> {
    let pin = place.pin(root);
    if pin.exists() {
        // A link whose interface is gone cannot be detached, and need not be.
        let _ = Pin::open(&pin).and_then(|pin| pin.detach_link());
        fs::remove_file(&pin).map_err(step("removing a pinned link", SEE_REASON))?;
    }
    detach_filter(place.interface, place.direction);
    Ok(())
}

/// Takes our links off their hooks. Returns what was removed, in words.
pub(super) fn detach_links(root: &Path) -> Result<Vec<String>, KernelError> {
    let mut removed = Vec::new();
    let links = root.join("links");
    if links.is_dir() {
        for entry in fs::read_dir(&links)
            .map_err(step("listing pinned links", NEEDS_RIGHTS))?
            .flatten()
        {
            // A link whose interface is gone cannot be detached, and need not be.
            let _ = Pin::open(&entry.path()).and_then(|pin| pin.detach_link());
            fs::remove_file(entry.path()).map_err(step("removing a pinned link", SEE_REASON))?;
            removed.push(format!("link {}", entry.file_name().to_string_lossy()));
        }
    }
    Ok(removed)
}

/// Takes our clsact filters off all interfaces of this namespace. Returns what was removed, in words.
pub(super) fn detach_filters() -> Vec<String> {
    let mut removed = Vec::new();
    // /sys shows the interfaces of the namespace it was mounted in, /proc those of this thread's.
    let devices = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    for (interface, _) in devices.lines().filter_map(|line| line.split_once(':')) {
        let interface = interface.trim();
        for direction in Direction::BOTH {
            if detach_filter(interface, direction) {
                removed.push(format!("filter {interface} {}", direction.name()));
            }
        }
    }
    removed
}

/// True when there was one. An adopted program has its name from the kernel, which keeps 15 letters of it.
fn detach_filter(interface: &str, direction: Direction) -> bool {
    let detach = |name| tc::qdisc_detach_program(interface, direction.attach_type(), name).is_ok();
    let name = direction.program();
    detach(name) || detach(&name[..name.len().min(KERNEL_NAME_MAX)])
}
