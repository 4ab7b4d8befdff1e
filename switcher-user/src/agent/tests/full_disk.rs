//! Rollouts over a disk that does not write, and over a kernel that does not flip.

use super::rollouts::{handshakes, killed_and_started, observing, segments, stepped, weights};
use super::*;
use crate::kernel::FlowState;
use crate::model::Outcome;

const V1: u32 = 1;
const V2: u32 = 2;

fn break_disk(agent: &Agent) {
    let directory = agent.directory.path();
    std::fs::rename(directory.join("desired.json"), directory.join("kept")).unwrap();
    std::fs::create_dir(directory.join("desired.json")).unwrap();
}

fn mend_disk(agent: &Agent) {
    let directory = agent.directory.path();
    std::fs::remove_dir(directory.join("desired.json")).unwrap();
    std::fs::rename(directory.join("kept"), directory.join("desired.json")).unwrap();
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One whose upgrade drains, with its record on the disk.
async fn draining() -> (Agent, watch::Receiver<Progress>) {
    let agent = Agent::with_web().await;
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    let mut progress = agent.upgrade(&upgrade("v2", 60_000), LONG).await.unwrap();
    let counted = progress.wait_for(|at| matches!(at, Progress::Draining { established: 1, .. }));
    tokio::time::timeout(LONG, counted).await.unwrap().unwrap();
    until("it is on the disk", || {
        matches!(
            agent.on_disk().rollouts[0].state,
            crate::rollout::State::Draining { .. }
        )
    })
    .await;
    (agent, progress)
}

#[tokio::test]
async fn a_rollout_that_has_ended_never_runs_again() {
    let (agent, progress) = draining().await;
    break_disk(&agent);
    agent.kernel.state().flows.clear();
    assert_eq!(finished(progress).await.outcome, Outcome::Done);
    mend_disk(&agent);
    agent.split("web", &[("v1", 100)]).await.unwrap();
    assert!(agent.on_disk().rollouts.is_empty(), "a later save brought it back");
    let receipts = agent.newest_receipt().await;
    let next = killed_and_started(&agent).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(weights(&next), BTreeMap::from([(set("v1"), 100)]));
    assert_eq!(next.newest_receipt().await, receipts);
}

#[tokio::test]
async fn the_end_is_saved_when_there_is_room() {
    let (agent, progress) = draining().await;
    break_disk(&agent);
    agent.kernel.state().flows.clear();
    finished(progress).await;
    mend_disk(&agent);
    until("a tick saves it", || agent.on_disk().rollouts.is_empty()).await;
}

/// As an agent of before left it: the record of an upgrade that had ended, and other shares since.
#[tokio::test]
async fn a_stale_record_moves_nothing() {
    let (agent, _progress) = draining().await;
    let (kernel, host, directory) = agent.end().await;
    let mut desired = on_disk(&directory);
    let web = desired.aliases.get_mut(&alias("web")).unwrap();
    web.split = desired.rollouts[0].moves[0].before.clone();
    let before = web.split.clone();
    Store::open(directory.path()).unwrap().save(&desired).unwrap();
    let next = Agent::start_in(directory, kernel, host).await;
    assert!(next.on_disk().rollouts.is_empty(), "it is dropped");
    let receipt = next.newest_receipt().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(next.on_disk().aliases[&alias("web")].split, before);
    assert_eq!(next.newest_receipt().await, receipt, "a receipt was written over");
    next.split("web", &[("v2", 100)]).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_keeps_nobody_at_a_version_that_failed() {
    let agent = Agent::with_web().await;
    let before = agent.on_disk().aliases;
    let mut progress = agent.upgrade(&stepped("50,100", 60_000), LONG).await.unwrap();
    observing(&mut progress, 1).await;
    break_disk(&agent);
    agent.kernel.state().counters.insert(V1, handshakes(200, 0));
    agent.kernel.state().counters.insert(V2, handshakes(0, 30));
    until("the kernel is back", || segments(&agent).len() == 1).await;
    // Ticks come and go: neither do they bring it back, nor is it acknowledged.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(segments(&agent).len(), 1, "a tick has moved clients forward");
    assert!(
        !matches!(*progress.borrow(), Progress::Finished { .. }),
        "acknowledged, and not on the disk"
    );
    mend_disk(&agent);
    let receipt = finished(progress).await;
    assert_eq!((receipt.outcome, receipt.exit_code), (Outcome::RolledBack, 3));
    assert_eq!(agent.on_disk().aliases, before);
    assert!(agent.on_disk().rollouts.is_empty());
}

#[tokio::test]
async fn going_back_is_tried_past_the_commands_time() {
    let agent = Agent::with_web().await;
    let before = agent.on_disk().aliases;
    let time = Duration::from_millis(500);
    let mut progress = agent.upgrade(&stepped("50,100", 60_000), time).await.unwrap();
    observing(&mut progress, 1).await;
    agent.kernel.state().fail_flip = true;
    let told = progress.wait_for(|at| matches!(at, Progress::StillRunning { .. }));
    tokio::time::timeout(LONG, told).await.unwrap().unwrap();
    agent.kernel.state().fail_flip = false;
    until("it goes on trying", || agent.on_disk().rollouts.is_empty()).await;
    assert_eq!(agent.on_disk().aliases, before);
    assert_eq!(agent.newest_receipt().await.outcome, Outcome::RolledBack);
}
