//! The kernel takes the programs. Needs root; fails without it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod place;

use std::time::Duration;

use switcher_user::image::{AliasPlan, BackendPlan, ImagePlan, Path, Segment, SetPlan};
use switcher_user::kernel::{Datapath, DatapathConfig, HookMode};

fn plan(epoch: u64) -> ImagePlan {
    let backend = BackendPlan {
        id: 1,
        address: "10.1.0.2".parse().unwrap(),
        port: 8080,
        path: Path::Stack,
    };
    let alias = AliasPlan {
        id: 1,
        listeners: vec!["198.51.100.10:80/tcp".parse().unwrap()],
        udp_moves: false,
        by_flow: false,
        hold_until_ns: 0,
        shield: false,
        segments: vec![Segment { end: 1 << 32, set: 0 }],
        sets: vec![SetPlan {
            id: 3,
            backends: vec![backend],
        }],
    };
    ImagePlan {
        epoch,
        aliases: vec![alias],
    }
}

#[test]
fn the_kernel_takes_the_programs_and_an_image_and_a_second_agent_finds_it() {
    place::mounts_of_our_own();
    let config = DatapathConfig {
        bpffs: std::env::temp_dir().join("bpf"),
        hooks: HookMode::Auto,
    };
    let mut first = Datapath::open(&config).unwrap();
    assert_eq!(first.epoch().unwrap(), 0);
    first.refresh(Duration::from_secs(5)).unwrap();
    let flip = first.flip(&plan(7)).unwrap();
    assert!(flip.after_ns > flip.before_ns);
    assert_eq!(first.epoch().unwrap(), 7);
    drop(first);
    let second = Datapath::open(&config).unwrap();
    assert_eq!(second.epoch().unwrap(), 7);
    assert_eq!(second.set_counters(&[3]).unwrap(), [Default::default()]);
    second.clear_set_counters(3).unwrap();
    assert!(second.reasons().unwrap().iter().all(|row| row.packets == 0));
    drop(second);
    assert!(!Datapath::detach(&config.bpffs).unwrap().is_empty());
}
