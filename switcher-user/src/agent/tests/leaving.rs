//! Containers that are told to leave.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::watch;

use super::super::interest::Discovery;
use super::*;
use crate::api::{ContainersRequest, LeavingDocument};
use crate::discovery::{Address, Container, Health, LABEL_PROJECT, LABEL_SERVICE, Readiness, Seen, Snapshot};
use crate::kernel::FlowState;
use crate::model::ContainerSource;

fn seen(name: &str, address: &str, readiness: Readiness) -> Seen {
    let labels = [(LABEL_PROJECT, "shop"), (LABEL_SERVICE, "v1")];
    let labels: HashMap<String, String> = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let at = Address {
        network: "bridge".to_owned(),
        address: address.parse().unwrap(),
    };
    Seen {
        container: Container {
            id: name.to_owned(),
            name: name.to_owned(),
            image: "app".to_owned(),
            labels,
            addresses: vec![at],
            ports: vec![80],
            running: true,
            exit_code: None,
            on_host_network: false,
            health: Health::Unchecked,
        },
        readiness,
        asked: BTreeSet::from([80]),
        open: BTreeSet::from([format!("{address}:80").parse().unwrap()]),
        pid: None,
    }
}

fn snapshot(containers: Vec<Seen>) -> Arc<Snapshot> {
    Arc::new(Snapshot {
        listed: true,
        containers,
        ..Snapshot::default()
    })
}

/// One whose alias `web` has everything at set `v1`, which follows a service of two containers.
async fn two_containers() -> (Agent, watch::Sender<Arc<Snapshot>>) {
    let both = ["a", "b"].iter().zip(["10.1.0.2", "10.1.0.3"]);
    let both = both
        .map(|(name, address)| seen(name, address, Readiness::Ready))
        .collect();
    let (publish, snapshots) = watch::channel(snapshot(both));
    let beside = Beside {
        containers: Some(Discovery::new(snapshots, watch::Sender::default())),
        ..Beside::default()
    };
    let (directory, kernel, host) = (TempDir::new().unwrap(), Fake::default(), FakeHost::default());
    let agent = Agent::start_at(directory, kernel, host, &[], beside).await;
    agent.put_alias("web", 80).await.unwrap();
    agent.pin_both().await;
    agent.split("web", &[("v1", 100)]).await.unwrap();
    (agent, publish)
}

impl Agent {
    /// Says that `web/v1` follows the service, and names both containers of it.
    async fn pin_both(&self) {
        let put = SetPut {
            backends: vec!["10.1.0.2:80".parse().unwrap(), "10.1.0.3:80".parse().unwrap()],
            health: None,
            containers: Some(ContainerSource::Service {
                project: "shop".parse().unwrap(),
                service: set("v1"),
                hashes: Vec::new(),
                port: std::num::NonZeroU16::new(80),
            }),
        };
        self.changes(Command::SetPut(alias("web"), set("v1"), put))
            .await
            .unwrap();
    }

    async fn leave(&self, ids: &[&str]) -> Result<LeavingDocument, ApiError> {
        let ids = ids.iter().map(ToString::to_string).collect();
        self.leaving(Command::Leave(ContainersRequest { ids })).await
    }

    async fn stay(&self, ids: &[&str]) -> Result<LeavingDocument, ApiError> {
        let ids = ids.iter().map(ToString::to_string).collect();
        self.leaving(Command::Stay(ContainersRequest { ids })).await
    }

    async fn leaving(&self, command: Command) -> Result<LeavingDocument, ApiError> {
        match self.ask(command).await? {
            Reply::Leaving(document) => Ok(*document),
            other => panic!("no leaving: {other:?}"),
        }
    }

    /// The backends of `web/v1`.
    async fn backends(&self) -> Vec<String> {
        let status = self.status().await;
        let backends = status.aliases[0].sets[0].backends.iter();
        backends.map(|backend| backend.address.to_string()).collect()
    }
}

#[tokio::test]
async fn who_leaves_gets_nothing_new_until_it_is_told_to_stay() {
    let (agent, publish) = two_containers().await;
    agent.kernel.add_flows(1, FlowState::Established, 2);
    for flow in &mut agent.kernel.state().flows {
        flow.backend = "10.1.0.3:80".parse().unwrap();
    }
    let document = agent.leave(&["b"]).await.unwrap();
    assert_eq!((document.flows(), document.containers[0].name.as_str()), (2, "b"));
    assert!(document.for_ms.is_some());
    assert_eq!(agent.backends().await, ["10.1.0.2:80"]);
    // Asked again it says what is left by then.
    agent.kernel.state().flows.pop();
    let epoch = document.epoch;
    let document = agent.leave(&["b"]).await.unwrap();
    assert_eq!(
        (document.flows(), document.epoch),
        (1, epoch),
        "nothing changes by that"
    );
    agent.stay(&["b"]).await.unwrap();
    assert_eq!(agent.backends().await, ["10.1.0.2:80", "10.1.0.3:80"]);
    // What the table still says of one that has ended is nothing to wait for.
    let mut ended = seen("b", "10.1.0.3", Readiness::Not("it does not run"));
    ended.container.running = false;
    publish.send_replace(snapshot(vec![seen("a", "10.1.0.2", Readiness::Ready), ended]));
    assert_eq!(agent.leave(&["b"]).await.unwrap().flows(), 0);
}

