//! `switcher-lab demo`: an application upgraded under load, with nothing lost.

use anyhow::{Result, ensure};
use switcher_tests::demo::{self, Console, Options};

/// Runs it; fails if anything was lost.
pub(super) fn run(options: &Options) -> Result<()> {
    let mut console = Console::new(options.json);
    let result = demo::run(options, &mut console);
    drop(console);
    if options.json {
        let document = match &result {
            Ok(document) => serde_json::to_string(document)?,
            Err(error) => serde_json::json!({"schema": 1, "ok": false, "error": format!("{error:#}")}).to_string(),
        };
        println!("{document}");
    }
    let document = result?;
    let failed: Vec<&str> = document
        .checks
        .iter()
        .filter(|check| !check.ok)
        .map(|check| check.name)
        .collect();
    ensure!(document.ok, "not so: {}", failed.join("; "));
    Ok(())
}
