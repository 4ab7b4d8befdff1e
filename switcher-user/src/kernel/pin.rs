//! What is pinned on bpffs, as it is: opened without a belief in what it holds.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;

/// What a pin holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Map,
    Program,
    Link,
}

/// A pin, opened.
#[derive(Debug)]
pub(super) struct Pin {
    pub path: PathBuf,
    pub kind: Kind,
    fd: OwnedFd,
}

/// A link as the kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkFacts {
    /// `BPF_LINK_TYPE_*`.
    pub kind: u32,
    /// Id of the program that it runs.
    pub program: u32,
    /// For links on interfaces: its index; 0 when the interface is gone.
    pub ifindex: u32,
    /// For TCX links: the attach type.
    pub attach_type: u32,
    /// For links on cgroups: its number; 0 when the cgroup is gone. The same bytes as the two before.
    pub cgroup: u64,
}

/// What the name of a pinned link says that it is. A new kind of hook gives its links names of their own and a plan for
/// each; then the next agent adopts them too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkPlan {
    /// The program that it runs.
    pub program: &'static str,
    /// `BPF_LINK_TYPE_*`.
    pub kind: u32,
    /// Where it is.
    pub place: LinkPlace,
}

/// Where a link is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkPlace {
    /// On an interface, by TCX.
    Interface { ifindex: u32, attach_type: u32 },
    /// On whichever cgroup.
    Cgroup,
}

impl LinkPlan {
    /// True when the place is gone: such a link does nothing any more.
    pub(super) fn is_dead(&self, facts: &LinkFacts) -> bool {
        let gone = match self.place {
            LinkPlace::Interface { .. } => facts.ifindex == 0,
            LinkPlace::Cgroup => facts.cgroup == 0,
        };
        facts.kind == self.kind && gone
    }

    /// How the link differs from its plan, in words.
    pub(super) fn difference(&self, facts: &LinkFacts) -> Option<String> {
        if facts.kind != self.kind {
            return Some(format!("it is a link of type {}, not {}", facts.kind, self.kind));
        }
        match self.place {
            LinkPlace::Interface { ifindex, .. } if ifindex != facts.ifindex => {
                Some(format!("it is a link on the interface with index {}", facts.ifindex))
            }
            LinkPlace::Interface { attach_type, .. } if attach_type != facts.attach_type => {
                Some(format!("it is a link on the hook {}", facts.attach_type))
            }
            _ => None,
        }
    }
}

impl Pin {
    /// Opens what is pinned at `path`.
    ///
    /// # Errors
    /// The kernel's: `NotFound` when nothing is.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        /// The first words of the syscall's attributes.
        #[repr(C)]
        struct Attributes {
            path: u64,
            unused: [u32; 2],
        }
        let c_path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
        let get = Attributes {
            path: c_path.as_ptr() as u64,
            unused: [0; 2],
        };
        // The path ends with a zero byte and outlives the call.
        let fd = bpf(BPF_OBJ_GET, &get)?;
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let kind = kind_of(&fd)?;
        let path = path.to_owned();
        Ok(Self { path, kind, fd })
    }

    /// The file's name.
    pub(super) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The descriptor alone.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// What the kernel says of a link.
    pub(super) fn link_facts(&self) -> io::Result<LinkFacts> {
        /// `bpf_link_info`: the kernel fills what it knows, and leaves the rest at zero.
        #[repr(C)]
        #[derive(Default)]
        struct Info {
            kind: u32,
            id: u32,
            program: u32,
            padding: u32,
            /// A union: index and attach type, or a number of 64 bits.
            place: [u32; 2],
            rest: [u32; 26],
        }
        #[repr(C)]
        struct Attributes {
            fd: u32,
            length: u32,
            info: u64,
        }
        let mut info = Info::default();
        let get = Attributes {
            fd: self.fd.as_raw_fd() as u32,
            length: size_of::<Info>() as u32,
            info: (&raw mut info) as u64,
        };
        bpf(BPF_OBJ_GET_INFO_BY_FD, &get)?;
        Ok(LinkFacts {
            kind: info.kind,
            program: info.program,
            ifindex: info.place[0],
            attach_type: info.place[1],
            cgroup: zerocopy::transmute!(info.place),
        })
    }

    /// Puts another program of the same type into a link, in one step; the same program again changes nothing.
    pub(super) fn replace_program(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        // Link, program, flags, expected program.
        let update: [u32; 4] = [self.fd.as_raw_fd() as u32, program.as_raw_fd() as u32, 0, 0];
        bpf(BPF_LINK_UPDATE, &update).map(drop)
    }

    /// Takes a link off its hook at once. Removing the pin alone does it too, but a moment later: the kernel frees links in
    /// the background, and until then the program still runs.
    pub(super) fn detach_link(&self) -> io::Result<()> {
        bpf(BPF_LINK_DETACH, &(self.fd.as_raw_fd() as u32)).map(drop)
    }
}

impl AsFd for Pin {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The pins of a folder, by name; empty when there is no folder.
///
/// # Errors
/// With the path that cannot be opened: a folder, say.
pub(super) fn list(folder: &Path) -> Result<Vec<Pin>, (PathBuf, io::Error)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.sort_unstable();
    let open = |path: PathBuf| Pin::open(&path).map_err(|error| (path, error));
    paths.into_iter().map(open).collect()
}

/// By the descriptor's own word: `BPF_OBJ_GET_INFO_BY_FD` fills in whatever the object is, and a map's id may be read as
/// a program's.
fn kind_of(fd: &OwnedFd) -> io::Result<Kind> {
    let link = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    match link.to_string_lossy().trim_start_matches("anon_inode:") {
        "bpf-map" => Ok(Kind::Map),
        "bpf-prog" => Ok(Kind::Program),
        "bpf-link" | "bpf_link" => Ok(Kind::Link),
        other => Err(io::Error::other(format!("it is a '{other}'"))),
    }
}

/// The system call, with the first part of its attributes.
fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: the attributes are of the size that is told; the pointers in them are to what their makers keep alive and
    // writable during the call.
    let code = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if code < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(code)
    }
}
