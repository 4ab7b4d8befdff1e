//! Keys of a service that are known and not done.

/// Keys that compose knows and that are not done here: what to do instead.
const UNSUPPORTED: &[(&str, &str)] = &[
    (
        "build",
        "build the image first (docker build -t NAME .), and name it with 'image'",
    ),
    (
        "container_name",
        "containers are called PROJECT-SERVICE-NUMBER; remove it",
    ),
    ("extends", "write the service out"),
    ("external_links", "name services of these files in 'links'"),
    ("log_driver", "write logging: {driver: ..., options: {...}}"),
    ("log_opt", "write logging: {driver: ..., options: {...}}"),
    ("secrets", "mount a folder with 'volumes'"),
    ("configs", "mount a folder with 'volumes'"),
    ("volumes_from", "name the volumes with 'volumes'"),
    (
        "volume_driver",
        "make the volume with docker first, and declare it external: true",
    ),
];
/// Those of them that only Docker itself does.
const DOCKERS_OWN: &[&str] = &[
    "blkio_config",
    "cgroup",
    "cgroup_parent",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_shares",
    "cpus",
    "cpuset",
    "device_cgroup_rules",
    "devices",
    "dns_opt",
    "dns_search",
    "domainname",
    "gpus",
    "group_add",
    "ipc",
    "isolation",
    "mac_address",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "oom_kill_disable",
    "oom_score_adj",
    "pid",
    "pids_limit",
    "platform",
    "pull_policy",
    "runtime",
    "security_opt",
    "storage_opt",
    "sysctls",
    "ulimits",
    "userns_mode",
    "uts",
];
const DOCKERS_REMEDY: &str = "run such a container with docker itself, labelled switcher.alias and switcher.set";

/// What to do instead of a key.
pub(super) fn remedy_of(key: &str) -> Option<&'static str> {
    let named = UNSUPPORTED.iter().find(|(name, _)| *name == key);
    let own = DOCKERS_OWN.contains(&key).then_some(DOCKERS_REMEDY);
    named.map(|(_, remedy)| *remedy).or(own)
}
