//! The demo: the main job on real traffic, and the checks that say whether anything was lost.
//!
//! The forum's three states and back, under load: all on v1, both at 50/50, all on v2, roll-back, v2 again, and then as
//! many cutovers as asked for. Clients are outside, on the host itself and in containers behind it.

mod accounts;
mod chart;
mod checks;
mod clients;
mod console;
mod conversations;
mod document;
mod host;
mod options;
mod quiet;
mod script;
mod stack;
mod stage;
mod switch;

use anyhow::Result;

pub use checks::Check;
pub use console::Console;
pub use document::Document;
pub use options::{Hook, Options, Path};
pub use switch::Switch;

/// Runs the demo. The document says whether anything was lost.
///
/// # Errors
/// If it could not be run to its end, which says nothing about losses.
pub fn run(options: &Options, console: &mut Console) -> Result<Document> {
    let mut stage = stage::Stage::set(options, console)?;
    let document = script::play(&mut stage, options, console)?;
    if options.keep {
        stage.leave(console)?;
    }
    Ok(document)
}
