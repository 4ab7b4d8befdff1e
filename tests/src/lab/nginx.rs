//! Real nginx as one version of the application.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::access_log::{LogEntry, read_access_log};
use super::process::{Process, tail};
use super::{Lab, Namespace};
use crate::interrupt;
use crate::traffic::pattern;

/// The port that both versions listen on.
const PORT: u16 = 8080;
const START_LIMIT: Duration = Duration::from_secs(10);
const QUIT_LIMIT: Duration = Duration::from_secs(15);

/// An hour for every idle time: no connection of a test ends by nginx's own clock.
const CONFIG: &str = r#"daemon off;
user root;
worker_processes 1;
worker_rlimit_nofile 16384;
pid DIR/nginx.pid;
error_log DIR/error.log warn;
events { worker_connections 12000; multi_accept on; }
http {
    log_format lab '$http_x_request_id $msec $remote_addr $remote_port $server_port $connection $connection_requests $status $request_length $bytes_sent';
    access_log DIR/access.log lab buffer=64k flush=200ms;
    client_body_temp_path DIR/temp/body;
    proxy_temp_path DIR/temp/proxy;
    fastcgi_temp_path DIR/temp/fastcgi;
    uwsgi_temp_path DIR/temp/uwsgi;
    scgi_temp_path DIR/temp/scgi;
    keepalive_requests 10000000;
    keepalive_timeout 1h;
    client_header_timeout 1h;
    client_body_timeout 1h;
    send_timeout 1h;
    client_max_body_size 1g;
    default_type application/octet-stream;
    server {
        listen V4:PORT TLS backlog=4096;
        listen [V6]:PORT TLS ipv6only=on backlog=4096;
        add_header X-Version VERSION always;
        location / { return 200 "VERSION\n"; }
        location /files/ { root DIR; }
        location /uploads/ { root DIR; dav_methods PUT; }
    }
}
"#;

/// What a server with TLS has beside that.
const CERTIFICATE: &str = "        ssl_certificate DIR/server.crt;\n        ssl_certificate_key DIR/server.key;\n";

