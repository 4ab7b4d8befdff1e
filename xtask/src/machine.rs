//! Whether this machine can run the tests: a missing kernel feature is said before an hour of testing, not skipped.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::process::Invocation;
use crate::repo::Repo;
use crate::root;

/// The first kernel with `bpf_redirect_peer` and `bpf_redirect_neigh`.
const OLDEST_KERNEL: (u32, u32) = (5, 10);

/// What the lab does with the kernel, tried in a namespace that ends with the trial.
const TRIALS: &[(&str, &str)] = &[
    ("network namespaces", "true"),
    ("veth pairs", "ip link add name sw0 type veth peer name sw1"),
    ("mounting bpffs", "mount -t bpf bpf /mnt"),
    (
        "nftables with NAT and connection tracking",
        "nft add table ip t && nft add chain ip t n '{ type nat hook postrouting priority 100; }' \
         && nft add rule ip t n masquerade && nft add chain ip t f '{ type filter hook forward priority 0; }' \
         && nft add rule ip t f ct state invalid drop",
    ),
];

/// Fails with what is missing.
pub fn check(repo: &Repo) -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel's version cannot be read")?;
    let release = release.trim();
    if version(release).is_none_or(|version| version < OLDEST_KERNEL) {
        let (major, minor) = OLDEST_KERNEL;
        bail!("the kernel is {release}; the tests need {major}.{minor} or newer");
    }
    // As a user the trials would need sudo, which is for the built binaries only: the suites themselves then fail.
    if root::is_root()? {
        for (feature, script) in TRIALS {
            let trial = Invocation::new("unshare", &repo.root).args(["--net", "--mount", "sh", "-ec", script]);
            trial
                .output()
                .with_context(|| format!("this machine does not offer: {feature}"))?;
        }
    }
    println!("Linux {release}: the lab can run here.");
    Ok(())
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_kernel_versions() {
        assert_eq!(version("6.18.5-cloud-amd64"), Some((6, 18)));
        assert_eq!(version("5.4.0"), Some((5, 4)));
        assert_eq!(version("linux"), None);
        assert!(version("5.9.1") < Some(OLDEST_KERNEL));
    }
}
