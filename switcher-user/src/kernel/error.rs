//! What the kernel refused.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::image::ImageError;

/// Why the kernel did not do what was asked. The image that it reads has not changed when one is returned.
#[derive(Debug, Error)]
pub enum KernelError {
    /// A step failed.
    #[error("{doing} failed: {source}; {remedy}")]
    Step {
        /// What was being done, on what.
        doing: String,
        /// What the kernel or aya said.
        source: Box<dyn StdError + Send + Sync>,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A pin is not what an agent of this version makes.
    #[error(
        "{path} is foreign or damaged: {what}; nothing was taken over: run `switcher detach` (flows that are switched end) and start again, or name another directory with --bpffs", path = path.display()
    )]
    Pin {
        /// The pin.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Another version's data path is pinned there.
    #[error(
        "{path} holds a data path of layout {theirs}, and this agent's is {ours}: flows cannot be taken over, and two data paths on one interface would spoil each other's; it goes on as it is. Either start the version that made it until its flows have ended, or run `switcher detach` (flows that are switched end); then start this one again", path = path.display()
    )]
    OtherVersion {
        /// Its folder.
        path: PathBuf,
        /// Version in the folder's name.
        theirs: String,
        /// This agent's.
        ours: u32,
    },
    /// Another agent's programs are on the interface.
    #[error(
        "{interface} has the programs of another agent ({}): two would take each other's traffic; stop that one and take its programs off (`switcher detach` with its --bpffs), or name other interfaces with --interface", holder_text(*program_id, *holder)
    )]
    Taken {
        /// The interface.
        interface: String,
        /// The kernel's number of the program.
        program_id: u32,
        /// The process that has it open; `None`: none, its agent does not run.
        holder: Option<u32>,
    },
    /// The plan does not fit an image.
    #[error(transparent)]
    Image(#[from] ImageError),
}

fn holder_text(program_id: u32, holder: Option<u32>) -> String {
    match holder {
        Some(pid) => format!("pid {pid}"),
        None => format!("BPF program {program_id}; it does not run now"),
    }
}

/// Remedy where the kernel's own words say enough.
pub(super) const SEE_REASON: &str = "the reason is the kernel's own";
/// Remedy where rights are the usual reason.
pub(super) const NEEDS_RIGHTS: &str = "run the agent as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON";

/// Makes a [`KernelError::Step`] of an error.
pub(super) fn step<E>(doing: impl Into<String>, remedy: &'static str) -> impl FnOnce(E) -> KernelError
where
    E: StdError + Send + Sync + 'static,
{
    let doing = doing.into();
    move |source| KernelError::Step {
        doing,
        source: Box::new(Chain(source)),
        remedy,
    }
}

/// A [`KernelError::Pin`].
pub(super) fn foreign(path: &Path, what: String) -> KernelError {
    let path = path.to_owned();
    KernelError::Pin { path, what }
}

/// Says an error with all its causes: aya's outermost text alone often hides the kernel's.
#[derive(Debug)]
struct Chain<E>(E);

impl<E: StdError> std::fmt::Display for Chain<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl<E: StdError> StdError for Chain<E> {}
