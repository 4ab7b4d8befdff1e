//! Upgrades and their drains.

use super::*;
use crate::kernel::{FlowState, SetCounters};
use crate::model::{Action, Failure, Outcome};

const V1: u32 = 1;

#[tokio::test]
async fn without_flows_it_is_done_at_once() {
    let agent = Agent::with_web().await;
    let receipt = finished(agent.upgrade(&upgrade("v2", 30_000), LONG).await.unwrap()).await;
    assert_eq!((receipt.outcome, receipt.exit_code), (Outcome::Done, 0));
    assert_eq!(
        (receipt.aliases[0].from.clone(), receipt.aliases[0].to.clone()),
        (Some(set("v1")), Some(set("v2")))
    );
    assert_eq!(receipt.epoch_after, receipt.epoch_before + 1);
    assert_eq!(
        receipt.caller,
        Caller {
            uid: 1_000,
            pid: Some(7)
        }
    );
    let told = agent.status().await.aliases[0].last_change.unwrap();
    assert_eq!(
        (told.receipt, told.action, told.outcome),
        (receipt.id, Action::Upgrade, Outcome::Done)
    );
    let kept = agent.receipt(Command::Receipt(receipt.id.unwrap())).await.unwrap();
    assert_eq!(kept, receipt, "what is kept is what was told");
}

#[tokio::test]
async fn it_waits_for_pending_and_established_flows_and_not_for_closing_ones() {
    let agent = Agent::with_web().await;
    agent.kernel.add_flows(V1, FlowState::Pending, 1);
    agent.kernel.add_flows(V1, FlowState::Established, 2);
    agent.kernel.add_flows(V1, FlowState::Closing, 4);
    let mut progress = agent.upgrade(&upgrade("v2", 30_000), LONG).await.unwrap();
    let seen = progress.wait_for(|at| {
        matches!(
            at,
            Progress::Draining {
                pending: 1,
                established: 2,
                ..
            }
        )
    });
    tokio::time::timeout(LONG, seen).await.unwrap().unwrap();
    agent
        .kernel
        .state()
        .flows
        .retain(|flow| flow.state == FlowState::Closing);
    assert_eq!(finished(progress).await.outcome, Outcome::Done);
}

/// Its next datagram goes to the new set, so nobody needs the old one for it; but an answer may be on its way.
#[tokio::test]
async fn it_waits_for_answers_of_conversations_that_move_and_not_for_their_time_out() {
    let agent = Agent::with_web().await;
    agent.kernel.add_conversation(V1, Duration::from_secs(3));
    let receipt = finished(agent.upgrade(&upgrade("v2", 0), LONG).await.unwrap()).await;
    assert_eq!(receipt.outcome, Outcome::Done);
    let agent = Agent::with_web().await;
    agent.kernel.add_conversation(V1, Duration::from_secs(1));
    let receipt = finished(agent.upgrade(&upgrade("v2", 0), LONG).await.unwrap()).await;
    assert_eq!(receipt.drain.unwrap().established_left, 1);
}

/// A client that is just connecting is cut as surely as one that is connected.
#[tokio::test]
async fn it_waits_for_a_handshake_alone() {
    let agent = Agent::with_web().await;
    agent.kernel.add_flows(V1, FlowState::Pending, 1);
    let receipt = finished(agent.upgrade(&upgrade("v2", 0), LONG).await.unwrap()).await;
    assert_eq!((receipt.outcome, receipt.exit_code), (Outcome::FlowsLeft, 4));
    assert_eq!(receipt.drain.unwrap().pending_left, 1);
}

#[tokio::test]
async fn flows_left_at_the_deadline_are_told() {
    let agent = Agent::with_web().await;
    agent.kernel.add_flows(V1, FlowState::Established, 2);
    let receipt = finished(agent.upgrade(&upgrade("v2", 0), LONG).await.unwrap()).await;
    assert_eq!((receipt.outcome, receipt.exit_code), (Outcome::FlowsLeft, 4));
    assert_eq!(receipt.drain.unwrap().left(), 2);
    assert!(receipt.message.contains("2 flow(s)"), "{}", receipt.message);
    assert_eq!(
        agent.status().await.aliases[0].split,
        BTreeMap::from([(set("v2"), 100)]),
        "the switch stands"
    );
}

