//! `--check`: a command of the user's, run through every step. What it says counts as a figure.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::health::shell;
use crate::rollout::Check;

/// From the end of one run to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// A run that takes longer has failed.
const RUN_MAX: Duration = Duration::from_secs(10);
/// As much of what it wrote on stderr is told, in characters.
const TOLD_MAX: usize = 300;

/// The runs of one step. They end when this goes.
#[derive(Debug)]
pub(super) struct CheckTask {
    seen: watch::Receiver<Check>,
    task: JoinHandle<()>,
}

impl Drop for CheckTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl CheckTask {
    /// Begins at once. `environment` is added to the agent's own.
    pub(super) fn begin(command: &str, environment: Vec<(&'static str, String)>) -> Self {
        let (results, seen) = watch::channel(Check::Waiting);
        let command = command.to_owned();
        let task = tokio::spawn(async move {
            loop {
                let result = run(&command, &environment).await;
                let failed = matches!(result, Check::Failed(_));
                if results.send(result).is_err() || failed {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { seen, task }
    }

    /// What its runs say so far.
    pub(super) fn seen(&self) -> Check {
        self.seen.borrow().clone()
    }
}

async fn run(command: &str, environment: &[(&'static str, String)]) -> Check {
    let failed = |how: String| Check::Failed(format!("the check '{command}' {how}"));
    match tokio::time::timeout(RUN_MAX, shell::run(command, environment)).await {
        Err(_) => failed(format!("did not end within {} s", RUN_MAX.as_secs())),
        Ok(Err(error)) => failed(format!("could not be run: {error}")),
        Ok(Ok(ended)) if ended.status.success() => Check::Passed,
        Ok(Ok(ended)) => {
            let text: String = ended.said.chars().take(TOLD_MAX).collect();
            let said = if text.is_empty() {
                String::new()
            } else {
                format!(", saying: {text}")
            };
            failed(format!("failed ({}){said}", ended.status))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_check_says() {
        let environment = [("SWITCHER_STEP", "2".to_owned())];
        assert_eq!(run("test $SWITCHER_STEP = 2", &environment).await, Check::Passed);
        let Check::Failed(why) = run("echo no good >&2; exit 3", &environment).await else {
            panic!("it failed");
        };
        assert!(why.contains("no good") && why.contains('3'), "{why}");
    }
}
