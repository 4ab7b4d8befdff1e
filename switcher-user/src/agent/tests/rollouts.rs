//! Rollouts in steps: flips, looks, and agents that die on the way.

use super::*;
use crate::image::Segment;
use crate::kernel::{FlowState, SetCounters};
use crate::model::{DrainAction, Outcome, RolloutOptions, StepBy};

const V1: u32 = 1;
const V2: u32 = 2;

pub(super) fn stepped(steps: &str, interval_ms: u64) -> UpgradeRequest {
    UpgradeRequest {
        rollout: RolloutOptions {
            steps: steps.parse().unwrap(),
            interval_ms,
            ..RolloutOptions::default()
        },
        ..upgrade("v2", 0)
    }
}

/// Waits until a step is observed.
pub(super) async fn observing(progress: &mut watch::Receiver<Progress>, wanted: usize) {
    let seen = progress.wait_for(|at| matches!(at, Progress::Observing { step, .. } if *step == wanted));
    tokio::time::timeout(LONG, seen).await.unwrap().unwrap();
}

pub(super) fn weights(agent: &Agent) -> BTreeMap<SetName, u32> {
    agent.on_disk().aliases[&alias("web")].split.weights.clone()
}

pub(super) fn segments(agent: &Agent) -> Vec<Segment> {
    agent.kernel.state().image.aliases[0].segments.clone()
}

/// As `kill -9` leaves it: what is on the disk and in the kernel at this moment, and a new agent on top.
pub(super) async fn killed_and_started(agent: &Agent) -> Agent {
    let copy = TempDir::new().unwrap();
    let from = agent.directory.path();
    std::fs::copy(from.join("desired.json"), copy.path().join("desired.json")).unwrap();
    std::fs::create_dir(copy.path().join("receipts")).unwrap();
    for receipt in std::fs::read_dir(from.join("receipts")).unwrap().flatten() {
        std::fs::copy(receipt.path(), copy.path().join("receipts").join(receipt.file_name())).unwrap();
    }
    let kernel = Fake::default();
    {
        let (old, mut new) = (agent.kernel.state(), kernel.state());
        new.image = old.image.clone();
        new.flows.clone_from(&old.flows);
        new.counters.clone_from(&old.counters);
    }
    Agent::start_in(copy, kernel, agent.host.clone()).await
}

#[tokio::test]
async fn steps_go_one_by_one_and_the_disk_is_always_ahead() {
    let agent = Agent::with_web().await;
    let epoch = agent.status().await.epoch;
    let mut progress = agent.upgrade(&stepped("5,50,100", 200), LONG).await.unwrap();
    observing(&mut progress, 1).await;
    assert_eq!(weights(&agent), BTreeMap::from([(set("v1"), 95), (set("v2"), 5)]));
    assert_eq!(segments(&agent).len(), 2);
    observing(&mut progress, 2).await;
    assert_eq!(weights(&agent), BTreeMap::from([(set("v1"), 50), (set("v2"), 50)]));
    observing(&mut progress, 3).await;
    let receipt = finished(progress).await;
    assert_eq!(
        (receipt.outcome, receipt.epoch_before, receipt.epoch_after),
        (Outcome::Done, epoch, epoch + 3)
    );
    assert_eq!(receipt.aliases[0].before, BTreeMap::from([(set("v1"), 100)]));
    assert_eq!(receipt.aliases[0].after, BTreeMap::from([(set("v2"), 100)]));
    let epochs: Vec<u64> = receipt.steps.iter().map(|step| step.epoch).collect();
    assert_eq!(epochs, [epoch + 1, epoch + 2, epoch + 3]);
    assert_eq!(receipt.first_flip, receipt.steps[0].flip, "where it began");
    assert_eq!(receipt.flip, receipt.steps[2].flip, "where it ended");
    let disk = agent.on_disk();
    assert!(disk.rollouts.is_empty(), "it has ended");
    let epochs = agent.kernel.state().file_epochs.clone();
    assert_eq!(epochs[epochs.len() - 3..], [epoch + 1, epoch + 2, epoch + 3]);
    agent.rollback("web").await.unwrap();
    assert_eq!(
        weights(&agent),
        BTreeMap::from([(set("v1"), 100)]),
        "back to before the first step"
    );
}

#[tokio::test]
async fn by_flow_holds_between_the_steps_only() {
    let agent = Agent::with_web().await;
    let mut request = stepped("50,100", 150);
    request.rollout.step_by = StepBy::Flow;
    let mut progress = agent.upgrade(&request, LONG).await.unwrap();
    observing(&mut progress, 1).await;
    assert!(agent.kernel.state().image.aliases[0].by_flow);
    assert_eq!(finished(progress).await.outcome, Outcome::Done);
    assert!(!agent.kernel.state().image.aliases[0].by_flow);
}

