//! A lab whose host runs Docker, and images of nginx that answer their version's name on port 80.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use switcher_tests::lab::{Agent, CLIENT_POOL_V4, Lab, Namespace, Outcome, Process, run};
use switcher_tests::traffic::{Generator, LoadPlan, LoadReport, Plan, Sources, Work};
use switcher_tests::{binaries, interrupt};

use crate::asked::Asked;

const DOCKER_LIMIT: Duration = Duration::from_secs(60);
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// The host's address on the clients' side, and the port of the thread's balancer.
pub const PUBLISHED: &str = "10.0.0.1:8000";
/// Docker's bridge, where names are answered.
pub const DNS: &str = "172.17.0.1:53";
/// Requests a second of each of the loads that the issue names.
const FULL_PER_S: u32 = 1_000;
/// Connections of a load that stay.
pub const KEPT_ALIVE: usize = 8;
/// What the image has beside nginx.
const PROGRAMS: [&str; 2] = ["/usr/sbin/nginx", "/usr/bin/curl"];

const NGINX: &str = "daemon off; user root; worker_processes 1; pid /run/nginx.pid; error_log /dev/null;
events { worker_connections 4000; }
http {
    access_log off; keepalive_timeout 1h; keepalive_requests 10000000;
    client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;
    default_type text/plain;
    server {
        listen 80 backlog=4096;
        listen [::]:80 ipv6only=on backlog=4096;
        add_header X-Version VERSION always;
        location / { return 200 \"VERSION\\n\"; }
    }
}
";

/// Requests a second of each load: what a machine that does other things beside carries.
pub fn rate() -> u32 {
    std::env::var("SWITCHER_COMPOSE_RATE")
        .ok()
        .and_then(|rate| rate.parse().ok())
        .unwrap_or(300)
}

/// Fields are dropped in this order: the agent first, the namespaces last.
pub struct Site {
    pub agent: Agent,
    pub dockerd: Dockerd,
    pub lab: Lab,
}

/// The daemon, and the command that talks to it.
pub struct Dockerd {
    kind: Kind,
    process: Option<Process>,
    host: Namespace,
    dir: PathBuf,
    cgroup: String,
}

/// Who answers Docker's API.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Docker { live_restore: bool },
    Podman,
}

impl Dockerd {
    /// Podman, by its compatible socket.
    pub fn podman(lab: &Lab) -> Self {
        Self::launch(lab, Kind::Podman)
    }