#[tokio::test]
async fn an_upgrade_that_was_done_is_nothing_to_do() {
    let agent = Agent::with_web().await;
    finished(agent.upgrade(&upgrade("v2", 0), LONG).await.unwrap()).await;
    let epoch = agent.status().await.epoch;
    let receipt = finished(agent.upgrade(&upgrade("v2", 0), LONG).await.unwrap()).await;
    assert_eq!((receipt.outcome, receipt.exit_code), (Outcome::Done, 0));
    assert!(receipt.message.contains("nothing to do"), "{}", receipt.message);
    assert_eq!(agent.status().await.epoch, epoch);
    // With flows left exit 0 would promise that the old set may be stopped, whether it is named or not.
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    let receipt = finished(agent.upgrade(&upgrade("v2", 0), LONG).await.unwrap()).await;
    assert_eq!((receipt.outcome, receipt.exit_code), (Outcome::FlowsLeft, 4));
    let named = UpgradeRequest {
        from: Some(set("v1")),
        ..upgrade("v2", 0)
    };
    let receipt = finished(agent.upgrade(&named, LONG).await.unwrap()).await;
    assert_eq!(receipt.outcome, Outcome::FlowsLeft);
}

#[tokio::test]
async fn a_check_that_is_no_command_is_refused() {
    let agent = Agent::with_web().await;
    for check in ["", "  "] {
        let mut request = upgrade("v2", 0);
        request.rollout.check = Some(check.to_owned());
        refused(
            agent.upgrade(&request, LONG).await,
            ErrorCode::Invalid,
            &["empty command", "leave it out"],
        );
    }
    assert!(agent.on_disk().rollouts.is_empty());
}

#[tokio::test]
async fn whose_share_moves_must_be_clear() {
    let agent = Agent::with_web().await;
    agent.put_set("web", "v3", &["10.1.2.2"]).await.unwrap();
    agent.split("web", &[("v1", 60), ("v3", 40)]).await.unwrap();
    let ask = |from: Option<&str>, to: &str| UpgradeRequest {
        from: from.map(set),
        ..upgrade(to, 0)
    };
    refused(
        agent.upgrade(&upgrade("v2", 0), LONG).await,
        ErrorCode::Invalid,
        &["v1, v3", "--from"],
    );
    refused(
        agent.upgrade(&ask(Some("v2"), "v2"), LONG).await,
        ErrorCode::Invalid,
        &["two sets"],
    );
    refused(
        agent.upgrade(&ask(None, "v9"), LONG).await,
        ErrorCode::UnknownSet,
        &["'v9'"],
    );
    finished(agent.upgrade(&ask(Some("v1"), "v2"), LONG).await.unwrap()).await;
    let split = agent.status().await.aliases[0].split.clone();
    assert_eq!(
        split,
        BTreeMap::from([(set("v2"), 60), (set("v3"), 40)]),
        "others keep theirs"
    );
    refused(
        agent.upgrade(&ask(Some("v1"), "v1"), LONG).await,
        ErrorCode::Invalid,
        &["two sets"],
    );
    agent.put_set("web", "v4", &["10.1.3.2"]).await.unwrap();
    refused(
        agent.upgrade(&ask(Some("v1"), "v4"), LONG).await,
        ErrorCode::Refused,
        &["no share", "v2, v3"],
    );
}

