//! A command of the user's, run by a shell. It and all that it began end together.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

/// As much of what it writes on stderr is kept, in bytes.
const KEPT_MAX: usize = 1_024;
/// What it wrote last is waited for so long. A child that it left behind may hold stderr open for ever.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// The beginning of what it wrote on stderr.
    pub said: String,
}

/// A command and its children. They are killed when this goes, also where nobody waits for them any more.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // An error says that none of them is left.
        let _ = killpg(self.0, Signal::SIGKILL);
    }
}

/// Runs it to its end; `environment` is added to the agent's own. Dropping this kills what it began.
///
/// # Errors
/// Where no shell can be started.
pub async fn run(command: &str, environment: &[(&'static str, String)]) -> io::Result<Ended> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).envs(environment.iter().cloned());
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = shell.process_group(0).kill_on_drop(true).spawn()?;
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let _group = id.map(|id| Group(Pid::from_raw(id)));
    let mut said = Vec::new();
    let status = {
        let reading = read(child.stderr.take(), &mut said);
        tokio::pin!(reading);
        tokio::select! {
            status = child.wait() => {
                let status = status?;
                let _ = tokio::time::timeout(LAST_WORDS, reading).await;
                status
            }
            () = &mut reading => child.wait().await?,
        }
    };
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Ok(Ended { status, said })
}

/// Reads to the end, so that nobody waits for a full pipe, and keeps the beginning.
async fn read(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut piece = [0; 1_024];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let room = KEPT_MAX.saturating_sub(kept.len()).min(length);
        kept.extend_from_slice(&piece[..room]);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use super::*;

    /// Whether the process whose number is in the file is there, and no zombie.
    fn lives(file: &Path) -> bool {
        let Ok(id) = std::fs::read_to_string(file) else {
            return false;
        };
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.trim()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn until(what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < Duration::from_secs(5), "{what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn its_status_and_its_last_words() {
        let environment = [("SWITCHER_STEP", "2".to_owned())];
        let ended = run("echo step $SWITCHER_STEP >&2; exit 3", &environment).await.unwrap();
        assert_eq!((ended.status.code(), ended.said.as_str()), (Some(3), "step 2"));
        let long = run("head -c 300000 /dev/zero >&2", &[]).await.unwrap();
        assert!(long.status.success(), "it is read to its end");
        assert_eq!(long.said.len(), KEPT_MAX);
    }

    #[tokio::test]
    async fn a_child_that_it_left_behind_is_not_waited_for_and_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("child");
        let began = Instant::now();
        let command = format!("sleep 60 & echo $! > {}; exit 1", file.display());
        let ended = run(&command, &[]).await.unwrap();
        assert_eq!(ended.status.code(), Some(1));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        until("the child is gone", || !lives(&file)).await;
    }

    #[tokio::test]
    async fn whoever_waits_no_longer_ends_all_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("child");
        // Not the shell itself, which it would be where the command were the last.
        let command = format!("sleep 60 & echo $! > {}; wait; true", file.display());
        let waiting = tokio::time::timeout(Duration::from_millis(500), run(&command, &[]));
        assert!(waiting.await.is_err());
        assert!(std::fs::read_to_string(&file).is_ok(), "it was begun");
        until("the child is gone", || !lives(&file)).await;
    }
}
