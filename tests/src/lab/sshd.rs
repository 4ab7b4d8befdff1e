//! Debian's sshd, which lets nobody in and says who it is.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::process::{Process, guarded, run, tail};
use super::{Lab, Namespace};
use crate::interrupt;

/// sshd starts itself anew for each connection, by its full path.
const SSHD: &str = "/usr/sbin/sshd";
/// Where it keeps its unprivileged half; Debian's service makes it, and there is none here.
const PRIVILEGE_SEPARATION: &str = "/run/sshd";
const START_LIMIT: Duration = Duration::from_secs(10);

/// A running sshd. Dropping it ends it.
#[derive(Debug)]
pub struct Sshd {
    process: Process,
}

impl Sshd {
    /// Starts it in `space`, on every address, and returns once it listens.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(lab: &Lab, space: &Namespace, port: u16) -> Result<Self> {
        let (key, log) = (lab.dir().join("sshd.key"), lab.dir().join("sshd.log"));
        fs::create_dir_all(PRIVILEGE_SEPARATION)?;
        let mut keygen = guarded("ssh-keygen", Signal::SIGKILL);
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
        run(&mut keygen, START_LIMIT)?.expect_code(&[0])?;
        let mut command = space.server(Path::new(SSHD));
        // Nothing of the machine's own configuration.
        command.args(["-D", "-f", "/dev/null", "-o", "PidFile=none", "-o", "UsePAM=no", "-p"]);
        command.arg(port.to_string()).arg("-h").arg(&key).arg("-E").arg(&log);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Process::spawn("sshd", &mut command, Signal::SIGTERM)?;
        interrupt::wait_for("sshd listens", START_LIMIT, || {
            if let Some(status) = process.ended()? {
                bail!("sshd ended at its start ({status}): {}", tail(&log));
            }
            Ok(fs::read_to_string(&log).is_ok_and(|said| said.contains("Server listening on ::")))
        })?;
        Ok(Self { process })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }
}

/// The first line that whoever listens there says by itself, as seen from inside `space`.
///
/// # Errors
/// If nobody listens or says anything within twenty seconds.
pub fn banner(space: &Namespace, at: SocketAddr) -> Result<String> {
    use std::io::{BufRead as _, BufReader};
    const LIMIT: Duration = Duration::from_secs(20);
    let asked = space.spawn(move || {
        let stream = std::net::TcpStream::connect_timeout(&at, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    })?;
    asked.join().ok().context("the thread ended")?
}
