//! The data paths with the XDP program, for one test after another: verifying that program takes a second.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use aya::maps::{HashMap, MapData};
use aya::programs::Xdp;
use switcher_ebpf::abi::XdpDevice;
use switcher_ebpf::native::HOST_ADDRESS;

use crate::pair::{LOOPBACK, Pair, Skin};

static FREE: Mutex<Vec<Pair>> = Mutex::new(Vec::new());
static MADE: AtomicU32 = AtomicU32::new(0);

/// One that knows no flow. Which slots and counters earlier tests used is nothing to a packet.
pub fn take() -> Pair {
    let free = FREE.lock().unwrap().pop();
    let mut pair = free.unwrap_or_else(make).anew();
    let ebpf = pair.kernel.ebpf_mut();
    let index = ebpf.map_mut("FLOW_INDEX").unwrap();
    let mut index: HashMap<&mut MapData, [u8; 40], u64> = index.try_into().unwrap();
    let keys: Vec<_> = index.keys().filter_map(Result::ok).collect();
    keys.iter().for_each(|key| index.remove(key).unwrap());
    let devices = ebpf.map_mut("XDP_DEVICES").unwrap();
    let mut devices: HashMap<&mut MapData, u32, [u64; 2]> = devices.try_into().unwrap();
    devices
        .insert(LOOPBACK, XdpDevice::words(HOST_ADDRESS, XdpDevice::PARTIAL_SUMS), 0)
        .unwrap();
    pair
}

pub fn give_back(pair: Pair) {
    // A test that failed may have left anything behind.
    if !std::thread::panicking() {
        FREE.lock().unwrap().push(pair);
    }
}

fn make() -> Pair {
    let number = MADE.fetch_add(1, Relaxed);
    let mut pair = Pair::open(Skin::Xdp, &std::env::temp_dir().join(format!("bpf-xdp-{number}")));
    let program = pair.kernel.ebpf_mut().program_mut("switcher_xdp").unwrap();
    let program: &mut Xdp = program.try_into().unwrap();
    program.load().unwrap();
    pair
}
