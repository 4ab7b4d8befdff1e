//! The image: the whole configuration, compiled to the rows that the kernel reads. Pure.

mod compile;
mod listeners;
mod maglev;
mod plan;

pub use compile::{ImageError, compile};
pub use plan::{AliasPlan, BackendPlan, ImagePlan, Path, Segment, SetPlan};
