//! Changes at once.

use super::*;
use crate::image::Path;
use crate::kernel::FlowState;
use crate::model::Outcome;

const STACK: &str = "
version: 1
stack: shop
aliases:
  web:
    listen: ['198.51.100.10:80/tcp']
    split: {v1: 100}
    sets:
      v1: {backends: ['10.1.0.2:8080']}
      v2: {backends: ['10.1.1.2:8080']}
";

fn flips(agent: &Agent) -> usize {
    agent
        .kernel
        .take_calls()
        .iter()
        .filter(|call| call.starts_with("flip"))
        .count()
}

#[tokio::test]
async fn apply_attaches_writes_and_flips_in_that_order() {
    let agent = Agent::start().await;
    agent.kernel.take_calls();
    let document = agent.apply(STACK, false, false).await.unwrap();
    assert_eq!(document.epoch, 2);
    let what: Vec<&str> = document.changes.iter().map(|change| change.what.as_str()).collect();
    assert_eq!(what[0], "alias web: created, listens on 198.51.100.10:80/tcp");
    assert_eq!(what[3], "alias web: split v1=100");
    let calls: Vec<String> = agent
        .kernel
        .take_calls()
        .into_iter()
        .filter(|call| call != "refresh")
        .collect();
    assert_eq!(calls, ["clear 1", "clear 2", "attach veth9 10 Backend", "flip 2"]);
    assert_eq!(
        agent.kernel.state().file_epochs.last(),
        Some(&2),
        "the file is written before the flip"
    );
    assert_eq!(agent.on_disk().aliases.len(), 1);
    assert_eq!(document.receipt.unwrap().id, Some(1));
}

#[tokio::test]
async fn apply_again_does_nothing() {
    let agent = Agent::start().await;
    agent.apply(STACK, false, false).await.unwrap();
    flips(&agent);
    let document = agent.apply(STACK, false, false).await.unwrap();
    assert_eq!((document.changes.len(), flips(&agent)), (0, 0));
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let agent = Agent::start().await;
    flips(&agent);
    let document = agent.apply(STACK, true, false).await.unwrap();
    assert!(document.dry_run && document.changes.len() == 4);
    assert_eq!(flips(&agent), 0);
    assert!(agent.on_disk().aliases.is_empty());
}

#[tokio::test]
async fn prune_removes_what_the_stack_owns_and_the_file_omits() {
    let agent = Agent::start().await;
    agent.put_alias("hand", 99).await.unwrap();
    agent.apply(STACK, false, false).await.unwrap();
    let smaller = STACK.replace("      v2: {backends: ['10.1.1.2:8080']}\n", "");
    assert_eq!(
        agent.apply(&smaller, false, false).await.unwrap().changes.len(),
        0,
        "without prune nothing goes"
    );
    agent.kernel.add_flows(2, FlowState::Established, 3);
    refused(
        agent.apply(&smaller, false, true).await,
        ErrorCode::Refused,
        &["v2", "3 flow(s)"],
    );
    agent.kernel.state().flows.clear();
    let document = agent.apply(&smaller, false, true).await.unwrap();
    assert_eq!(document.changes[0].what, "set web/v2: removed");
    let other = smaller.replace("web:", "api:").replace(":80/tcp", ":81/tcp");
    agent.apply(&other, false, true).await.unwrap();
    let names: Vec<String> = agent.on_disk().aliases.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["api", "hand"], "what a command made is not the stack's");
}

#[tokio::test]
async fn a_new_alias_needs_a_split_and_another_stacks_alias_is_not_taken() {
    let agent = Agent::start().await;
    let bare = STACK.replace("    split: {v1: 100}\n", "");
    refused(
        agent.apply(&bare, false, false).await,
        ErrorCode::Invalid,
        &["'web' is new", "split"],
    );
    agent.apply(STACK, false, false).await.unwrap();
    let other = STACK.replace("stack: shop", "stack: other");
    refused(
        agent.apply(&other, false, false).await,
        ErrorCode::Refused,
        &["'shop'", "'other'"],
    );
}

