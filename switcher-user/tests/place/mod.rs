//! A namespace with one veth pair, and a bpffs. All of it is seen by the test's own thread (and its children) only: mounts,
//! the namespace's name, files in the temporary folder. So nothing is left of it when the test ends, however it ends.
#![allow(dead_code, reason = "each suite uses a part of it")]

use std::path::PathBuf;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use switcher_user::kernel::{Datapath, DatapathConfig, HookMode, KernelError};

/// Mounts of this thread's own, with an empty temporary folder and an empty folder of named namespaces.
pub fn mounts_of_our_own() {
    unshare(CloneFlags::CLONE_NEWNS).expect("root is needed");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    std::fs::create_dir_all("/run/netns").unwrap();
    for folder in [std::env::temp_dir(), PathBuf::from("/run/netns")] {
        mount(Some("tmpfs"), &folder, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    }
}

pub struct Place {
    pub namespace: String,
    pub bpffs: PathBuf,
}

impl Place {
    pub fn new(name: &str) -> Self {
        mounts_of_our_own();
        let namespace = format!("swthook-{}-{name}", std::process::id());
        run("ip", &["netns", "add", &namespace]);
        let place = Self {
            namespace,
            bpffs: std::env::temp_dir().join("bpf"),
        };
        place.ip("link add sw0 type veth peer name sw1");
        place.ip("link set sw0 up");
        place
    }

    pub fn ip(&self, words: &str) -> String {
        let mut all = vec!["-n", &self.namespace];
        all.extend(words.split(' '));
        run("ip", &all)
    }

    pub fn filters(&self, hook: &str) -> String {
        run("tc", &["-n", &self.namespace, "filter", "show", "dev", "sw0", hook])
    }

    /// Runs in the namespace: attaching goes by interface name.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.namespace);
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let namespace = std::fs::File::open(path).unwrap();
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            inside.join().unwrap()
        })
    }

    pub fn open(&self, hooks: HookMode) -> Datapath {
        self.try_open(hooks).unwrap()
    }

    pub fn try_open(&self, hooks: HookMode) -> Result<Datapath, KernelError> {
        Datapath::open(&DatapathConfig {
            bpffs: self.bpffs.clone(),
            hooks,
        })
    }

    pub fn ifindex(&self) -> u32 {
        self.ip("-o link show sw0").split(':').next().unwrap().parse().unwrap()
    }
}

pub fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
