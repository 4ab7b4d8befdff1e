//! Issue 3, item 5: the next agent takes over what the last one pinned, and tells the same story.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aya::maps::MapInfo;
use aya::programs::ProgramInfo;
use aya::programs::links::{FdLink, PinnedLink};
use switcher_tests::binaries;
use switcher_tests::lab::{LISTENER_V4, LISTENER_V6};
use switcher_user::kernel::{Datapath, DatapathConfig, FlowState, FlowView, HookMode};

use crate::crash::load;
use crate::ground::{Ground, Kept};

/// Ids of what is pinned, by path; of links, the program that they run.
type Pinned = BTreeMap<PathBuf, u32>;

fn pinned(ground: &Ground) -> Pinned {
    let versions = ground.lab.dir().join("bpffs/switcher");
    let list = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let root = list(&versions).pop().unwrap();
    let mut ids = Pinned::new();
    for pin in list(&root.join("maps")) {
        ids.insert(pin.clone(), MapInfo::from_pin(pin).unwrap().id());
    }
    for pin in list(&root.join("programs")) {
        ids.insert(pin.clone(), ProgramInfo::from_pin(pin).unwrap().id());
    }
    for pin in list(&root.join("links")) {
        let link = FdLink::from(PinnedLink::from_pin(&pin).unwrap());
        ids.insert(pin, link.info().unwrap().program_id());
    }
    ids
}

/// One flow as the kernel has it; what may change in a flow is left out.
type Flow = (SocketAddr, SocketAddr, SocketAddr, u32, u32, u64, String);

/// What makes a flow the same one.
fn identity(flow: &FlowView) -> Flow {
    let path = format!("{:?}", flow.path);
    let (client, listener, backend) = (flow.client, flow.listener, flow.backend);
    (
        client,
        listener,
        backend,
        flow.set_id,
        flow.backend_id,
        flow.epoch,
        path,
    )
}

/// All that the table has, handshakes and what has ended too.
fn table(ground: &Ground) -> Vec<FlowView> {
    let config = DatapathConfig {
        bpffs: ground.lab.dir().join("bpffs"),
        hooks: HookMode::Auto,
    };
    let mut table = Vec::new();
    let datapath = Datapath::open(&config).unwrap();
    datapath.for_each_flow(&mut |flow| table.push(flow)).unwrap();
    table
}

/// The flows whose handshake is complete, of all states since.
fn complete(table: &[FlowView]) -> BTreeSet<Flow> {
    let complete = table.iter().filter(|flow| flow.state != FlowState::Pending);
    complete.map(identity).collect()
}

/// What stands now where each of these flows stood: the same two ends with another flow say that it was decided again, no
/// entry that its slot was given away.
fn in_their_places(gone: &[&Flow], table: &[FlowView]) -> String {
    let mut text = format!("{} flow(s) that were listed before are gone:", gone.len());
    for flow in gone {
        text += &format!("\n  was {flow:?}; now");
        let here = table.iter().filter(|now| now.client == flow.0);
        let here: Vec<String> = here.map(|now| format!(" {}", told(now))).collect();
        text += if here.is_empty() {
            " nothing of this client's end"
        } else {
            ""
        };
        text += &here.join(",");
    }
    text
}

fn told(flow: &FlowView) -> String {
    format!(
        "{:?} {:?} (expired: {}), age {:?}, idle {:?}, slot {:?}, {} packets in and {} out",
        flow.state,
        identity(flow),
        flow.expired,
        flow.age,
        flow.idle,
        flow.place,
        flow.traffic.packets_in,
        flow.traffic.packets_out
    )
}

/// Every number that only rises: figures of the sets, verdicts.
fn counters(ground: &Ground) -> BTreeMap<String, u64> {
    let status = ground.json("status --json");
    let mut all = BTreeMap::new();
    for set in status["aliases"][0]["sets"].as_array().unwrap() {
        for (name, value) in set["counters"].as_object().unwrap() {
            // How many are pending now is told beside what only rises.
            if let Some(value) = value.as_u64().filter(|_| name != "flows_pending") {
                all.insert(format!("{} {name}", set["name"]), value);
            }
        }
    }
    for row in status["reasons"].as_array().unwrap() {
        all.insert(row["reason"].to_string(), row["packets"].as_u64().unwrap());
    }
    assert!(all.len() > 20, "{all:?}");
    all
}

/// Flows that had ended when they were listed, and whose client began anew from the same port meanwhile: nginx closes first, so
/// the client's port is free at once, and such a SYN is decided again as it is to be (I3).
fn begun_anew(before: &[FlowView], now: &[FlowView], since: Duration) -> BTreeSet<Flow> {
    let ended = before.iter().filter(|flow| flow.state == FlowState::Closing);
    let anew = |old: &&FlowView| {
        let mut younger = now.iter().filter(|flow| flow.age < since);
        younger.any(|flow| (flow.client, flow.listener) == (old.client, old.listener))
    };
    ended.filter(anew).map(identity).collect()
}

fn assert_never_backwards(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) {
    for (name, value) in before {
        assert!(after[name] >= *value, "{name} went from {value} to {}", after[name]);
    }
}

