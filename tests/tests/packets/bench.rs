//! What must agree: TC and XDP, each as the kernel runs it and natively.

use std::path::PathBuf;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use switcher_ebpf::abi::ABI_VERSION;
use switcher_ebpf::reason::Reason;
use switcher_user::image::ImagePlan;
use switcher_user::kernel::{Datapath, SetCounters};

use crate::agreement;
pub use crate::pair::{Hook, Outcome, passed, redirected};
use crate::pair::{Pair, Skin};
pub use crate::plans::{BYPASS, alias, backend, shop};
use crate::pool;

/// Mounts of this thread's own, with an empty temporary folder: nothing is left of them when the test ends, however it ends.
fn mounts_of_our_own() {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).expect("root is needed");
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(
        Some("tmpfs"),
        &std::env::temp_dir(),
        Some("tmpfs"),
        MsFlags::empty(),
        none,
    )
    .unwrap();
}

/// TC and XDP, side by side. What a test asks for besides packets is TC's.
pub struct Bench {
    tc: Pair,
    /// Taken back in `drop`.
    xdp: Option<Pair>,
    bpffs: PathBuf,
}

impl Bench {
    pub fn new(plan: &ImagePlan) -> Self {
        mounts_of_our_own();
        let bpffs = std::env::temp_dir().join("bpf");
        let mut bench = Self {
            tc: Pair::open(Skin::Tc, &bpffs),
            xdp: Some(pool::take()),
            bpffs,
        };
        bench.install(plan);
        bench
    }

    pub fn install(&mut self, plan: &ImagePlan) {
        self.tc.install(plan);
        self.xdp().install(plan);
    }

    /// Runs a packet everywhere and returns what TC made of it; XDP makes the same of it, but for what `agreement` says.
    pub fn run(&mut self, hook: Hook, frame: &[u8]) -> Outcome {
        let tc = self.tc.run(hook, frame);
        let xdp = self.xdp().run(hook, frame);
        let mut leave = |frame: &[u8]| self.xdp().run(Hook::Egress, frame);
        agreement::check(frame, &tc, &xdp, &mut leave);
        tc
    }

    fn xdp(&mut self) -> &mut Pair {
        self.xdp.as_mut().expect("it is here until the end")
    }

    /// The reason of the last of two packets that come in, natively: for what a test run of the kernel cannot show.
    pub fn run_native_only(&self, first: &[u8], then: &[u8]) -> Reason {
        self.run_native_at(Datapath::now_ns(), Hook::Ingress, first);
        self.run_native_at(Datapath::now_ns(), Hook::Ingress, then)
    }

    /// Runs a packet natively at a moment: the kernel's clock cannot be set.
    pub fn run_native_at(&self, now_ns: u64, hook: Hook, frame: &[u8]) -> Reason {
        self.tc.run_native_at(now_ns, hook, frame).reason
    }

    /// The kernel's counters of a set, without the moment of the last new flow.
    pub fn counters(&self, set: u32) -> SetCounters {
        SetCounters {
            last_new_flow_ns: 0,
            ..self.tc.kernel.set_counters(&[set]).unwrap()[0]
        }
    }

    /// Where the kernel's program is pinned.
    pub fn program_pin(&self, name: &str) -> PathBuf {
        let folder = self.bpffs.join(format!("switcher/v{ABI_VERSION}/programs"));
        let pins = std::fs::read_dir(folder).unwrap().flatten();
        let mut pins = pins.filter(|pin| pin.file_name().to_string_lossy().starts_with(&format!("{name}-")));
        pins.next().expect("the program is pinned").path()
    }

    pub fn kernel(&mut self) -> &mut Datapath {
        &mut self.tc.kernel
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(xdp) = self.xdp.take() {
            pool::give_back(xdp);
        }
        let _ = Datapath::detach(&self.bpffs);
        let _ = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(&self.bpffs)
            .status();
    }
}
