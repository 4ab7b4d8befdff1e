//! What the kernel refused.

use std::error::Error as StdError;

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
    /// The plan does not fit an image.
    #[error(transparent)]
    Image(#[from] ImageError),
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