#[tokio::test]
async fn a_failed_flip_leaves_everything_as_it_was() {
    let agent = Agent::with_web().await;
    let before = agent.on_disk();
    agent.kernel.state().fail_flip = true;
    refused(
        agent.split("web", &[("v2", 1)]).await,
        ErrorCode::HostFailed,
        &["nothing was changed"],
    );
    assert_eq!(agent.on_disk(), before);
    agent.kernel.state().fail_flip = false;
    assert_eq!(
        agent.status().await.aliases[0].split,
        BTreeMap::from([(set("v1"), 100)])
    );
    agent.split("web", &[("v2", 1)]).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_does_not_write_leaves_everything_as_it_was() {
    let agent = Agent::with_web().await;
    let file = agent.directory.path().join("desired.json");
    std::fs::rename(&file, agent.directory.path().join("kept")).unwrap();
    std::fs::create_dir(&file).unwrap();
    agent.kernel.take_calls();
    refused(
        agent.split("web", &[("v2", 1)]).await,
        ErrorCode::StoreFailed,
        &["desired.json", "make room"],
    );
    assert_eq!(flips(&agent), 0);
    assert_eq!(
        agent.status().await.aliases[0].split,
        BTreeMap::from([(set("v1"), 100)])
    );
}

#[tokio::test]
async fn bad_changes_are_refused_with_field_and_remedy() {
    let agent = Agent::with_web().await;
    let image = agent.kernel.state().image.clone();
    refused(
        agent.put_alias("api", 80).await,
        ErrorCode::Invalid,
        &["claimed twice", "'api'", "'web'"],
    );
    refused(
        agent.put_set("nope", "v1", &["10.1.0.2"]).await,
        ErrorCode::UnknownAlias,
        &["'nope'", "web"],
    );
    refused(
        agent.put_set("web", "v3", &[]).await,
        ErrorCode::Invalid,
        &["no backends"],
    );
    refused(
        agent.put_set("web", "v3", &["10.1.0.2", "10.1.0.2"]).await,
        ErrorCode::Invalid,
        &["twice"],
    );
    refused(
        agent.put_set("web", "v3", &["127.0.0.1:80"]).await,
        ErrorCode::Refused,
        &["loopback address", "ip address add", "another address of this host"],
    );
    refused(
        agent.put_set("web", "v3", &["198.51.100.10"]).await,
        ErrorCode::Invalid,
        &["round in circles"],
    );
    refused(
        agent.put_set("web", "v1", &["fd00::2"]).await,
        ErrorCode::Invalid,
        &["no IPv4 backend"],
    );
    refused(
        agent.split("web", &[("v9", 1)]).await,
        ErrorCode::UnknownSet,
        &["'v9'", "v1, v2"],
    );
    refused(
        agent.split("web", &[("v1", 0)]).await,
        ErrorCode::Invalid,
        &["no set a share"],
    );
    refused(agent.rollback("nope").await, ErrorCode::UnknownAlias, &[]);
    refused(agent.rollback("web").await, ErrorCode::Refused, &["no earlier split"]);
    let many: Vec<String> = (0..1_025).map(|n| format!("10.1.{}.{}", n / 250, n % 250)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    refused(
        agent.put_set("web", "v3", &many).await,
        ErrorCode::Invalid,
        &["1025", "1024"],
    );
    let error = agent.put_set("web", "v1", &["fd00::2"]).await.unwrap_err();
    assert_eq!(error.field.as_deref(), Some("aliases.web.sets.v1"));
    assert_eq!(
        agent.kernel.state().image.aliases,
        image.aliases,
        "the running image is untouched"
    );
}

#[tokio::test]
async fn bypass_is_refused_where_it_cannot_be() {
    let agent = Agent::with_web().await;
    agent.put_set("web", "far", &["192.0.2.9:80"]).await.unwrap();
    let listen = vec!["198.51.100.10:80/tcp".parse().unwrap()];
    let put = AliasPut {
        listen,
        path: PathPolicy::Bypass,
        udp: crate::model::UdpPolicy::Stay,
        shield: false,
        add_addresses: false,
        force: false,
    };
    agent.changes(Command::AliasPut(alias("web"), put)).await.unwrap();
    refused(
        agent.split("web", &[("far", 1)]).await,
        ErrorCode::Refused,
        &["192.0.2.9:80", "through eth9", "--path"],
    );
    assert!(matches!(
        agent.kernel.state().image.aliases[0].sets[0].backends[0].path,
        Path::Bypass { .. }
    ));
}

#[tokio::test]
async fn a_listener_that_takes_the_hosts_own_clients_is_refused_unless_forced() {
    let agent = Agent::start().await;
    let own: std::net::IpAddr = "198.51.100.10".parse().unwrap();
    agent.host.state().standing.own.insert(own);
    let epoch = agent.status().await.epoch;
    refused(
        agent.put_alias("door", 22).await,
        ErrorCode::Refused,
        &["198.51.100.10:22/tcp", "SSH", "--force"],
    );
    assert_eq!(agent.status().await.epoch, epoch);
    assert!(agent.on_disk().aliases.is_empty());
    let put = AliasPut {
        listen: vec!["198.51.100.10:22/tcp".parse().unwrap()],
        path: PathPolicy::Auto,
        udp: crate::model::UdpPolicy::Stay,
        shield: false,
        add_addresses: false,
        force: true,
    };
    let document = agent.changes(Command::AliasPut(alias("door"), put)).await.unwrap();
    assert!(document.warnings[0].contains("198.51.100.10:22/tcp"), "{document:?}");
    // It is there now: nothing more is asked.
    let again = agent.put_alias("door", 22).await.unwrap();
    assert_eq!((again.changes.len(), again.warnings.len()), (0, 0));
}

#[tokio::test]
async fn a_set_goes_only_without_share_and_flows() {
    let agent = Agent::with_web().await;
    let rm = |name: &str| agent.changes(Command::SetRm(alias("web"), set(name)));
    refused(rm("v1").await, ErrorCode::Refused, &["gets new flows", "v1=100"]);
    refused(rm("v9").await, ErrorCode::UnknownSet, &["v1, v2"]);
    agent.kernel.add_flows(2, FlowState::Pending, 1);
    refused(rm("v2").await, ErrorCode::Refused, &["1 flow(s)"]);
    agent.kernel.state().flows.clear();
    rm("v2").await.unwrap();
}

#[tokio::test]
async fn a_number_that_flows_name_is_not_given_away() {
    let agent = Agent::with_web().await;
    agent.kernel.add_flows(2, FlowState::Closing, 1);
    agent.changes(Command::SetRm(alias("web"), set("v2"))).await.unwrap();
    agent.put_set("web", "v3", &["10.1.2.2"]).await.unwrap();
    assert_eq!(agent.on_disk().aliases[&alias("web")].sets[&set("v3")].id, 3);
    agent.kernel.state().flows.clear();
    agent.kernel.take_calls();
    agent.put_set("web", "v4", &["10.1.3.2"]).await.unwrap();
    assert_eq!(agent.on_disk().aliases[&alias("web")].sets[&set("v4")].id, 2);
    assert!(
        agent.kernel.take_calls().contains(&"clear 2".to_owned()),
        "it begins with zeroes"
    );
}

#[tokio::test]
async fn one_apply_does_not_give_a_removed_sets_number_to_a_new_one() {
    let agent = Agent::start().await;
    agent.apply(STACK, false, false).await.unwrap();
    let other = STACK.replace("web:", "api:").replace(":80/tcp", ":81/tcp");
    agent.apply(&other, false, true).await.unwrap();
    let ids: Vec<u32> = agent.on_disk().set_ids().collect();
    assert_eq!(ids, [3, 4]);
}

#[tokio::test]
async fn a_backend_that_stays_keeps_its_number() {
    let agent = Agent::with_web().await;
    let id_of = |desired: &Desired| {
        let backends = &desired.aliases[&alias("web")].sets[&set("v1")].backends;
        backends
            .iter()
            .find(|backend| backend.address.to_string() == "10.1.0.2:8080")
            .unwrap()
            .id
    };
    let before = id_of(&agent.on_disk());
    let document = agent
        .put_set("web", "v1", &["10.1.0.9:8080", "10.1.0.2:8080"])
        .await
        .unwrap();
    assert_eq!(document.changes[0].what, "set web/v1: backends +10.1.0.9:8080");
    assert_eq!(id_of(&agent.on_disk()), before);
}

#[tokio::test]
async fn rollback_restores_the_split_to_the_hash() {
    let agent = Agent::with_web().await;
    agent.split("web", &[("v1", 70), ("v2", 30)]).await.unwrap();
    let before = agent.kernel.state().image.aliases[0].segments.clone();
    agent.split("web", &[("v1", 20), ("v2", 80)]).await.unwrap();
    let receipt = agent.rollback("web").await.unwrap();
    assert_eq!(receipt.outcome, Outcome::Done);
    assert_eq!(agent.kernel.state().image.aliases[0].segments, before);
    agent.rollback("web").await.unwrap();
    assert_eq!(
        agent.status().await.aliases[0].split[&set("v2")],
        80,
        "it is itself a change"
    );
}

#[tokio::test]
async fn rollback_to_a_set_that_is_gone_is_refused() {
    let agent = Agent::with_web().await;
    agent.split("web", &[("v2", 1)]).await.unwrap();
    agent.changes(Command::SetRm(alias("web"), set("v1"))).await.unwrap();
    refused(
        agent.rollback("web").await,
        ErrorCode::Refused,
        &["'v1' was removed", "set put"],
    );
}

#[tokio::test]
async fn a_command_whose_time_is_up_changes_nothing() {
    let agent = Agent::with_web().await;
    flips(&agent);
    let request = SplitRequest {
        weights: BTreeMap::from([(set("v2"), 1.try_into().unwrap())]),
    };
    let answer = agent
        .ask_within(Command::Split(alias("web"), request), Duration::ZERO)
        .await;
    refused(answer, ErrorCode::TimedOut, &["--timeout"]);
    assert_eq!(flips(&agent), 0);
    assert!(!agent.on_disk().aliases[&alias("web")].split.has(&set("v2")));
}

#[tokio::test]
async fn the_last_look_at_the_host_serves_changes_of_shares() {
    let agent = Agent::with_web().await;
    let looks = agent.host.state().looks;
    let began = Instant::now();
    for weight in 1..=8 {
        agent.split("web", &[("v1", 10), ("v2", weight)]).await.unwrap();
    }
    let ticks = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!(agent.host.state().looks <= looks + ticks, "only ticks look");
}