/// Flows that the kernel counted as opened for `web`.
fn opened(counters: &BTreeMap<String, u64>) -> u64 {
    let opened = counters.iter().filter(|(name, _)| name.ends_with(" flows_opened"));
    opened.map(|(_, count)| count).sum()
}

fn adopted_under_load(mut ground: Ground) {
    let mut load = load(&ground, "adopt", 300);
    let mut kept = [LISTENER_V4, LISTENER_V6].map(|listener| Kept::open(ground.lab.client(), listener));
    let mut ask = || kept.iter_mut().map(Kept::ask).collect::<Vec<_>>();
    assert_eq!(ask(), ["v1", "v1"]);
    std::thread::sleep(Duration::from_secs(1));
    let (ids, mut before) = (pinned(&ground), table(&ground));
    // After it: what began since is younger than this, and none that was listed is.
    let (mut looked, mut counted) = (Instant::now(), counters(&ground));
    for _agent in 0..3 {
        ground.agent.kill().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        ground.agent.launch().unwrap();
        assert_eq!(
            pinned(&ground),
            ids,
            "the same maps, programs, and programs in the links"
        );
        // Before the look, which takes a while: ages count from its beginning.
        let since = looked.elapsed();
        let now = table(&ground);
        looked = Instant::now();
        let (anew, now_counted) = (begun_anew(&before, &now, since), counters(&ground));
        let (listed, now_listed) = (complete(&before), complete(&now));
        assert!(
            listed.len() > 100 && anew.len() * 10 < listed.len(),
            "{} and {}",
            listed.len(),
            anew.len()
        );
        let lost = listed.difference(&now_listed).filter(|flow| !anew.contains(*flow));
        let gone: Vec<&Flow> = lost.collect();
        assert!(gone.is_empty(), "{}", in_their_places(&gone, &now));
        assert!(now_listed.len() > listed.len(), "it went on");
        assert_never_backwards(&counted, &now_counted);
        (before, counted) = (now, now_counted);
        assert_eq!(ask(), ["v1", "v1"]);
    }
    let report = load.stop().unwrap();
    report.assert_nothing_lost();
    let log = fs::read_to_string(ground.agent.log()).unwrap();
    assert_eq!(log.matches("adopted as they run").count(), 3, "{log}");
    // Nothing went uncounted, with an agent or without one.
    let begun = report.fresh_began_us.values().map(Vec::len).sum::<usize>() + report.kept_alive.len() + 2;
    assert_eq!(opened(&counters(&ground)), begun as u64);
}

#[test]
fn an_agent_killed_under_load_is_adopted_with_all_it_had_on_bypass() {
    adopted_under_load(Ground::new("bypass"));
}

#[test]
fn an_agent_killed_under_load_is_adopted_with_all_it_had_on_stack() {
    adopted_under_load(Ground::new("stack"));
}

#[test]
fn an_agent_killed_under_load_is_adopted_with_all_it_had_on_xdp() {
    adopted_under_load(Ground::with_hook("xdp"));
}

#[test]
fn an_agent_killed_under_load_is_adopted_with_all_it_had_from_driver_to_driver() {
    adopted_under_load(Ground::by_driver("bypass"));
}

#[test]
fn a_second_agent_on_the_same_pins_is_refused_with_the_firsts_pid() {
    let ground = Ground::new("auto");
    let ids = pinned(&ground);
    let (binary, dir) = (binaries::switcher().unwrap(), ground.lab.dir().display().to_string());
    let line = format!(
        "{} agent --bpffs {dir}/bpffs --state-dir {dir}/other --socket {dir}/other.sock --interface client",
        binary.display()
    );
    let second = ground.lab.host().run(&line.split(' ').collect::<Vec<_>>()).unwrap();
    assert_ne!(second.code, 0);
    let pid = ground.agent.pid().unwrap();
    assert!(second.stderr.contains(&format!("pid {pid}")), "{}", second.stderr);
    assert_eq!(pinned(&ground), ids);
    assert_eq!(ground.answers(), ["v1", "v1"]);
}

/// Other pins, and so a data path of its own: the first would rewrite what the second then does not know.
#[test]
fn a_second_agent_on_the_same_interface_is_refused_with_the_firsts_pid() {
    let mut ground = Ground::new("auto");
    let (binary, dir) = (binaries::switcher().unwrap(), ground.lab.dir().display().to_string());
    fs::create_dir(format!("{dir}/bpffs2")).unwrap();
    let second = |ground: &Ground, hook: &str| {
        let line = format!(
            "{} agent --bpffs {dir}/bpffs2 --state-dir {dir}/second --socket {dir}/second.sock --interface client --hook {hook} --cgroup none",
            binary.display()
        );
        let refused = ground.lab.host().run(&line.split(' ').collect::<Vec<_>>()).unwrap();
        assert_ne!(refused.code, 0);
        assert_eq!(ground.answers(), ["v1", "v1"]);
        refused.stderr
    };
    let pid = ground.agent.pid().unwrap();
    for hook in ["tc", "xdp"] {
        let said = second(&ground, hook);
        assert!(
            said.contains(&format!("pid {pid}")) && said.contains("--interface"),
            "{said}"
        );
    }
    ground.agent.kill().unwrap();
    let said = second(&ground, "tc");
    assert!(said.contains("does not run now"), "{said}");
}
