//! `cargo xtask setup`: what building and testing need, installed on Debian 12, named elsewhere.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Result, bail};

use crate::bpf_toolchain;
use crate::process::Invocation;
use crate::repo::Repo;
use crate::root;

/// Limits of the three commands: many times what they take, so that only a hanging one reaches them.
const APT_LIMIT: Duration = Duration::from_secs(30 * 60);
const LINKER_LIMIT: Duration = Duration::from_secs(20 * 60);

/// Debian's LLVM that bpf-linker is linked with; not older than the one in the compiler that makes the BPF programs.
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
const LINKER_VERSION: &str = "0.13.0";
const LINKER_FEATURE: &str = "llvm-22";

/// Options of `cargo xtask setup`.
#[derive(clap::Args)]
pub struct Args {
    /// Only say what is missing; fails if something is
    #[arg(long)]
    check: bool,
}

/// What a verb needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The BPF programs' compiler and linker.
    Build,
    /// That, and the programs the lab and the tests run.
    All,
}

/// Something the machine must have.
struct Need {
    what: &'static str,
    packages: &'static [&'static str],
    present: fn() -> bool,
    scope: Scope,
}

const LINKER_NEED: &str = "bpf-linker";

#[rustfmt::skip]
const NEEDS: &[Need] = &[
    Need { what: "a Rust toolchain with the standard library's sources", packages: &["rustc-web", "cargo-web", "rust-web-src"],
           present: || bpf_toolchain::find().is_some(), scope: Scope::Build },
    Need { what: LINKER_NEED, packages: &["gcc", "g++", "libc6-dev", "llvm-22-dev", "zlib1g-dev", "libzstd-dev"],
           present: linker_runs, scope: Scope::Build },
    Need { what: "nginx", packages: &["nginx-light"], present: || on_path("nginx"), scope: Scope::All },
    Need { what: "openssl", packages: &["openssl"], present: || on_path("openssl"), scope: Scope::All },
    Need { what: "iperf3", packages: &["iperf3"], present: || on_path("iperf3"), scope: Scope::All },
    Need { what: "socat", packages: &["socat"], present: || on_path("socat"), scope: Scope::All },
    Need { what: "ethtool", packages: &["ethtool"], present: || on_path("ethtool"), scope: Scope::All },
    Need { what: "nft", packages: &["nftables"], present: || on_path("nft"), scope: Scope::All },
    Need { what: "ip", packages: &["iproute2"], present: || on_path("ip"), scope: Scope::All },
    Need { what: "tcpdump", packages: &["tcpdump"], present: || on_path("tcpdump"), scope: Scope::All },
    Need { what: "sysctl", packages: &["procps"], present: || on_path("sysctl"), scope: Scope::All },
    Need { what: "systemd-analyze", packages: &["systemd"], present: || on_path("systemd-analyze"), scope: Scope::All },
    Need { what: "script", packages: &["bsdutils"], present: || on_path("script"), scope: Scope::All },
    Need { what: "nsenter", packages: &["util-linux"], present: || on_path("nsenter"), scope: Scope::All },
    Need { what: "prometheus and promtool", packages: &["prometheus"], present: || on_path("promtool"), scope: Scope::All },
    Need { what: "sshd", packages: &["openssh-server"], present: || Path::new("/usr/sbin/sshd").exists(), scope: Scope::All },
    Need { what: "curl", packages: &["curl"], present: || on_path("curl"), scope: Scope::All },
    Need { what: "dockerd", packages: &["docker.io"], present: || on_path("dockerd"), scope: Scope::All },
    Need { what: "podman", packages: &["podman", "containernetworking-plugins"], present: || on_path("podman"), scope: Scope::All },
    Need { what: "busybox", packages: &["busybox-static"], present: || on_path("busybox"), scope: Scope::All },
    Need { what: "git", packages: &["git"], present: || on_path("git"), scope: Scope::All },
];

/// The verb.
pub fn run(args: &Args) -> Result<()> {
    let missing = missing(Scope::All);
    if args.check {
        return match missing.as_slice() {
            [] => {
                println!("Nothing is missing.");
                Ok(())
            }
            missing => bail!("missing: {}; `cargo xtask setup` installs it", names(missing)),
        };
    }
    if missing.is_empty() {
        println!("Nothing to do: everything is installed.");
        return Ok(());
    }
    install(&missing)
}

/// What another verb needs, before it starts. Silent if nothing is missing.
pub fn ensure(scope: Scope) -> Result<()> {
    let missing = missing(scope);
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

fn missing(scope: Scope) -> Vec<&'static Need> {
    NEEDS
        .iter()
        .filter(|need| scope == Scope::All || need.scope == scope)
        .filter(|need| !(need.present)())
        .collect()
}

fn names(needs: &[&Need]) -> String {
    needs.iter().map(|need| need.what).collect::<Vec<_>>().join(", ")
}

fn install(missing: &[&Need]) -> Result<()> {
    eprintln!("Missing: {}.", names(missing));
    if !is_debian_12(&fs::read_to_string("/etc/os-release").unwrap_or_default()) {
        print_commands(missing);
        bail!("setup installs on Debian 12 only; after the commands above, run this again");
    }
    let started = Instant::now();
    let repo = Repo::find()?;
    let wanted: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    let packages = not_installed(&wanted);
    if !packages.is_empty() {
        install_packages(&repo, &packages)?;
    }
    let linker = missing.iter().any(|need| need.what == LINKER_NEED);
    if linker {
        install_linker(&repo)?;
    }
    let still: Vec<&Need> = missing.iter().filter(|need| !(need.present)()).copied().collect();
    if !still.is_empty() {
        bail!("installed, but still not found: {}", names(&still));
    }
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    let linker = if linker {
        format!(" bpf-linker {LINKER_VERSION}")
    } else {
        String::new()
    };
    eprintln!("Installed in {minutes:.1} min: {}{linker}.", packages.join(" "));
    Ok(())
}

