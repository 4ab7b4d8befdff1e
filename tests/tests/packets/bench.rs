//! The two that must agree: the kernel's program and the native core, with the same image.

use std::path::PathBuf;
use std::time::Duration;

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use switcher_ebpf::abi::ABI_VERSION;
use switcher_ebpf::decide::{self, Action};
use switcher_ebpf::native::{MemoryPacket, MemoryTables};
use switcher_ebpf::reason::Reason;
use switcher_ebpf::socket;
use switcher_user::image::{self, AliasPlan, BackendPlan, ImagePlan, Path, Segment, SetPlan};
use switcher_user::kernel::{Datapath, DatapathConfig, HookMode, SetCounters};

/// The loopback of this namespace: test runs come in by it.
const LOOPBACK: u32 = 1;

const TC_ACT_UNSPEC: u32 = u32::MAX;
const TC_ACT_SHOT: u32 = 2;
const TC_ACT_REDIRECT: u32 = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Ingress,
    Egress,
}

/// What comes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub reason: Reason,
    pub code: &'static str,
    pub frame: Vec<u8>,
}

pub fn passed(reason: Reason, frame: Vec<u8>) -> Outcome {
    Outcome {
        reason,
        code: "pass",
        frame,
    }
}

pub fn redirected(reason: Reason, frame: Vec<u8>) -> Outcome {
    Outcome {
        reason,
        code: "redirect",
        frame,
    }
}

pub fn backend(id: u32, address: &str, port: u16, path: Path) -> BackendPlan {
    BackendPlan {
        id,
        address: address.parse().unwrap(),
        port,
        path,
    }
}

pub fn alias(id: u32, listeners: &[&str], set: u32, backends: Vec<BackendPlan>) -> AliasPlan {
    AliasPlan {
        id,
        listeners: listeners.iter().map(|text| text.parse().unwrap()).collect(),
        udp_moves: false,
        by_flow: false,
        hold_until_ns: 0,
        shield: false,
        segments: vec![Segment { end: 1 << 32, set: 0 }],
        sets: vec![SetPlan { id: set, backends }],
    }
}

pub const BYPASS: Path = Path::Bypass { ifindex: LOOPBACK };

/// `web` (stack), `fast` (bypass), `other` (a second alias on the backend of `web`), `empty` (nobody has a share).
pub fn shop(epoch: u64) -> ImagePlan {
    let web = |path| vec![backend(1, "10.1.0.2", 8080, path), backend(2, "fd00::2", 8080, path)];
    let udp = |path| vec![backend(5, "10.1.0.4", 5353, path), backend(6, "fd00::4", 5353, path)];
    let mut moving = alias(6, &["198.51.100.15:53/udp", "[2001:db8::15]:53/udp"], 60, udp(BYPASS));
    moving.udp_moves = true;
    let mut empty = alias(4, &["198.51.100.13:80/tcp"], 40, web(Path::Stack));
    empty.segments.clear();
    ImagePlan {
        epoch,
        aliases: vec![
            alias(
                1,
                &["198.51.100.10:80/tcp", "[2001:db8::10]:80/tcp"],
                10,
                web(Path::Stack),
            ),
            alias(
                2,
                &["198.51.100.11:80/tcp", "[2001:db8::11]:80/tcp"],
                20,
                vec![backend(3, "10.1.0.3", 0, BYPASS), backend(4, "fd00::3", 0, BYPASS)],
            ),
            alias(
                3,
                &["198.51.100.12:80/tcp", "[2001:db8::12]:80/tcp"],
                30,
                web(Path::Stack),
            ),
            empty,
            alias(
                5,
                &["198.51.100.14:53/udp", "[2001:db8::14]:53/udp"],
                50,
                udp(Path::Stack),
            ),
            moving,
        ],
    }
}

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

/// Kernel and native tables, side by side.
pub struct Bench {
    kernel: Datapath,
    native: MemoryTables,
    bpffs: PathBuf,
}

impl Bench {
    pub fn new(plan: &ImagePlan) -> Self {
        mounts_of_our_own();
        let bpffs = std::env::temp_dir().join("bpf");
        let config = DatapathConfig {
            bpffs: bpffs.clone(),
            hooks: HookMode::Auto,
        };
        let kernel = Datapath::open(&config).expect("the kernel takes the programs (root is needed)");
        let mut bench = Self {
            kernel,
            native: MemoryTables::default(),
            bpffs,
        };
        bench.install(plan);
        bench
    }