/// A certificate that no authority has signed, for a name that nobody asks for.
fn certify(dir: &Path) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]);
    openssl.args(["-days", "2", "-subj", "/CN=not.this.one", "-keyout"]);
    openssl
        .arg(dir.join("server.key"))
        .arg("-out")
        .arg(dir.join("server.crt"));
    let output = openssl
        .output()
        .context("cannot start openssl (cargo xtask setup installs it)")?;
    if !output.status.success() {
        bail!("openssl: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// A running nginx that answers its version's name at `/`, serves `/files/` and takes PUT below `/uploads/`.
#[derive(Debug)]
pub struct Nginx {
    version: String,
    dir: PathBuf,
    process: Process,
}

impl Nginx {
    /// Starts nginx in `space` and returns once it listens.
    ///
    /// # Errors
    /// If it cannot be configured or does not listen in time.
    pub fn start(lab: &Lab, space: &Namespace, version: &str) -> Result<Self> {
        Self::listen(lab, space, version, ["0.0.0.0", "::"], PORT)
    }

    /// The same on the loopback addresses of the lab's host.
    ///
    /// # Errors
    /// If it cannot be configured or does not listen in time.
    pub fn start_on_loopback(lab: &Lab, version: &str, port: u16) -> Result<Self> {
        Self::listen(lab, lab.host(), version, ["127.0.0.1", "::1"], port)
    }

    /// The same on the addresses that the lab's host has towards the client.
    ///
    /// # Errors
    /// If it cannot be configured or does not listen in time.
    pub fn start_on_host(lab: &Lab, version: &str, port: u16) -> Result<Self> {
        Self::listen(lab, lab.host(), version, ["10.0.0.1", "fd00:c::1"], port)
    }

    /// The same on all addresses of `space`, by TLS, with a certificate of its own making for another name.
    ///
    /// # Errors
    /// If it cannot be configured or does not listen in time.
    pub fn start_with_tls(lab: &Lab, space: &Namespace, version: &str, port: u16) -> Result<Self> {
        Self::configured(lab, space, version, ["0.0.0.0", "::"], port, " ssl")
    }

    fn listen(lab: &Lab, space: &Namespace, version: &str, addresses: [&str; 2], port: u16) -> Result<Self> {
        Self::configured(lab, space, version, addresses, port, "")
    }

    fn configured(
        lab: &Lab,
        space: &Namespace,
        version: &str,
        addresses: [&str; 2],
        port: u16,
        tls: &str,
    ) -> Result<Self> {
        let dir = lab.dir().join(format!("nginx-{version}"));
        for folder in ["temp", "files", "uploads"] {
            fs::create_dir_all(dir.join(folder)).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let config = dir.join("nginx.conf");
        let certificate = if tls.is_empty() { "" } else { CERTIFICATE };
        if !tls.is_empty() {
            certify(&dir)?;
        }
        let text = CONFIG
            .replace("    server {\n", &format!("    server {{\n{certificate}"))
            .replace(" TLS", tls)
            .replace("DIR", &dir.display().to_string())
            .replace("PORT", &port.to_string())
            .replace("V4", addresses[0])
            .replace("V6", addresses[1])
            .replace("VERSION", version);
        fs::write(&config, text)?;
        let errors = File::create(dir.join("stderr.log"))?;
        let mut command = space.server("nginx");
        command.arg("-c").arg(&config).arg("-e").arg(dir.join("error.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let process = Process::spawn(&format!("nginx {version}"), &mut command, Signal::SIGTERM)?;
        let mut nginx = Self {
            version: version.to_owned(),
            dir,
            process,
        };
        nginx.wait_listening(port)?;
        Ok(nginx)
    }

    fn wait_listening(&mut self, port: u16) -> Result<()> {
        let what = format!("nginx {} listens", self.version);
        interrupt::wait_for(&what, START_LIMIT, || {
            if let Some(status) = self.process.ended()? {
                bail!(
                    "nginx {} ended ({status}): {}",
                    self.version,
                    tail(&self.dir.join("stderr.log"))
                );
            }
            let proc = PathBuf::from(format!("/proc/{}/net", self.process.pid()));
            Ok(listens(&proc.join("tcp"), port) && listens(&proc.join("tcp6"), port))
        })
    }

    /// Its version's name.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Writes `/files/NAME` of `bytes` bytes of the pattern with `seed`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn publish(&self, name: &str, bytes: u64, seed: u64) -> Result<()> {
        let mut file = BufWriter::new(File::create(self.dir.join("files").join(name))?);
        let mut chunk = vec![0; 64 * 1024];
        let mut at = 0;
        while at < bytes {
            let length = usize::try_from((bytes - at).min(chunk.len() as u64))?;
            pattern::fill(seed, at, &mut chunk[..length]);
            file.write_all(&chunk[..length])?;
            at += length as u64;
        }
        file.flush().context("cannot write a file to serve")
    }

    /// What `/uploads/NAME` received, if it is there whole.
    #[must_use]
    pub fn uploaded(&self, name: &str) -> PathBuf {
        self.dir.join("uploads").join(name)
    }

    /// Ends it as a deploy job would: no request is cut, and its log is complete.
    ///
    /// # Errors
    /// If it does not end.
    pub fn quit(&mut self) -> Result<()> {
        self.process.stop_with(Signal::SIGQUIT, QUIT_LIMIT)?;
        Ok(())
    }

    /// Its access log; complete only after [`Nginx::quit`].
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn log(&self) -> Result<Vec<LogEntry>> {
        read_access_log(&self.dir.join("access.log"))
    }

    /// Lets it run on after this value is gone.
    pub fn leave(&mut self) {
        self.process.leave();
    }
}

/// Whether a socket of `/proc/PID/net/tcp` listens on `port` (state 0A).
fn listens(table: &Path, port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    fs::read_to_string(table).unwrap_or_default().lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().is_some_and(|local| local.ends_with(&wanted)) && fields.nth(1) == Some("0A")
    })
}
