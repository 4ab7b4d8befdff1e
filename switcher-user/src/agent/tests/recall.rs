//! `rollback` while an upgrade runs.

use super::*;
use crate::kernel::FlowState;
use crate::model::{Action, Outcome, RolloutOptions};

const V1: u32 = 1;

/// As the kernel and the disk have it.
fn as_it_is(agent: &Agent) -> (Vec<crate::image::AliasPlan>, Desired) {
    let mut disk = agent.on_disk();
    disk.epoch = 0;
    (agent.kernel.state().image.aliases.clone(), disk)
}

/// Both receipts say the same: what moved is back.
async fn assert_went_back(agent: &Agent, alias: &str, progress: watch::Receiver<Progress>) {
    let receipt = agent.rollback(alias).await.unwrap();
    assert_eq!(
        (receipt.action, receipt.outcome, receipt.exit_code),
        (Action::Rollback, Outcome::Done, 0)
    );
    let upgrade = finished(progress).await;
    assert_eq!((upgrade.outcome, upgrade.exit_code), (Outcome::RolledBack, 3));
    let who = format!("`switcher rollback {alias}` was run by uid 1000, pid 7");
    assert!(upgrade.message.contains(&who), "{}", upgrade.message);
    assert!(upgrade.flip_back.is_some());
    assert_eq!(upgrade.flip_back, receipt.flip);
    assert_eq!(receipt.epoch_after, agent.status().await.epoch);
    assert!(agent.on_disk().rollouts.is_empty());
}

#[tokio::test]
async fn a_drain_is_called_back() {
    let agent = Agent::with_web().await;
    let before = as_it_is(&agent);
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    let progress = agent.upgrade(&upgrade("v2", 60_000), LONG).await.unwrap();
    assert_ne!(as_it_is(&agent), before);
    assert_went_back(&agent, "web", progress).await;
    assert_eq!(as_it_is(&agent), before, "to the hash");
    refused(agent.rollback("web").await, ErrorCode::Refused, &["no earlier split"]);
    // And the same upgrade is free to be tried again.
    agent.kernel.state().flows.clear();
    let again = agent.upgrade(&upgrade("v2", 60_000), LONG).await.unwrap();
    assert_eq!(finished(again).await.outcome, Outcome::Done);
}

#[tokio::test]
async fn a_step_is_called_back_and_no_other_follows() {
    let agent = Agent::with_web().await;
    let before = as_it_is(&agent);
    let request = UpgradeRequest {
        rollout: RolloutOptions {
            steps: "5,50,100".parse().unwrap(),
            interval_ms: 60_000,
            ..RolloutOptions::default()
        },
        ..upgrade("v2", 0)
    };
    let progress = agent.upgrade(&request, LONG).await.unwrap();
    assert_went_back(&agent, "web", progress).await;
    assert_eq!(as_it_is(&agent), before);
}

#[tokio::test]
async fn aliases_that_were_upgraded_together_go_back_together() {
    let agent = Agent::with_web().await;
    agent.put_alias("api", 81).await.unwrap();
    agent.put_set("api", "v1", &["10.1.0.2:8081"]).await.unwrap();
    agent.put_set("api", "v2", &["10.1.1.2:8081"]).await.unwrap();
    agent.split("api", &[("v1", 100)]).await.unwrap();
    let before = as_it_is(&agent);
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    let request = UpgradeRequest {
        aliases: vec![alias("api"), alias("web")],
        ..upgrade("v2", 60_000)
    };
    let progress = agent.upgrade(&request, LONG).await.unwrap();
    let epoch = agent.status().await.epoch;
    assert_went_back(&agent, "web", progress).await;
    assert_eq!(as_it_is(&agent), before);
    assert_eq!(agent.status().await.epoch, epoch + 1, "one flip for both");
}

/// The second upgrade has nothing to move: what it waited for was left by the first.
#[tokio::test]
async fn a_drain_of_an_earlier_change_is_called_back_with_that_change() {
    let agent = Agent::with_web().await;
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    let first = agent.upgrade(&upgrade("v2", 0), LONG).await.unwrap();
    assert_eq!(finished(first).await.outcome, Outcome::FlowsLeft);
    let progress = agent.upgrade(&upgrade("v2", 60_000), LONG).await.unwrap();
    assert_went_back(&agent, "web", progress).await;
    let weights = agent.on_disk().aliases[&alias("web")].split.weights.clone();
    assert_eq!(weights, BTreeMap::from([(set("v1"), 100)]));
}

#[tokio::test]
async fn a_recall_that_the_kernel_refuses_is_tried_again() {
    let agent = Agent::with_web().await;
    let before = as_it_is(&agent);
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    let progress = agent.upgrade(&upgrade("v2", 60_000), LONG).await.unwrap();
    agent.kernel.state().fail_flip = true;
    refused(agent.rollback("web").await, ErrorCode::Unknown, &["switcher status"]);
    agent.kernel.state().fail_flip = false;
    assert_eq!(finished(progress).await.outcome, Outcome::RolledBack);
    assert_eq!(as_it_is(&agent), before);
}

#[tokio::test]
async fn an_alias_beside_it_is_not_concerned() {
    let agent = Agent::with_web().await;
    agent.put_alias("other", 99).await.unwrap();
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    let progress = agent.upgrade(&upgrade("v2", 60_000), LONG).await.unwrap();
    refused(agent.rollback("other").await, ErrorCode::Refused, &["no earlier split"]);
    assert!(!progress.borrow().is_end());
}