#[tokio::test]
async fn the_last_that_serves_does_not_leave() {
    let (agent, publish) = two_containers().await;
    refused(
        agent.leave(&["a", "b"]).await,
        ErrorCode::Refused,
        &["web/v1", "nothing was changed"],
    );
    agent.leave(&["a"]).await.unwrap();
    refused(agent.leave(&["b"]).await, ErrorCode::Refused, &["without container b"]);
    assert_eq!(agent.backends().await, ["10.1.0.3:80"]);
    agent.stay(&["a"]).await.unwrap();
    // One that is not ready serves nobody either.
    let sick = Readiness::Not("its health check fails");
    let sick = vec![seen("a", "10.1.0.2", sick), seen("b", "10.1.0.3", Readiness::Ready)];
    publish.send_replace(snapshot(sick));
    refused(agent.leave(&["b"]).await, ErrorCode::Refused, &["without container b"]);
    // Where the set has no share nobody is sent there.
    agent.put_set("web", "v2", &["10.1.1.2:80"]).await.unwrap();
    agent.split("web", &[("v2", 100)]).await.unwrap();
    agent.leave(&["b"]).await.unwrap();
}

#[tokio::test]
async fn what_was_given_by_hand_and_gets_connections_keeps_a_container() {
    let (agent, _publish) = two_containers().await;
    agent.put_set("web", "hand", &["10.1.0.3:80"]).await.unwrap();
    agent.split("web", &[("v1", 1), ("hand", 1)]).await.unwrap();
    refused(
        agent.leave(&["b"]).await,
        ErrorCode::Refused,
        &["web/hand", "by hand", "container b"],
    );
    assert_eq!(agent.backends().await, ["10.1.0.3:80"], "web/hand is the first by name");
}

#[tokio::test]
async fn an_agent_that_follows_no_containers_says_so() {
    let agent = Agent::with_web().await;
    refused(agent.leave(&["a"]).await, ErrorCode::Refused, &["--docker"]);
}

#[tokio::test]
async fn a_set_that_is_to_follow_begins_with_who_is_ready() {
    let (agent, publish) = two_containers().await;
    let sick = Readiness::Not("its health check fails");
    let mut half = seen("a", "10.1.0.2", Readiness::Ready);
    half.container.addresses.push(Address {
        network: "bridge".to_owned(),
        address: "fd00::2".parse().unwrap(),
    });
    publish.send_replace(snapshot(vec![half, seen("b", "10.1.0.3", sick.clone())]));
    agent.pin_both().await;
    assert_eq!(agent.backends().await, ["10.1.0.2:80"]);
    // Where none is ready, those that are named are better than none.
    let none = vec![seen("a", "10.1.0.2", sick.clone()), seen("b", "10.1.0.3", sick)];
    publish.send_replace(snapshot(none));
    agent.pin_both().await;
    assert_eq!(agent.backends().await, ["10.1.0.2:80", "10.1.0.3:80"]);
}

#[tokio::test]
async fn on_the_hosts_network_a_container_holds_what_leads_to_its_own_ports() {
    let (agent, publish) = two_containers().await;
    let on_host = |name: &str, service: &str| {
        let mut one = seen(name, "10.1.0.2", Readiness::Ready);
        one.container.on_host_network = true;
        one.container
            .labels
            .insert(LABEL_SERVICE.to_owned(), service.to_owned());
        one
    };
    let all = vec![
        on_host("a", "v1"),
        on_host("b", "worker"),
        seen("c", "10.1.0.4", Readiness::Ready),
    ];
    publish.send_replace(snapshot(all));
    agent.kernel.add_flows(1, FlowState::Established, 3);
    for (flow, port) in agent.kernel.state().flows.iter_mut().zip([80, 80, 9000]) {
        flow.backend = format!("10.1.0.2:{port}").parse().unwrap();
    }
    assert_eq!(agent.leave(&["a"]).await.unwrap().flows(), 2);
    assert_eq!(agent.leave(&["b"]).await.unwrap().flows(), 1);
}