fn install_packages(repo: &Repo, packages: &[&str]) -> Result<()> {
    // Package lists of a new machine are stale, and a package is then not found.
    apt(repo, "the package lists, about 10 s", &["update"])?;
    for (package, service) in [
        ("nginx-light", "nginx"),
        ("prometheus", "prometheus"),
        ("openssh-server", "ssh"),
    ] {
        if packages.contains(&package) && Path::new("/run/systemd/system").exists() {
            eprintln!(
                "Debian starts {service} once it is installed; the lab needs its program only: \
                 `systemctl disable --now {service}`."
            );
        }
    }
    if packages.contains(&"docker.io") && Path::new("/run/systemd/system").exists() {
        eprintln!(
            "Debian starts Docker once it is installed, and Docker adds firewall rules; the lab needs its program only: \
             `systemctl disable --now docker.socket docker`."
        );
    }
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend_from_slice(packages);
    // LLVM and Rust are nearly all of what there can be to fetch.
    let time = if packages.contains(&"llvm-22-dev") || packages.contains(&"rustc-web") {
        "2 min"
    } else {
        "20 s"
    };
    apt(repo, &format!("{}, about {time}", packages.join(" ")), &install)
}

fn apt(repo: &Repo, what: &str, args: &[&str]) -> Result<()> {
    eprintln!("--- apt-get {}: {what}", args[0]);
    let words = [
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "--quiet",
        "-o",
        "DPkg::Lock::Timeout=300",
    ];
    let command = if root::is_root()? {
        Invocation::new(words[0], &repo.root).args(&words[1..])
    } else {
        eprintln!("apt-get needs root: this one command is run with sudo.");
        Invocation::new("sudo", &repo.root).args(words)
    };
    command.args(args).output_to_errors().run(APT_LIMIT)
}

fn install_linker(repo: &Repo) -> Result<()> {
    eprintln!("--- cargo install bpf-linker: about 1 min on two cores");
    let args = [
        "install",
        "bpf-linker",
        "--version",
        LINKER_VERSION,
        "--locked",
        "--force",
        "--no-default-features",
    ];
    let install = Invocation::cargo(&repo.root)
        .args(args)
        .args(["--features", LINKER_FEATURE]);
    let install = if Path::new(LLVM_PREFIX).exists() {
        install.env("LLVM_PREFIX", LLVM_PREFIX)
    } else {
        install
    };
    install.run(LINKER_LIMIT)
}

/// For a machine that is not Debian 12.
fn print_commands(missing: &[&Need]) {
    eprintln!("This is not Debian 12, so install it yourself:");
    for need in missing.iter().filter(|need| need.scope == Scope::Build) {
        if need.what == LINKER_NEED {
            eprintln!(
                "  LLVM_PREFIX=/where/llvm-22/is cargo install bpf-linker --version {LINKER_VERSION} --locked \
                 --no-default-features --features {LINKER_FEATURE}   # needs LLVM 22's development files, or as new as \
                 `rustc +nightly -vV` says, with the feature of that number"
            );
        } else {
            eprintln!("  rustup toolchain install nightly --profile minimal --component rust-src");
        }
    }
    let programs: Vec<&str> = missing
        .iter()
        .filter(|need| need.scope == Scope::All)
        .map(|need| need.what)
        .collect();
    if !programs.is_empty() {
        eprintln!("  by your package manager, the programs: {}", programs.join(" "));
    }
}

fn is_debian_12(os_release: &str) -> bool {
    let value = |key: &str| {
        let line = os_release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    value("ID").as_deref() == Some("debian") && value("VERSION_ID").as_deref() == Some("12")
}

/// Those of the packages that dpkg does not have.
fn not_installed<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let query = ["-W", "-f", "${Package} ${db:Status-Status}\n"];
    // Its exit code is not success when a package is unknown: only what it prints counts.
    let known = Command::new("dpkg-query").args(query).args(packages).output();
    let known = known
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    let installed = |package: &str| known.lines().any(|line| line == format!("{package} installed"));
    packages.iter().copied().filter(|package| !installed(package)).collect()
}

/// Whether bpf-linker is there and finds its LLVM.
fn linker_runs() -> bool {
    let ran = bpf_toolchain::find_linker().map(|linker| Command::new(linker).arg("--version").output());
    ran.is_some_and(|ran| ran.is_ok_and(|output| output.status.success()))
}

/// Whether a program is installed; a user's search path may lack the folders of root's.
fn on_path(program: &str) -> bool {
    let searched = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&searched).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders
        .map(|folder| folder.join(program))
        .any(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_debian_12() {
        assert!(is_debian_12(
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n"
        ));
        assert!(!is_debian_12("ID=debian\nVERSION_ID=\"13\"\n"));
        assert!(!is_debian_12("ID=ubuntu\nVERSION_ID=\"12\"\nID_LIKE=debian\n"));
        assert!(!is_debian_12(""));
    }

    #[test]
    fn finds_programs() {
        assert!(on_path("sh"));
        assert!(!on_path("no-such-program"));
    }
}
