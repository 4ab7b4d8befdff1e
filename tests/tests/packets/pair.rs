//! One skin of the core, twice: the kernel's programs and the same lines natively, with the same image. They must agree.

use std::path::Path;
use std::time::Duration;

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions, TestRunResult, Xdp};
use switcher_ebpf::abi::XdpDevice;
use switcher_ebpf::decide::{self, Action, Verdict};
use switcher_ebpf::deferred::Deferred;
use switcher_ebpf::native::{HOST_ADDRESS, MemoryPacket, MemoryPlace, MemoryTables};
use switcher_ebpf::reason::Reason;
use switcher_ebpf::socket;
use switcher_user::image::{self, ImagePlan};
use switcher_user::kernel::{Datapath, DatapathConfig, HookMode};

/// The loopback of this namespace: test runs come in by it.
pub const LOOPBACK: u32 = 1;

const TC_ACT_UNSPEC: u32 = u32::MAX;
const TC_ACT_SHOT: u32 = 2;
const TC_ACT_REDIRECT: u32 = 7;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Ingress,
    Egress,
}

/// Which program stands at the ingress. What leaves is TC's with both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skin {
    Tc,
    Xdp,
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

/// Kernel and native tables, side by side.
pub struct Pair {
    skin: Skin,
    pub kernel: Datapath,
    native: MemoryTables,
    place: MemoryPlace,
}

impl Pair {
    /// With everything pinned below `bpffs`.
    pub fn open(skin: Skin, bpffs: &Path) -> Self {
        let config = DatapathConfig {
            bpffs: bpffs.to_owned(),
            hooks: HookMode::Auto,
        };
        Self {
            skin,
            kernel: Datapath::open(&config).expect("the kernel takes the programs (root is needed)"),
            native: MemoryTables::default(),
            place: MemoryPlace::default(),
        }
        .anew()
    }

    /// With nothing remembered natively.
    pub fn anew(self) -> Self {
        Self {
            native: MemoryTables::default(),
            place: MemoryPlace::new(HOST_ADDRESS, XdpDevice::PARTIAL_SUMS),
            ..self
        }
    }

    pub fn install(&mut self, plan: &ImagePlan) {
        self.kernel.refresh(Duration::from_secs(600)).unwrap();
        self.kernel.flip(plan).unwrap();
        self.native.install(image::compile(plan).unwrap());
        self.native.set_now_ns(Datapath::now_ns());
    }

    /// Runs a packet on both sides and returns what both made of it.
    pub fn run(&mut self, hook: Hook, frame: &[u8]) -> Outcome {
        let native = self.run_native_at(Datapath::now_ns(), hook, frame);
        let (code, out, counted) = self.run_kernel(hook, frame);
        let skin = self.skin;
        assert_eq!(
            native.code, code,
            "native and kernel act differently on {skin:?}; native says {:?}",
            native.reason
        );
        if native.code != "drop" {
            assert_eq!(
                native.frame, out,
                "native (left) and kernel make different packets on {skin:?}"
            );
        }
        // The egress hook counts only what it rewrites.
        let counts =
            hook == Hook::Ingress || matches!(native.reason, Reason::ReplyStack | Reason::IcmpError | Reason::Shielded);
        let expected = if counts { vec![native.reason.name()] } else { vec![] };
        assert_eq!(counted, expected, "{skin:?}");
        native
    }

    /// Runs a packet natively at a moment: the kernel's clock cannot be set.
    pub fn run_native_at(&self, now_ns: u64, hook: Hook, frame: &[u8]) -> Outcome {
        self.native.set_now_ns(now_ns);
        let packet = MemoryPacket::new(frame.to_vec(), LOOPBACK);
        let (verdict, packet) = match (hook, self.skin) {
            (Hook::Ingress, Skin::Tc) => self.by_tc(packet),
            (Hook::Ingress, Skin::Xdp) => self.by_xdp(packet),
            (Hook::Egress, _) => {
                let mut packet = packet;
                (decide::egress(&mut packet, &self.native), packet)
            }
        };
        let code = match verdict.action {
            Action::Pass | Action::ToReplyProgram => "pass",
            Action::Drop | Action::ToSocketProgram => "drop",
            Action::ToPeer { .. } | Action::ToRoute { .. } => "redirect",
        };
        Outcome {
            reason: verdict.reason,
            code,
            frame: packet.bytes,
        }
    }

    fn by_tc(&self, mut packet: MemoryPacket) -> (Verdict, MemoryPacket) {
        let mut verdict = decide::ingress(&mut packet, &self.native);
        if verdict.action == Action::ToSocketProgram {
            verdict = socket::ingress(&mut packet, &self.native);
        }
        (verdict, packet)
    }

    fn by_xdp(&self, packet: MemoryPacket) -> (Verdict, MemoryPacket) {
        let mut packet = Deferred::new(packet, &self.place);
        let verdict = decide::ingress(&mut packet, &self.native);
        (verdict, packet.finish().unwrap())
    }

    fn run_kernel(&mut self, hook: Hook, frame: &[u8]) -> (&'static str, Vec<u8>, Vec<&'static str>) {
        let before = self.kernel.reasons().unwrap();
        let mut out = vec![0; frame.len() + 64];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let (result, code) = match (hook, self.skin) {
            (Hook::Ingress, Skin::Tc) => self.test_tc("switcher_ingress", options),
            (Hook::Ingress, Skin::Xdp) => self.test_xdp(options),
            (Hook::Egress, _) => self.test_tc("switcher_egress", options),
        };
        out.truncate(result.data_size_out as usize);
        let after = self.kernel.reasons().unwrap();
        let counted = before
            .iter()
            .zip(&after)
            .filter(|(b, a)| a.packets > b.packets)
            .map(|(b, _)| b.reason)
            .collect();
        (code, out, counted)
    }

    fn test_tc(&mut self, name: &str, options: TestRunOptions<'_>) -> (TestRunResult, &'static str) {
        let program: &mut SchedClassifier = self.kernel.ebpf_mut().program_mut(name).unwrap().try_into().unwrap();
        let result = program.test_run(options).unwrap();
        let code = match result.return_value {
            TC_ACT_UNSPEC => "pass",
            TC_ACT_SHOT => "drop",
            TC_ACT_REDIRECT => "redirect",
            other => panic!("{name} returned {other}"),
        };
        (result, code)
    }

    fn test_xdp(&mut self, options: TestRunOptions<'_>) -> (TestRunResult, &'static str) {
        let program = self.kernel.ebpf_mut().program_mut("switcher_xdp").unwrap();
        let program: &mut Xdp = program.try_into().unwrap();
        let result = program.test_run(options).unwrap();
        let code = match result.return_value {
            XDP_PASS => "pass",
            XDP_DROP => "drop",
            other => panic!("the XDP program returned {other}"),
        };
        (result, code)
    }
}