#[tokio::test]
async fn several_aliases_flip_at_once() {
    let agent = Agent::with_web().await;
    agent.put_alias("api", 81).await.unwrap();
    agent.put_set("api", "v1", &["10.1.0.2:8081"]).await.unwrap();
    agent.put_set("api", "v2", &["10.1.1.2:8081"]).await.unwrap();
    agent.split("api", &[("v1", 1)]).await.unwrap();
    agent.kernel.take_calls();
    let request = UpgradeRequest {
        aliases: vec![alias("web"), alias("api")],
        ..upgrade("v2", 0)
    };
    let receipt = finished(agent.upgrade(&request, LONG).await.unwrap()).await;
    assert_eq!(receipt.aliases.len(), 2);
    assert_eq!(
        agent
            .kernel
            .take_calls()
            .iter()
            .filter(|call| call.starts_with("flip"))
            .count(),
        1
    );
}

#[tokio::test]
async fn the_identical_command_attaches_and_a_different_one_is_refused() {
    let agent = Agent::with_web().await;
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    let first = agent.upgrade(&upgrade("v2", 30_000), LONG).await.unwrap();
    let second = agent.upgrade(&upgrade("v2", 30_000), LONG).await.unwrap();
    refused(
        agent.upgrade(&upgrade("v1", 30_000), LONG).await,
        ErrorCode::Busy,
        &["upgrade of web to v2"],
    );
    refused(agent.split("web", &[("v1", 1)]).await, ErrorCode::Busy, &[]);
    refused(agent.put_set("web", "v1", &["10.1.0.3"]).await, ErrorCode::Busy, &[]);
    refused(agent.ask(Command::AliasRm(alias("web"))).await, ErrorCode::Busy, &[]);
    refused(agent.ask(Command::Detach).await, ErrorCode::Busy, &[]);
    assert_eq!(
        agent.status().await.aliases[0].running.as_deref(),
        Some("upgrade of web to v2")
    );
    agent.put_alias("other", 99).await.unwrap();
    agent.kernel.state().flows.clear();
    let (first, second) = (finished(first).await, finished(second).await);
    assert_eq!(first, second);
    assert_eq!(agent.status().await.aliases[1].running, None);
}

