//! Invariant I1: one packet, one image. The race that a program loses when it reads the outer slot twice.

use std::collections::HashSet;
use std::path::Path as FilePath;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use aya::maps::{ArrayOfMaps, Map, MapData};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use switcher_ebpf::abi::SEGMENTS_MAX;
use switcher_user::image::{ImagePlan, Path, Segment};
use switcher_user::kernel::Datapath;

use crate::bench::{Bench, alias, backend};
use crate::frames::tcp;

const LISTENER: &str = "198.51.100.10:80/tcp";
const LISTENER_SOCKET: &str = "198.51.100.10:80";
const NOBODYS: &str = "198.51.100.13:80/tcp";
const NOBODYS_SOCKET: &str = "198.51.100.13:80";
/// Runs in one call: short enough that flips do not wait for them.
const REPEAT: u32 = 500;
const RACE_FOR: Duration = Duration::from_secs(3);
/// Those who change images beside the agent's own call: each change waits for the kernel's grace period, so one thread
/// alone makes 20 a second, and only a change between two reads of one packet can show.
const SWAPPERS: u64 = 16;

/// Two aliases of the same shape, which change places from one image to the next: any row that is read from the other
/// image than the row before it leads to the other alias. A split of many pieces makes the way from row to row long.
fn image(epoch: u64) -> ImagePlan {
    let parity = (epoch % 2) as u8;
    let v4 = format!("10.9.{parity}.2");
    let backends = vec![backend(u32::from(parity), &v4, 8_000 + u16::from(parity), Path::Stack)];
    let mut everybodys = alias(1, &[LISTENER], u32::from(parity), backends);
    // No backend of the listener's family.
    let mut nobodys = alias(2, &[NOBODYS], 40, vec![backend(40, "fd00::9", 9, Path::Stack)]);
    let ends = (1..SEGMENTS_MAX.into()).chain([1 << 32]);
    everybodys.segments = ends.map(|end| Segment { end, set: 0 }).collect();
    nobodys.segments.clone_from(&everybodys.segments);
    let aliases = if parity == 0 {
        vec![everybodys, nobodys]
    } else {
        vec![nobodys, everybodys]
    };
    ImagePlan { epoch, aliases }
}

#[test]
fn no_packet_is_decided_by_a_mixture_of_two_images() {
    let mut bench = Bench::new(&image(1));
    let pin = bench.program_pin("switcher_ingress");
    let outer = pin.parent().and_then(FilePath::parent).unwrap().join("maps/IMAGE");
    let odd = installed(&outer);
    bench.kernel().flip(&image(2)).unwrap();
    let even = installed(&outer);
    let stop = AtomicBool::new(false);
    let rounds = std::thread::scope(|scope| {
        let race = scope.spawn(|| run_until(&stop, &pin));
        for number in 0..SWAPPERS {
            let (stop, outer, images) = (&stop, &outer, [&odd, &even]);
            scope.spawn(move || swap_until(stop, outer, images, number));
        }
        flip_for(bench.kernel(), RACE_FOR);
        stop.store(true, Relaxed);
        race.join().unwrap()
    });
    assert!(rounds > 1_000, "only {rounds} rounds in the race");
    let reasons = bench.kernel().reasons().unwrap().into_iter();
    let counted: Vec<_> = reasons
        .filter(|row| row.packets > 0)
        .map(|row| (row.reason, row.packets))
        .collect();
    assert_eq!(
        counted,
        [("no_share", rounds * u64::from(REPEAT)), ("opened_stack", rounds)]
    );
    assert_whole(bench.kernel());
}

fn assert_whole(kernel: &Datapath) {
    let mut parities = HashSet::new();
    kernel
        .for_each_flow(&mut |flow| {
            let parity = (flow.epoch % 2) as u8;
            parities.insert(parity);
            let whole = format!("10.9.{parity}.2:{}", 8_000 + u16::from(parity));
            assert_eq!(
                (flow.set_id, flow.backend.to_string()),
                (u32::from(parity), whole),
                "epoch {}",
                flow.epoch
            );
        })
        .unwrap();
    assert_eq!(parities.len(), 2, "both images were in use");
}

fn outer_map(pin: &FilePath) -> ArrayOfMaps<MapData> {
    let map = Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap();
    map.try_into().unwrap()
}

/// The image that is installed now.
fn installed(outer: &FilePath) -> MapData {
    outer_map(outer).get(&0, 0).unwrap()
}

/// Installs the two images in turn, as they are, after pauses that differ: what waits for one grace period wakes at once.
fn swap_until(stop: &AtomicBool, outer: &FilePath, images: [&MapData; 2], number: u64) {
    let mut outer = outer_map(outer);
    for turn in number.. {
        if stop.load(Relaxed) {
            return;
        }
        std::thread::sleep(Duration::from_micros((turn * 7_919 + number * 1_237) % 20_000));
        outer.set(0, images[(turn % 2) as usize], 0).unwrap();
    }
}

fn flip_for(kernel: &mut Datapath, time: Duration) {
    let start = Instant::now();
    let mut epoch = 3;
    while start.elapsed() < time {
        kernel.flip(&image(epoch)).unwrap();
        epoch += 1;
    }
}

/// Two kinds of SYN: many to the alias that serves nobody, which cost nothing but the reading of the image, and now and
/// then one of a new client to the other, whose flow keeps what was read.
fn run_until(stop: &AtomicBool, pin: &FilePath) -> u64 {
    let program = SchedClassifier::from_pin(pin).unwrap();
    let run = |frame: &[u8], repeat| {
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat,
            ..TestRunOptions::default()
        };
        program.test_run(options).unwrap();
    };
    let nobodys = tcp("203.0.113.7:40000", NOBODYS_SOCKET, "S").frame();
    let mut rounds = 0_u64;
    while !stop.load(Relaxed) {
        run(&nobodys, REPEAT);
        let client = format!(
            "203.0.{}.{}:{}",
            rounds >> 8 & 0xff,
            rounds & 0xff,
            1_024 + (rounds >> 16)
        );
        run(&tcp(&client, LISTENER_SOCKET, "S").frame(), 1);
        rounds += 1;
    }
    rounds
}
