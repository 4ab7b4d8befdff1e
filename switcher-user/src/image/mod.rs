//! The image: the whole configuration, compiled to the rows that the kernel reads. Pure.

mod plan;

pub use plan::{AliasPlan, BackendPlan, ImagePlan, Path, Segment, SetPlan};
