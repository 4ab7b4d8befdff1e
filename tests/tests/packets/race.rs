//! Invariant I1: one packet, one image. The race that a program loses when it reads the outer slot twice.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use switcher_user::image::{ImagePlan, Path};
use switcher_user::kernel::Datapath;

use crate::bench::{Bench, alias, backend};
use crate::frames::tcp;

const LISTENER: &str = "198.51.100.10:80/tcp";
const LISTENER_SOCKET: &str = "198.51.100.10:80";
const NOBODYS: &str = "198.51.100.13:80/tcp";
const NOBODYS_SOCKET: &str = "198.51.100.13:80";
/// Runs in one call: short enough that flips do not wait for them.
const REPEAT: u32 = 500;
const RACE_FOR: Duration = Duration::from_secs(4);

/// Everything in the image says which parity its epoch has: set number, port, address, and where the rows lie.
fn image(epoch: u64) -> ImagePlan {
    let parity = (epoch % 2) as u8;
    let backends = vec![backend(
        u32::from(parity),
        &format!("10.9.{parity}.2"),
        8_000 + u16::from(parity),
        Path::Stack,
    )];
    let mut nobody = alias(2, &[NOBODYS], 40, vec![]);
    nobody.segments.clear();
    nobody.sets.clear();
    let mut aliases = vec![alias(1, &[LISTENER], u32::from(parity), backends), nobody];
    if parity == 1 {
        let filler = |i: u32| {
            alias(
                10 + i,
                &[format!("192.0.2.{i}:99/tcp").as_str()],
                77,
                vec![backend(99, "10.9.9.9", 9, Path::Stack)],
            )
        };
        aliases.splice(0..0, (0..50).map(filler));
    }
    ImagePlan { epoch, aliases }
}

#[test]
fn no_packet_is_decided_by_a_mixture_of_two_images() {
    let mut bench = Bench::new(&image(1));
    let pin = bench.program_pin("switcher_ingress");
    let stop = AtomicBool::new(false);
    let decided = std::thread::scope(|scope| {
        let race = scope.spawn(|| run_until(&stop, &pin));
        flip_for(bench.kernel(), RACE_FOR);
        stop.store(true, Relaxed);
        race.join().unwrap()
    });
    assert!(decided > 1_000_000, "only {decided} packets in the race");
    let reasons = bench.kernel().reasons().unwrap();
    let mixed = reasons
        .iter()
        .filter(|row| !["opened_stack", "no_share"].contains(&row.reason) && row.packets > 0);
    assert_eq!(mixed.collect::<Vec<_>>(), Vec::<&_>::new(), "of {decided} packets");
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

fn flip_for(kernel: &mut Datapath, time: Duration) {
    let start = Instant::now();
    let mut epoch = 2;
    while start.elapsed() < time {
        kernel.flip(&image(epoch)).unwrap();
        epoch += 1;
    }
}

/// Two kinds of SYN: many to an alias without a share, which cost nothing but the reading of the image, and now and
/// then one of a new client, whose flow keeps what was read.
fn run_until(stop: &AtomicBool, pin: &std::path::Path) -> u64 {
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
    rounds * u64::from(REPEAT + 1)
}
