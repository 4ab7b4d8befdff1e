//! The images that the rows run on.

use switcher_user::image::{AliasPlan, BackendPlan, ImagePlan, Path, Segment, SetPlan};

use crate::pair::LOOPBACK;

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