#[tokio::test]
async fn a_step_waits_for_its_flows_and_rolls_back_without() {
    let agent = Agent::with_web().await;
    let before = agent.on_disk().aliases;
    let mut request = stepped("5,100", 0);
    request.rollout.min_flows = 10;
    let mut progress = agent.upgrade(&request, Duration::from_millis(900)).await.unwrap();
    observing(&mut progress, 1).await;
    let receipt = finished(progress).await;
    assert_eq!((receipt.outcome, receipt.exit_code), (Outcome::RolledBack, 3));
    assert!(receipt.message.contains("time was up in step 1"), "{}", receipt.message);
    assert_eq!(agent.on_disk().aliases, before);
    let mut progress = agent.upgrade(&request, LONG).await.unwrap();
    observing(&mut progress, 1).await;
    let counters = |flows_opened| SetCounters {
        flows_opened,
        ..SetCounters::default()
    };
    agent.kernel.state().counters.insert(V2, counters(10));
    observing(&mut progress, 2).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(
        matches!(*progress.borrow(), Progress::Observing { step: 2, .. }),
        "flows of step 1 are none of step 2"
    );
    agent.kernel.state().counters.insert(V2, counters(20));
    assert_eq!(finished(progress).await.outcome, Outcome::Done);
}

#[tokio::test]
async fn a_step_that_cannot_be_made_goes_back() {
    let agent = Agent::with_web().await;
    let before = agent.on_disk().aliases;
    let mut progress = agent.upgrade(&stepped("5,100", 300), LONG).await.unwrap();
    observing(&mut progress, 1).await;
    agent.kernel.state().fail_flip = true;
    // Until it was tried: a busy machine is late with it.
    let tried = agent.kernel.state().file_epochs.len();
    for _ in 0..1_000 {
        if agent.kernel.state().file_epochs.len() > tried {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    agent.kernel.state().fail_flip = false;
    let receipt = finished(progress).await;
    assert_eq!(receipt.outcome, Outcome::RolledBack);
    assert!(
        receipt.message.contains("step 2 could not be made"),
        "{}",
        receipt.message
    );
    assert_eq!(agent.on_disk().aliases, before);
    assert_eq!(segments(&agent).len(), 1);
}

#[tokio::test]
async fn an_agent_killed_in_a_step_goes_on_from_it() {
    let agent = Agent::with_web().await;
    let request = stepped("5,50,100", 1_000);
    let mut progress = agent.upgrade(&request, LONG).await.unwrap();
    observing(&mut progress, 2).await;
    let next = killed_and_started(&agent).await;
    drop(agent);
    assert_eq!(
        weights(&next),
        BTreeMap::from([(set("v1"), 50), (set("v2"), 50)]),
        "what was asked for"
    );
    // The same command attaches to it, another one is refused.
    refused(
        next.split("web", &[("v1", 1)]).await,
        ErrorCode::Busy,
        &["upgrade of web to v2"],
    );
    let progress = next.upgrade(&request, LONG).await.unwrap();
    let receipt = finished(progress).await;
    assert_eq!((receipt.id, receipt.outcome), (Some(2), Outcome::Done));
    assert_eq!(receipt.aliases[0].before, BTreeMap::from([(set("v1"), 100)]));
    assert!(receipt.warnings[0].contains("started anew"), "{receipt:?}");
    assert!(next.on_disk().rollouts.is_empty());
    assert_eq!(weights(&next), BTreeMap::from([(set("v2"), 100)]));
}

/// One whose upgrade to v2 waits for one flow of v1, and what was asked for.
async fn draining() -> (Agent, UpgradeRequest) {
    let agent = Agent::with_web().await;
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    let request = upgrade("v2", 30_000);
    let mut progress = agent.upgrade(&request, LONG).await.unwrap();
    let counted = progress.wait_for(|at| matches!(at, Progress::Draining { established: 1, .. }));
    tokio::time::timeout(LONG, counted).await.unwrap().unwrap();
    (agent, request)
}

#[tokio::test]
async fn an_agent_killed_while_it_drains_goes_on_waiting() {
    let (agent, request) = draining().await;
    let next = killed_and_started(&agent).await;
    drop(agent);
    let progress = next.upgrade(&request, LONG).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!matches!(*progress.borrow(), Progress::Finished { .. }));
    next.kernel.state().flows.clear();
    assert_eq!(finished(progress).await.outcome, Outcome::Done);
}

/// The flip is made, and of the upgrade nothing is on the disk but what was saved before it.
#[tokio::test]
async fn an_agent_killed_right_behind_the_flip_goes_on_and_has_a_receipt() {
    let (agent, request) = draining().await;
    let (kernel, host, directory) = agent.end().await;
    let mut desired = on_disk(&directory);
    desired.rollouts[0].state = crate::rollout::State::Observing { step: 0, since_ms: 0 };
    let id = desired.rollouts[0]
        .receipt
        .take()
        .expect("it was written before the wait");
    std::fs::remove_file(directory.path().join(format!("receipts/{id:08}.json"))).unwrap();
    Store::open(directory.path()).unwrap().save(&desired).unwrap();
    let next = Agent::start_in(directory, kernel, host).await;
    let progress = next.upgrade(&request, LONG).await.unwrap();
    next.kernel.state().flows.clear();
    let receipt = finished(progress).await;
    assert_eq!((receipt.id, receipt.outcome), (Some(id), Outcome::Done));
    assert_eq!(next.newest_receipt().await, receipt);
    assert!(next.on_disk().rollouts.is_empty());
    assert_eq!(weights(&next), BTreeMap::from([(set("v2"), 100)]));
}

/// Who was reset is at the new set: it goes on, and nothing goes back.
#[tokio::test]
async fn an_agent_killed_while_it_resets_resets_the_rest() {
    let agent = Agent::with_web().await;
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    // Both ends keep silent: their answers are waited for.
    agent.kernel.state().silent = true;
    let mut request = upgrade("v2", 50);
    request.rollout.drain_action = DrainAction::Reset;
    let _progress = agent.upgrade(&request, LONG).await.unwrap();
    let deadline = Instant::now() + LONG;
    let resets = |agent: &Agent| {
        matches!(
            agent.on_disk().rollouts[0].state,
            crate::rollout::State::Resetting { .. }
        )
    };
    while !resets(&agent) {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let next = killed_and_started(&agent).await;
    drop(agent);
    let progress = next.upgrade(&request, LONG).await.unwrap();
    assert_eq!(finished(progress).await.outcome, Outcome::Done);
    assert_eq!(next.kernel.state().endings.len(), 1, "the one that was left");
    assert_eq!(weights(&next), BTreeMap::from([(set("v2"), 100)]));
}

#[tokio::test]
async fn an_agent_killed_while_it_rolls_back_rolls_back() {
    let agent = Agent::with_web().await;
    let before = agent.on_disk().aliases;
    let mut request = stepped("5,100", 0);
    request.rollout.min_flows = 10;
    let mut progress = agent.upgrade(&request, Duration::from_millis(500)).await.unwrap();
    observing(&mut progress, 1).await;
    agent.kernel.state().fail_flip = true;
    // Past its time: it wants to go back, and cannot.
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(agent.on_disk().rollouts.len(), 1);
    let next = killed_and_started(&agent).await;
    drop(agent);
    let deadline = Instant::now() + LONG;
    while next.on_disk().rollouts.len() == 1 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(next.on_disk().aliases, before);
    let receipt = next.newest_receipt().await;
    assert_eq!((receipt.outcome, receipt.exit_code), (Outcome::RolledBack, 3));
}

/// Nobody was there when its time ran out: a split between two versions is not what anybody asked for then.
#[tokio::test]
async fn a_rollout_whose_time_ran_out_while_no_agent_ran_goes_back() {
    let agent = Agent::with_web().await;
    let before = agent.on_disk().aliases;
    let mut progress = agent
        .upgrade(&stepped("5,100", 60_000), Duration::from_secs(2))
        .await
        .unwrap();
    observing(&mut progress, 1).await;
    let (kernel, host, directory) = agent.end().await;
    assert_eq!(on_disk(&directory).rollouts.len(), 1, "it stays on the disk");
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    let next = Agent::start_in(directory, kernel, host).await;
    let deadline = Instant::now() + LONG;
    while next.on_disk().rollouts.len() == 1 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(next.on_disk().aliases, before);
}

pub(super) fn handshakes(established: u64, refused: u64) -> SetCounters {
    SetCounters {
        flows_opened: established + refused,
        flows_established: established,
        flows_refused: refused,
        ..SetCounters::default()
    }
}

#[tokio::test]
async fn a_version_that_refuses_is_rolled_back_within_a_second_of_its_figures() {
    let agent = Agent::with_web().await;
    let before = agent.on_disk().aliases;
    let mut progress = agent.upgrade(&stepped("5,100", 60_000), LONG).await.unwrap();
    observing(&mut progress, 1).await;
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    // The host moves: an image of the tick's, and none of the step's.
    let step = agent.kernel.state().image.epoch;
    agent.host.state().veth_ifindex += 10;
    for _ in 0..1_000 {
        if agent.kernel.state().image.epoch > step {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    {
        let mut kernel = agent.kernel.state();
        kernel.counters.insert(V1, handshakes(200, 0));
        kernel.counters.insert(V2, handshakes(0, 8));
    }
    let shown = Instant::now();
    let receipt = finished(progress).await;
    assert!(shown.elapsed() < Duration::from_secs(1), "{:?}", shown.elapsed());
    assert_eq!((receipt.outcome, receipt.exit_code), (Outcome::RolledBack, 3));
    assert!(
        receipt.message.contains("failed 8 of 8 handshake(s)"),
        "{}",
        receipt.message
    );
    assert_eq!(receipt.steps.len(), 1);
    assert!(receipt.steps[0].judgement.contains("8 of 8"), "{:?}", receipt.steps[0]);
    assert_eq!(receipt.steps[0].sets[1].figures.flows_refused, 8);
    assert_eq!(receipt.steps[0].epoch, step, "its own flip's");
    assert!(receipt.left.is_empty(), "flows of a set that stays: {:?}", receipt.left);
    assert_eq!(agent.on_disk().aliases, before, "as if it had never been");
}

#[tokio::test]
async fn a_limit_is_judged_at_the_end_of_its_step() {
    let agent = Agent::with_web().await;
    let mut request = stepped("5,100", 700);
    request.rollout.fail_on = vec!["server_resets>1%".parse().unwrap()];
    let mut progress = agent.upgrade(&request, LONG).await.unwrap();
    observing(&mut progress, 1).await;
    let reset = SetCounters {
        flows_reset_by_backend: 1,
        ..handshakes(50, 0)
    };
    agent.kernel.state().counters.insert(V2, reset);
    let receipt = finished(progress).await;
    assert_eq!(receipt.outcome, Outcome::RolledBack);
    assert!(receipt.message.contains("server_resets>1%"), "{}", receipt.message);
    assert!(receipt.steps[0].observed_ms >= 700, "{:?}", receipt.steps[0]);
}

#[tokio::test]
async fn a_check_that_fails_rolls_back_and_one_that_passes_lets_go_on() {
    let agent = Agent::with_web().await;
    let marker = agent.directory.path().join("check");
    let checked = |script: String| {
        let mut request = stepped("5,100", 100);
        request.rollout.check = Some(script);
        request
    };
    let passes = checked(format!(
        "echo $SWITCHER_ALIAS $SWITCHER_SET $SWITCHER_STEP >> {}",
        marker.display()
    ));
    let receipt = finished(agent.upgrade(&passes, LONG).await.unwrap()).await;
    assert_eq!(receipt.outcome, Outcome::Done);
    let steps = std::fs::read_to_string(&marker).unwrap();
    assert!(steps.contains("web v2 1\n") && steps.contains("web v2 2\n"), "{steps}");
    agent.rollback("web").await.unwrap();
    let fails = checked("test $SWITCHER_STEP = 1 || { echo not good >&2; exit 9; }".to_owned());
    let receipt = finished(agent.upgrade(&fails, LONG).await.unwrap()).await;
    assert_eq!((receipt.outcome, receipt.exit_code), (Outcome::RolledBack, 3));
    assert!(receipt.message.contains("not good"), "{}", receipt.message);
    assert_eq!(weights(&agent), BTreeMap::from([(set("v1"), 100)]));
}

#[tokio::test]
async fn until_somebody_confirms_the_old_set_stays() {
    let agent = Agent::with_web().await;
    let mut request = upgrade("v2", 0);
    request.rollout.confirm = crate::model::Confirm::Manual;
    finished(agent.upgrade(&request, LONG).await.unwrap()).await;
    let remove = || agent.changes(Command::SetRm(alias("web"), set("v1")));
    refused(remove().await, ErrorCode::Refused, &["switcher confirm web"]);
    assert_eq!(agent.status().await.aliases[0].unconfirmed, Some(set("v1")));
    agent.rollback("web").await.unwrap();
    assert_eq!(agent.status().await.aliases[0].unconfirmed, None);
    finished(agent.upgrade(&request, LONG).await.unwrap()).await;
    let confirm = || agent.changes(Command::Confirm(alias("web")));
    assert_eq!(confirm().await.unwrap().changes.len(), 1);
    assert!(confirm().await.unwrap().changes.is_empty(), "once is enough");
    agent.rollback("web").await.unwrap();
    finished(agent.upgrade(&request, LONG).await.unwrap()).await;
    confirm().await.unwrap();
    remove().await.unwrap();
}