#[tokio::test]
async fn whoever_asked_may_leave() {
    let agent = Agent::with_web().await;
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    drop(agent.upgrade(&upgrade("v2", 30_000), LONG).await.unwrap());
    agent.kernel.state().flows.clear();
    let deadline = Instant::now() + LONG;
    while agent.status().await.aliases[0].running.is_some() {
        assert!(Instant::now() < deadline, "the upgrade goes on without its asker");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let Reply::Receipts(receipts) = agent.ask(Command::Receipts).await.unwrap() else {
        panic!("no list")
    };
    assert_eq!(receipts.receipts[0].outcome, Outcome::Done);
}

#[tokio::test]
async fn the_commands_time_before_the_flip_changes_nothing_and_after_it_rolls_back() {
    let agent = Agent::with_web().await;
    let before = agent.kernel.state().image.aliases.clone();
    refused(
        agent.upgrade(&upgrade("v2", 30_000), Duration::ZERO).await,
        ErrorCode::TimedOut,
        &["--timeout"],
    );
    assert_eq!(agent.kernel.state().image.aliases, before);
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    let progress = agent
        .upgrade(&upgrade("v2", 30_000), Duration::from_millis(500))
        .await
        .unwrap();
    assert_ne!(agent.kernel.state().image.aliases, before);
    let receipt = finished(progress).await;
    assert_eq!((receipt.outcome, receipt.exit_code), (Outcome::RolledBack, 3));
    assert!(receipt.flip_back.is_some());
    assert_eq!(agent.kernel.state().image.aliases, before, "to the hash");
    assert_eq!(
        agent.on_disk().aliases[&alias("web")].split.weights,
        BTreeMap::from([(set("v1"), 100)])
    );
}

#[tokio::test]
async fn flows_that_cannot_be_counted_are_an_unknown_outcome() {
    let agent = Agent::with_web().await;
    agent.kernel.state().fail_flows = true;
    let receipt = finished(agent.upgrade(&upgrade("v2", 30_000), LONG).await.unwrap()).await;
    assert_eq!((receipt.outcome, receipt.exit_code), (Outcome::Unknown, 7));
    assert!(receipt.warnings[0].contains("could not be counted"));
}

#[tokio::test]
async fn a_receipt_says_when_the_switch_was_not_final() {
    let agent = Agent::with_web().await;
    let counters = |at: u64| SetCounters {
        last_new_flow_ns: at,
        flows_opened: 1,
        ..SetCounters::default()
    };
    agent.kernel.state().counters.insert(V1, counters(1_500));
    let receipt = finished(agent.upgrade(&upgrade("v2", 0), LONG).await.unwrap()).await;
    assert!(receipt.last_new_flows[0].before_flip_end);
    assert!(
        receipt
            .statements
            .iter()
            .any(|text| text.contains("no new flow chose set v1")),
        "{receipt:?}"
    );
    agent.rollback("web").await.unwrap();
    agent.kernel.state().counters.insert(V1, counters(3_001));
    let receipt = finished(agent.upgrade(&upgrade("v2", 0), LONG).await.unwrap()).await;
    assert!(!receipt.last_new_flows[0].before_flip_end);
    assert!(
        receipt.statements.iter().any(|text| text.contains("not final")),
        "{receipt:?}"
    );
}

#[tokio::test]
async fn a_receipt_with_unpinned_flows_never_says_that_nothing_was_lost() {
    let agent = Agent::with_web().await;
    let unpinned = SetCounters {
        flows_unpinned: 3,
        ..SetCounters::default()
    };
    agent.kernel.state().counters.insert(V1, unpinned);
    let receipt = finished(agent.upgrade(&upgrade("v2", 0), LONG).await.unwrap()).await;
    assert_eq!(receipt.unpinned_flows, 3);
    assert!(
        receipt.statements.iter().any(|text| text.contains("may have cut")),
        "{receipt:?}"
    );
    assert!(
        !receipt.statements.iter().any(|text| text.contains("every flow")),
        "{receipt:?}"
    );
    assert_eq!(agent.status().await.unpinned_flows, 3);
}

#[tokio::test]
async fn a_set_that_has_a_part_gets_the_rest() {
    let agent = Agent::with_web().await;
    agent.split("web", &[("v1", 50), ("v2", 50)]).await.unwrap();
    let receipt = finished(agent.upgrade(&upgrade("v2", 0), LONG).await.unwrap()).await;
    assert_eq!(
        (receipt.outcome, receipt.aliases[0].from.clone()),
        (Outcome::Done, Some(set("v1")))
    );
    assert_eq!(agent.kernel.state().image.aliases[0].segments.len(), 1);
}

#[tokio::test]
async fn a_rollback_after_one_that_rolled_back_by_itself_does_not_go_forward() {
    let agent = Agent::with_web().await;
    let before = agent.on_disk().aliases;
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    let progress = agent
        .upgrade(&upgrade("v2", 30_000), Duration::from_millis(300))
        .await
        .unwrap();
    assert_eq!(finished(progress).await.outcome, Outcome::RolledBack);
    assert_eq!(agent.on_disk().aliases, before, "as if it had never been");
    refused(agent.rollback("web").await, ErrorCode::Refused, &["no earlier split"]);
    assert_eq!(
        agent.status().await.aliases[0].split,
        BTreeMap::from([(set("v1"), 100)])
    );
}

#[tokio::test]
async fn a_switch_has_its_receipt_before_its_drain_ends_and_keeps_the_number() {
    let agent = Agent::with_web().await;
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    let progress = agent.upgrade(&upgrade("v2", 30_000), LONG).await.unwrap();
    let early = agent.newest_receipt().await;
    assert_eq!((early.action, early.outcome), (Action::Upgrade, Outcome::Unknown));
    assert!(early.warnings[0].contains("the agent ended before it did"), "{early:?}");
    agent.kernel.state().flows.clear();
    let end = finished(progress).await;
    assert_eq!((end.id, end.outcome), (early.id, Outcome::Done));
    assert_eq!(end.warnings, Vec::<String>::new());
    assert_eq!(agent.newest_receipt().await, end);
}

/// Its answer is its end: no pause until a next look, and no second look for what the first has seen.
#[tokio::test]
async fn a_switch_with_nobody_to_wait_for_ends_with_its_first_look() {
    let agent = Agent::with_web().await;
    agent.kernel.add_flows(V1, FlowState::Closing, 1);
    let looks = {
        let mut state = agent.kernel.state();
        state.flows[0].failure = Some(Failure::Refused);
        state.now_ns = 10_000_000;
        state.table_looks
    };
    let progress = agent.upgrade(&upgrade("v2", 30_000), LONG).await.unwrap();
    assert!(progress.borrow().is_end(), "{:?}", progress.borrow());
    assert_eq!(agent.kernel.state().table_looks, looks + 1);
    let receipt = finished(progress).await;
    assert_eq!(receipt.outcome, Outcome::Done);
    assert_eq!(receipt.drain.unwrap().at_first, 0);
    assert_eq!(receipt.failures[0].flows.len(), 1, "seen by the same look");
    assert!(agent.on_disk().rollouts.is_empty());
    assert_eq!(agent.newest_receipt().await, receipt);
}

#[tokio::test]
async fn an_agent_that_is_stopped_says_so_in_the_receipts_of_what_runs() {
    let agent = Agent::with_web().await;
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    let progress = agent.upgrade(&upgrade("v2", 30_000), LONG).await.unwrap();
    let id = agent.newest_receipt().await.id;
    let Agent { directory, _stop, .. } = agent;
    drop(_stop);
    let end = finished(progress).await;
    assert_eq!((end.id, end.outcome, end.exit_code), (id, Outcome::Unknown, 7));
    assert!(end.warnings[0].contains("stopped"), "{end:?}");
    let file = directory.path().join(format!("receipts/{:08}.json", id.unwrap()));
    let kept: Receipt = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(kept, end);
}

#[tokio::test]
async fn a_flow_past_its_time_out_is_not_waited_for_but_keeps_its_sets_number() {
    let agent = Agent::with_web().await;
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    agent.kernel.state().flows[0].expired = true;
    let receipt = finished(agent.upgrade(&upgrade("v2", 0), LONG).await.unwrap()).await;
    assert_eq!(receipt.outcome, Outcome::Done);
    assert_eq!(agent.status().await.flow_table.flows.established, 0);
    agent.changes(Command::SetRm(alias("web"), set("v1"))).await.unwrap();
    agent.put_set("web", "v3", &["10.1.2.2"]).await.unwrap();
    assert_eq!(agent.on_disk().aliases[&alias("web")].sets[&set("v3")].id, 3);
}

#[tokio::test]
async fn a_command_that_attached_waits_no_longer_than_its_own_time() {
    let agent = Agent::with_web().await;
    agent.kernel.add_flows(V1, FlowState::Established, 1);
    let first = agent.upgrade(&upgrade("v2", 30_000), LONG).await.unwrap();
    let mut second = agent
        .upgrade(&upgrade("v2", 30_000), Duration::from_millis(200))
        .await
        .unwrap();
    let left = second.wait_for(|at| matches!(at, Progress::StillRunning { .. }));
    let left = tokio::time::timeout(Duration::from_secs(5), left).await;
    left.expect("it stops waiting").unwrap();
    agent.kernel.state().flows.clear();
    assert_eq!(finished(first).await.outcome, Outcome::Done);
}

#[tokio::test]
async fn who_never_had_a_share_has_none_to_give() {
    let agent = Agent::with_web().await;
    let from = |from: &str, to: &str| UpgradeRequest {
        from: Some(set(from)),
        ..upgrade(to, 0)
    };
    refused(
        agent.upgrade(&from("v2", "v1"), LONG).await,
        ErrorCode::Refused,
        &["'v2'", "no share"],
    );
    finished(agent.upgrade(&from("v1", "v2"), LONG).await.unwrap()).await;
    let again = finished(agent.upgrade(&from("v1", "v2"), LONG).await.unwrap()).await;
    assert_eq!(again.outcome, Outcome::Done, "a job may say it twice");
}