    pub fn install(&mut self, plan: &ImagePlan) {
        self.kernel.refresh(Duration::from_secs(600)).unwrap();
        self.kernel.flip(plan).unwrap();
        self.native.install(image::compile(plan).unwrap());
        self.native.set_now_ns(Datapath::now_ns());
    }

    /// Runs a packet on both sides and returns what both made of it.
    pub fn run(&mut self, hook: Hook, frame: &[u8]) -> Outcome {
        self.native.set_now_ns(Datapath::now_ns());
        let native = self.run_native(hook, frame);
        let (code, out, counted) = self.run_kernel(hook, frame);
        assert_eq!(
            native.code, code,
            "native and kernel act differently; native says {:?}",
            native.reason
        );
        if native.code != "drop" {
            assert_eq!(native.frame, out, "native (left) and kernel make different packets");
        }
        // The egress hook counts only what it rewrites.
        let counts =
            hook == Hook::Ingress || matches!(native.reason, Reason::ReplyStack | Reason::IcmpError | Reason::Shielded);
        assert_eq!(counted, if counts { vec![native.reason.name()] } else { vec![] });
        native
    }

    /// The reason of the last of two packets that come in, natively: for what a test run of the kernel cannot show.
    pub fn run_native_only(&self, first: &[u8], then: &[u8]) -> Reason {
        self.run_native(Hook::Ingress, first);
        self.run_native(Hook::Ingress, then).reason
    }

    /// Runs a packet natively at a moment: the kernel's clock cannot be set.
    pub fn run_native_at(&self, now_ns: u64, hook: Hook, frame: &[u8]) -> Reason {
        self.native.set_now_ns(now_ns);
        self.run_native(hook, frame).reason
    }

    fn run_native(&self, hook: Hook, frame: &[u8]) -> Outcome {
        let mut packet = MemoryPacket::new(frame.to_vec(), LOOPBACK);
        let mut verdict = match hook {
            Hook::Ingress => decide::ingress(&mut packet, &self.native),
            Hook::Egress => decide::egress(&mut packet, &self.native),
        };
        if verdict.action == Action::ToSocketProgram {
            verdict = socket::ingress(&mut packet, &self.native);
        }
        let code = match verdict.action {
            Action::Pass => "pass",
            Action::Drop | Action::ToSocketProgram => "drop",
            Action::ToPeer { .. } | Action::ToRoute { .. } => "redirect",
        };
        Outcome {
            reason: verdict.reason,
            code,
            frame: packet.bytes,
        }
    }

    fn run_kernel(&mut self, hook: Hook, frame: &[u8]) -> (&'static str, Vec<u8>, Vec<&'static str>) {
        let before = self.kernel.reasons().unwrap();
        let name = match hook {
            Hook::Ingress => "switcher_ingress",
            Hook::Egress => "switcher_egress",
        };
        let program: &mut SchedClassifier = self.kernel.ebpf_mut().program_mut(name).unwrap().try_into().unwrap();
        let mut out = vec![0; frame.len() + 64];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let result = program.test_run(options).unwrap();
        let size = result.data_size_out as usize;
        out.truncate(size);
        let after = self.kernel.reasons().unwrap();
        let counted = before
            .iter()
            .zip(&after)
            .filter(|(b, a)| a.packets > b.packets)
            .map(|(b, _)| b.reason)
            .collect();
        let code = match result.return_value {
            TC_ACT_UNSPEC => "pass",
            TC_ACT_SHOT => "drop",
            TC_ACT_REDIRECT => "redirect",
            other => panic!("the program returned {other}"),
        };
        (code, out, counted)
    }

    /// The kernel's counters of a set, without the moment of the last new flow.
    pub fn counters(&self, set: u32) -> SetCounters {
        SetCounters {
            last_new_flow_ns: 0,
            ..self.kernel.set_counters(&[set]).unwrap()[0]
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
        &mut self.kernel
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = Datapath::detach(&self.bpffs);
        let _ = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(&self.bpffs)
            .status();
    }
}
