//! A lab with nginx as v1 and v2, the agent on the host, and `web` on v1.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use switcher_tests::lab::{Agent, LISTENER_V4, LISTENER_V6, Lab, Namespace, Nginx, Outcome, Wires};

/// Every interface has the XDP hook.
pub const BY_DRIVER: [&str; 6] = ["--hook", "xdp", "--interface", "v1", "--interface", "v2"];

const IO_LIMIT: Duration = Duration::from_secs(5);

/// The stack file, with the path of `web`.
pub fn stack(path: &str) -> String {
    format!(
        r#"version: 1
stack: shop
aliases:
  web:
    listen: ["198.51.100.10:80/tcp", "[2001:db8::10]:80/tcp"]
    path: {path}
    split: {{v1: 100}}
    sets:
      v1: {{backends: ["10.1.0.2:8080", "[fd00::2]:8080"]}}
      v2: {{backends: ["10.1.1.2:8080", "[fd00:1::2]:8080"]}}
"#
    )
}

/// Fields are dropped in this order: the agent first, the namespaces last.
pub struct Ground {
    pub agent: Agent,
    pub v1: Nginx,
    pub v2: Nginx,
    pub lab: Lab,
}

impl Ground {
    /// Everything up, nothing applied.
    pub fn bare() -> Self {
        Self::bare_with(&[])
    }

    /// The same, with more arguments for the agent.
    pub fn bare_with(arguments: &[&str]) -> Self {
        Self::bare_in(Lab::new().expect("a lab (root is needed)"), arguments)
    }

    /// The same in this lab.
    pub fn bare_in(lab: Lab, arguments: &[&str]) -> Self {
        let v1 = Nginx::start(&lab, lab.v1(), "v1").unwrap();
        let v2 = Nginx::start(&lab, lab.v2(), "v2").unwrap();
        let agent = Agent::start_with(&lab, arguments).unwrap();
        Self { agent, v1, v2, lab }
    }

    /// `web` on v1, by this path.
    pub fn new(path: &str) -> Self {
        let ground = Self::bare();
        ground.apply(&stack(path)).expect_code(&[0]).unwrap();
        ground
    }

    /// `web` on v1, met by this hook.
    pub fn with_hook(hook: &str) -> Self {
        let ground = Self::bare_with(&["--hook", hook]);
        ground.apply(&stack("auto")).expect_code(&[0]).unwrap();
        ground
    }

    /// Everything up on cables, where XDP sends on from driver to driver; nothing applied.
    pub fn bare_by_driver() -> Self {
        let lab = Lab::wired(Wires::Cables).expect("a lab (root is needed)");
        Self::bare_in(lab, &BY_DRIVER)
    }

    /// `web` on v1, by this path, from driver to driver.
    pub fn by_driver(path: &str) -> Self {
        let ground = Self::bare_by_driver();
        ground.apply(&stack(path)).expect_code(&[0]).unwrap();
        ground
    }

    pub fn apply(&self, text: &str) -> Outcome {
        let file = self.lab.dir().join("stack.yaml");
        std::fs::write(&file, text).unwrap();
        self.agent.cli(&["apply", "-f", &file.display().to_string()]).unwrap()
    }

    pub fn cli(&self, line: &str) -> Outcome {
        self.agent.cli(&line.split_whitespace().collect::<Vec<_>>()).unwrap()
    }

    /// Runs a command line and expects its exit code.
    pub fn expect(&self, line: &str, code: i32) -> Outcome {
        self.cli(line).expect_code(&[code]).unwrap()
    }

    /// The command's JSON document.
    pub fn json(&self, line: &str) -> serde_json::Value {
        serde_json::from_str(&self.expect(line, 0).stdout).unwrap()
    }

    /// What a fresh connection to each listener is answered.
    pub fn answers(&self) -> [String; 2] {
        [LISTENER_V4, LISTENER_V6].map(|listener| self.get(&format!("http://{listener}/")))
    }

    pub fn get(&self, url: &str) -> String {
        let outcome = self
            .lab
            .client()
            .run(&["curl", "-sSg", "--max-time", "5", url])
            .unwrap();
        outcome.expect_code(&[0]).unwrap().stdout.trim().to_owned()
    }

    /// The installed epoch, as `status` has it.
    pub fn epoch(&self) -> u64 {
        self.json("status --json")["epoch"]
            .as_u64()
            .expect("status has an epoch")
    }
}

/// A connection that stays open, made inside a namespace; answers tell who is at the other end.
pub struct Kept(BufReader<TcpStream>);

impl Kept {
    pub fn open(space: &Namespace, to: &str) -> Self {
        let to: SocketAddr = to.parse().unwrap();
        let name = space.name().to_owned();
        let stream = std::thread::spawn(move || {
            let netns = std::fs::File::open(format!("/run/netns/{name}")).unwrap();
            nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            TcpStream::connect_timeout(&to, IO_LIMIT).unwrap()
        });
        let stream = stream.join().unwrap();
        stream.set_read_timeout(Some(IO_LIMIT)).unwrap();
        stream.set_write_timeout(Some(IO_LIMIT)).unwrap();
        Self(BufReader::new(stream))
    }

    /// One request and its answer's body.
    pub fn ask(&mut self) -> String {
        self.try_ask().unwrap()
    }

    pub fn try_ask(&mut self) -> std::io::Result<String> {
        self.0.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        std::io::Read::read_exact(&mut self.0, &mut body)?;
        Ok(String::from_utf8(body).unwrap().trim().to_owned())
    }
}