    fn launch(lab: &Lab, kind: Kind) -> Self {
        let dir = lab.dir().join("docker");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("daemon.json"), "{}").unwrap();
        let mut dockerd = Self {
            process: None,
            host: lab.host().clone(),
            cgroup: format!("swt-{}", lab.id()),
            dir,
            kind,
        };
        dockerd.start();
        dockerd
    }

    pub fn start(&mut self) {
        self.begin();
        self.wait();
    }

    /// Starts it and does not wait.
    pub fn begin(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .unwrap();
        let mut command = match self.kind {
            Kind::Docker { live_restore } => self.docker_command(live_restore),
            Kind::Podman => self.podman_command(),
        };
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.process = Some(Process::spawn("dockerd", &mut command, Signal::SIGTERM).unwrap());
    }

    fn podman_command(&self) -> Command {
        let at = |name: &str| self.dir.join(name).display().to_string();
        // Its own limits may be above what this machine lets it set.
        let settings = "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=4000:4000\"]\n";
        fs::write(self.dir.join("containers.conf"), settings).unwrap();
        let mut command = self.host.server("podman");
        command.env("CONTAINERS_CONF", at("containers.conf"));
        command.args([
            "--root",
            &at("data"),
            "--runroot",
            &at("exec"),
            "--storage-driver",
            "vfs",
        ]);
        command.args([
            "--cgroup-manager",
            "cgroupfs",
            "system",
            "service",
            "-t",
            "0",
            &self.socket(),
        ]);
        command
    }

    fn docker_command(&self, live_restore: bool) -> Command {
        let at = |name: &str| self.dir.join(name).display().to_string();
        let mut command = self.host.server("dockerd");
        command.args(["--data-root", &at("data"), "--exec-root", &at("exec"), "-p", &at("pid")]);
        command.args([
            "-H",
            &self.socket(),
            "--config-file",
            &at("daemon.json"),
            "--cgroup-parent",
            &self.cgroup,
        ]);
        command.arg(format!("--live-restore={live_restore}"));
        command
    }

    pub fn wait(&self) {
        interrupt::wait_for("dockerd answers", START_LIMIT, || {
            Ok(self.try_docker(&["version"]).code == 0)
        })
        .unwrap();
    }

    pub fn stop(&mut self) {
        // Podman's service waits for those who follow its events; it holds no container.
        let signal = match self.kind {
            Kind::Docker { .. } => Signal::SIGTERM,
            Kind::Podman => Signal::SIGKILL,
        };
        if let Some(mut process) = self.process.take() {
            process.stop_with(signal, STOP_LIMIT).unwrap();
        }
    }

    pub fn socket(&self) -> String {
        format!("unix://{}", self.dir.join("docker.sock").display())
    }

    pub fn try_docker(&self, words: &[&str]) -> Outcome {
        let mut command = Command::new("docker");
        command.args(["-H", &self.socket()]).args(words);
        run(&mut command, DOCKER_LIMIT).unwrap()
    }

    /// `docker WORDS`; returns what it says.
    pub fn docker(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.try_docker(&words)
            .expect_code(&[0])
            .unwrap()
            .stdout
            .trim()
            .to_owned()
    }

    pub fn pid(&self, container: &str) -> u32 {
        self.docker(&format!("inspect -f {{{{.State.Pid}}}} {container}"))
            .parse()
            .unwrap()
    }

    /// Makes `NAME` of nginx; `healthcheck`: a command that tells its health.
    pub fn image(&self, name: &str, version: &str, healthcheck: Option<&str>) {
        let root = self.dir.join("root");
        image_root(&root, version);
        let tar = self.dir.join("image.tar");
        let mut pack = Command::new("tar");
        pack.arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".");
        run(&mut pack, DOCKER_LIMIT).unwrap().expect_code(&[0]).unwrap();
        let start = "CMD [\"/usr/sbin/nginx\",\"-c\",\"/etc/nginx.conf\",\"-e\",\"/dev/null\"]";
        let tar = tar.display().to_string();
        let mut words = vec!["import", "-c", start, "-c", "EXPOSE 80"];
        let health = healthcheck.map(|command| {
            format!("HEALTHCHECK --interval=500ms --timeout=2s --retries=2 --start-period=1s CMD {command}")
        });
        if let Some(health) = &health {
            words.extend(["-c", health]);
        }
        words.extend([tar.as_str(), name]);
        self.try_docker(&words).expect_code(&[0]).unwrap();
        fs::remove_file(&tar).unwrap();
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if self.process.is_none() {
            return;
        }
        let all = self.try_docker(&["ps", "-aq"]).stdout;
        let mut words = vec!["rm", "-f"];
        words.extend(all.split_whitespace());
        if words.len() > 2 {
            self.try_docker(&words);
        }
        self.stop();
    }
}

/// The files of an image: the programs, and every library that they load.
fn image_root(root: &Path, version: &str) {
    let _ = fs::remove_dir_all(root);
    for folder in ["bin", "etc", "tmp", "run", "var/log/nginx", "var/lib/nginx"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let copy = |file: &str| {
        let to = root.join(file.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(file, to).unwrap();
    };
    for program in PROGRAMS {
        copy(program);
        let listed = run(Command::new("ldd").arg(program), DOCKER_LIMIT).unwrap().stdout;
        let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
        libraries.for_each(copy);
    }
    copy("/bin/busybox");
    for applet in ["sh", "sleep", "false", "true"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\n").unwrap();
    fs::write(root.join("etc/nginx.conf"), NGINX.replace("VERSION", version)).unwrap();
}

impl Site {
    /// Docker with both images, and an agent that follows it.
    pub fn new() -> Self {
        Self::with(false)
    }

    pub fn with(live_restore: bool) -> Self {
        let lab = Lab::new().expect("a lab (root is needed)");
        let dockerd = Dockerd::launch(&lab, Kind::Docker { live_restore });
        for version in ["v1", "v2"] {
            dockerd.image(&format!("flaccid/countdown_example:{version}"), version, None);
        }
        let agent = Agent::start_with(&lab, &["--docker", &dockerd.socket(), "--dns", DNS]).unwrap();
        Self { agent, dockerd, lab }
    }

    /// The thread's files in a folder of their own, both aliases linked to `services`.
    pub fn thread_files(&self, services: &[&str]) -> PathBuf {
        let folder = self.lab.dir().join("countdown");
        fs::create_dir_all(&folder).unwrap();
        let posted = include_str!("../../../docs/examples/countdown/docker-compose.yml");
        let links = |form: fn(&str) -> String| services.iter().map(|name| form(name)).collect::<Vec<_>>().join("\n");
        let text = posted
            .replace(
                "  - countdown-v2:countdown-v2",
                &links(|name| format!("  - {name}:{name}")),
            )
            .replace("  - 'countdown-v2:'", &links(|name| format!("  - '{name}:'")));
        fs::write(folder.join("docker-compose.yml"), text).unwrap();
        let rancher = include_str!("../../../docs/examples/countdown/rancher-compose.yml");
        fs::write(folder.join("rancher-compose.yml"), rancher).unwrap();
        folder.join("docker-compose.yml")
    }

    /// A compose file of our own.
    pub fn file(&self, text: &str) -> PathBuf {
        let file = self.lab.dir().join("compose.yaml");
        fs::write(&file, text).unwrap();
        file
    }

    /// `switcher compose -f FILE WORDS`.
    pub fn compose(&self, file: &Path, line: &str) -> Outcome {
        let (file, socket) = (file.display().to_string(), self.dockerd.socket());
        let mut words = vec!["compose", "--docker", &socket, "-f", &file];
        words.extend(line.split_whitespace());
        self.agent.cli(&words).unwrap()
    }

    /// Begins the same and does not wait; both of its streams are pipes.
    pub fn begin_compose(&self, file: &Path, line: &str) -> Child {
        let mut command = Command::new(binaries::switcher().unwrap());
        let agent = format!("unix://{}", self.lab.dir().join("switcher.sock").display());
        command.args(["--host", &agent, "compose", "--docker", &self.dockerd.socket(), "-f"]);
        command.arg(file).args(line.split_whitespace());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// The containers of project `shop` that it made, by name, stopped ones too.
    pub fn names(&self) -> Vec<String> {
        let names = self.dockerd.docker("ps -a --format {{.Names}}");
        let own = names.split_whitespace().filter(|name| name.starts_with("shop-"));
        let mut names: Vec<String> = own.map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Where a container of a network of project `shop` is.
    pub fn address(&self, container: &str) -> String {
        let form = "{{.NetworkSettings.Networks.shop_default.IPAddress}}";
        self.dockerd.docker(&format!("inspect -f {form} {container}"))
    }

    /// `switcher compose WORDS` in a folder, by a shell.
    pub fn compose_in(&self, folder: &Path, line: &str) -> Outcome {
        let binary = binaries::switcher().unwrap();
        let host = self.lab.dir().join("switcher.sock");
        let text = format!(
            "{} --host unix://{} compose --docker {} {line}",
            binary.display(),
            host.display(),
            self.dockerd.socket()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &text]).current_dir(folder);
        run(&mut command, DOCKER_LIMIT).unwrap()
    }

    pub fn expect(&self, line: &str, code: i32) -> Outcome {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.agent.cli(&words).unwrap().expect_code(&[code]).unwrap()
    }

    pub fn json(&self, line: &str) -> serde_json::Value {
        serde_json::from_str(&self.expect(line, 0).stdout).unwrap()
    }

    /// New flows that a set of an alias ever got.
    pub fn flows_opened(&self, alias: &str, set: &str) -> u64 {
        let status = self.json(&format!("status {alias} --json"));
        let sets = status["aliases"][0]["sets"].as_array().unwrap();
        let set = sets.iter().find(|one| one["name"] == set).unwrap();
        set["counters"]["flows_opened"].as_u64().unwrap()
    }

    /// What a fresh connection from outside is answered.
    pub fn ask_outside(&self) -> String {
        let url = format!("http://{PUBLISHED}/");
        let outcome = self
            .lab
            .client()
            .run(&["curl", "-sS", "--max-time", "5", &url])
            .unwrap();
        outcome.expect_code(&[0]).unwrap().stdout.trim().to_owned()
    }

    /// A container that is a client: its resolver is the agent.
    pub fn client_container(&self) -> Namespace {
        self.client_container_on("bridge")
    }

    /// The same on a network.
    pub fn client_container_on(&self, network: &str) -> Namespace {
        let dns = DNS.trim_end_matches(":53");
        let image = "flaccid/countdown_example:v1";
        self.dockerd.docker(&format!(
            "run -d --name client --network {network} --dns {dns} --dns-search switcher.internal {image} /bin/sleep 1000"
        ));
        self.lab.adopt("inside", self.dockerd.pid("client")).unwrap()
    }

    /// What an alias answers by its name, asked inside a container.
    pub fn ask_inside(&self, url: &str) -> String {
        self.dockerd
            .docker(&format!("exec client /usr/bin/curl -sS --max-time 5 {url}"))
    }

    /// The issue's own rate outside, and as many requests from a container by the alias's name, which is looked up again all the while.
    pub fn full_loads(&self, client: &Namespace, alias: &str, kept_alive: usize) -> ([Generator; 2], Asked) {
        let place = self.own_address(alias);
        let address = place.parse::<SocketAddr>().unwrap().ip();
        let sources = Sources {
            v4: Some(CLIENT_POOL_V4),
            v6: None,
        };
        let outside = plan_at(FULL_PER_S, "outside", PUBLISHED, sources, kept_alive);
        let inside = plan_at(FULL_PER_S, "inside", &place, Sources::default(), kept_alive);
        let name = format!("{alias}.switcher.internal.");
        let asked = Asked::start(client, self.resolver_of("client"), &name, address);
        let loads = [
            Generator::load(&self.lab, &outside).unwrap(),
            Generator::load_in(&self.lab, client, &inside).unwrap(),
        ];
        (loads, asked)
    }

    /// Whom a container asks first.
    fn resolver_of(&self, container: &str) -> IpAddr {
        let file = self
            .dockerd
            .docker(&format!("exec {container} /bin/busybox cat /etc/resolv.conf"));
        let first = file.lines().find_map(|line| line.strip_prefix("nameserver "));
        first.unwrap().trim().parse().unwrap()
    }

    /// The issue's own rate from outside to the published port.
    pub fn full_load_outside(&self) -> Generator {
        let sources = Sources {
            v4: Some(CLIENT_POOL_V4),
            v6: None,
        };
        let plan = plan_at(FULL_PER_S, "outside", PUBLISHED, sources, KEPT_ALIVE);
        Generator::load(&self.lab, &plan).unwrap()
    }

    /// A load from outside to the published port.
    pub fn load_outside(&self) -> Generator {
        let sources = Sources {
            v4: Some(CLIENT_POOL_V4),
            v6: None,
        };
        Generator::load(&self.lab, &plan("outside", PUBLISHED, sources, KEPT_ALIVE)).unwrap()
    }

    /// A load from outside without a connection that stays.
    pub fn short_load_outside(&self) -> Generator {
        let sources = Sources {
            v4: Some(CLIENT_POOL_V4),
            v6: None,
        };
        Generator::load(&self.lab, &plan("outside", PUBLISHED, sources, 0)).unwrap()
    }

    /// A load from within a container without a connection that stays.
    pub fn short_load_inside(&self, client: &Namespace, alias: &str) -> Generator {
        let plan = plan("inside", alias, Sources::default(), 0);
        Generator::load_in(&self.lab, client, &plan).unwrap()
    }

    /// A load from within a container to the alias's address.
    pub fn load_inside(&self, client: &Namespace, alias: &str) -> Generator {
        let plan = plan("inside", alias, Sources::default(), KEPT_ALIVE);
        Generator::load_in(&self.lab, client, &plan).unwrap()
    }

    /// The alias's own address of the pool, with its port.
    pub fn own_address(&self, alias: &str) -> String {
        let aliases = self.json("alias ls --json");
        let rows = aliases["aliases"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == alias).unwrap();
        let listen = row["listen"][0].as_str().unwrap();
        assert!(listen.starts_with("198.18.255."), "{listen}");
        listen.trim_end_matches("/tcp").to_owned()
    }

    /// Waits until the sets of `web` are as a test wants them.
    pub fn wait(&self, what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + limit;
        while !done() {
            assert!(Instant::now() < end, "{what}: not within {} s", limit.as_secs());
            interrupt::sleep(Duration::from_millis(50)).unwrap();
        }
    }

    /// The sets of an alias.
    pub fn sets(&self, alias: &str) -> Vec<String> {
        let status = self.json(&format!("status {alias} --json"));
        let sets = status["aliases"][0]["sets"].as_array().unwrap();
        sets.iter()
            .map(|set| set["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// How many backends a set has.
    pub fn backends(&self, alias: &str, set: &str) -> usize {
        let status = self.json(&format!("status {alias} --json"));
        let sets = status["aliases"][0]["sets"].as_array().unwrap();
        let set = sets.iter().find(|one| one["name"] == set);
        set.map_or(0, |set| set["backends"].as_array().unwrap().len())
    }
}

fn plan(run: &str, target: &str, sources: Sources, kept_alive: usize) -> Plan {
    plan_at(rate(), run, target, sources, kept_alive)
}

/// A load of another rate.
pub fn plan_at(rate_per_s: u32, run: &str, target: &str, sources: Sources, kept_alive: usize) -> Plan {
    Plan {
        run: run.to_owned(),
        targets: vec![target.parse().unwrap()],
        sources,
        work: Work::Load(LoadPlan {
            rate_per_s,
            seconds_max: 120,
            kept_alive,
            upload: None,
            download: None,
            pings: false,
        }),
    }
}

/// Ends a load; everything was answered.
pub fn all_answered(load: &mut Generator) -> LoadReport {
    let report = load.stop().unwrap();
    let what = format!(
        "{}: {:?}\n{}",
        report.run,
        report.failures,
        report.failure_samples.join("\n")
    );
    told(&report);
    assert_eq!(report.failed, 0, "{what}");
    assert!(report.due > 0);
    report
}

/// Says what became of a load: its figures, and for how long in all requests failed.
pub fn told(report: &LoadReport) {
    let broken = report.buckets.iter().filter(|bucket| bucket.failed > 0).count();
    let kept = report.kept_alive.iter().filter(|kept| kept.ended.is_some()).count();
    eprintln!(
        "{}: {} requests, {} late, {} failed {:?} in {broken} tenths of a second, {kept} of {} kept connections ended, 99 % within {} us, {:?}",
        report.run,
        report.due,
        report.late,
        report.failed,
        report.failures,
        report.kept_alive.len(),
        report.latency.p99_us,
        report.answers
    );
}
