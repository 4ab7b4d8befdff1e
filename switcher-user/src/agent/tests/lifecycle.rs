//! Start, tick, detach.

use super::*;
use crate::agent::AgentError;
use crate::image::Path;
use crate::model::HookPolicy;

/// The hook of an interface of clients, and why.
async fn edge(agent: &Agent, name: &str) -> (String, String) {
    let attached = agent.status().await.attached;
    let mut edges = attached.into_iter().filter(|one| one.role == "edge");
    let edge = edges.find(|one| one.interface == name).expect("it is shown");
    (edge.hook, edge.why)
}

async fn with_xdp() -> Agent {
    let beside = Beside {
        hook: HookPolicy::Xdp,
        ..Beside::default()
    };
    let directory = TempDir::new().unwrap();
    Agent::start_at(directory, Fake::default(), FakeHost::default(), &[], beside).await
}

fn bypass() -> Command {
    let put = AliasPut {
        listen: vec!["198.51.100.10:80/tcp".parse().unwrap()],
        path: PathPolicy::Bypass,
        udp: crate::model::UdpPolicy::Stay,
        shield: false,
        add_addresses: false,
        force: false,
    };
    Command::AliasPut(alias("web"), put)
}

#[tokio::test]
async fn the_start_attaches_then_installs_above_the_kernels_epoch() {
    let kernel = Fake::default();
    kernel.state().image.epoch = 41;
    let directory = TempDir::new().unwrap();
    Store::open(directory.path())
        .unwrap()
        .save(&Desired::default())
        .unwrap();
    let agent = Agent::start_in(directory, kernel, FakeHost::default()).await;
    let calls = agent.kernel.take_calls();
    assert_eq!(calls[..3], ["attach eth9 2 Edge", "flip 42", "refresh"]);
}

#[tokio::test]
async fn a_restart_reinstalls_what_is_on_the_disk() {
    let agent = Agent::with_web().await;
    let image = agent.kernel.state().image.clone();
    let Agent {
        kernel,
        host,
        directory,
        commands,
        _stop,
    } = agent;
    drop((commands, _stop));
    let copy = TempDir::new().unwrap();
    std::fs::copy(directory.path().join("desired.json"), copy.path().join("desired.json")).unwrap();
    let agent = Agent::start_in(copy, kernel, host).await;
    let again = agent.kernel.state().image.clone();
    assert_eq!(again.aliases, image.aliases);
    assert!(again.epoch > image.epoch);
}

#[tokio::test]
async fn a_start_without_interfaces_says_so() {
    let host = FakeHost::default();
    host.state().edges.clear();
    let directory = TempDir::new().unwrap();
    let start = |interfaces: Vec<String>| {
        let (host, store) = (host.clone(), Store::open(directory.path()).unwrap());
        async move {
            Owner::start(
                Fake::default(),
                host,
                store,
                Desired::default(),
                &interfaces,
                Beside::default(),
            )
            .await
        }
    };
    let error = start(Vec::new()).await.unwrap_err();
    assert!(matches!(error, AgentError::NoDefaultInterface), "{error}");
    assert!(error.to_string().contains("--interface"), "{error}");
    let error = start(vec!["eth7".to_owned()]).await.unwrap_err().to_string();
    assert!(error.contains("'eth7'") && error.contains("eth9"), "{error}");
}

#[tokio::test]
async fn a_tick_follows_a_veth_that_was_made_anew() {
    let agent = Agent::with_web().await;
    agent.kernel.take_calls();
    agent.host.state().veth_ifindex = 11;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let calls = agent.kernel.take_calls();
    let at = |wanted: &str| calls.iter().position(|call| call.starts_with(wanted)).expect(wanted);
    assert!(at("attach veth9 11 Backend") < at("flip"), "{calls:?}");
    let path = agent.kernel.state().image.aliases[0].sets[0].backends[0].path;
    assert_eq!(path, Path::Bypass { ifindex: 11 });
}

#[tokio::test]
async fn a_tick_takes_the_stack_when_firewall_rules_appear() {
    let agent = Agent::with_web().await;
    agent
        .host
        .state()
        .firewall
        .push("table inet filter drops things".to_owned());
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(
        agent.kernel.state().image.aliases[0].sets[0].backends[0].path,
        Path::Stack
    );
    let status = agent.status().await;
    assert_eq!(status.firewall, ["table inet filter drops things"]);
    assert!(status.aliases[0].sets[0].backends[0].why.contains("firewall"));
}

#[tokio::test]
async fn indexes_that_were_not_looked_at_are_not_kept_fresh() {
    let agent = Agent::with_web().await;
    agent.host.state().fail = true;
    tokio::time::sleep(Duration::from_millis(100)).await;
    agent.kernel.take_calls();
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    assert_eq!(agent.kernel.take_calls(), Vec::<String>::new());
    agent.host.state().fail = false;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(agent.kernel.take_calls().contains(&"refresh".to_owned()));
}

#[tokio::test]
async fn detach_removes_everything_and_ends_the_agent() {
    let agent = Agent::with_web().await;
    let answer = agent.ask(Command::Detach).await.unwrap();
    assert!(matches!(answer, Reply::Detached(document) if document.removed == ["everything"]));
    agent.commands.closed().await;
    assert_eq!(agent.kernel.take_calls().pop(), Some("detach".to_owned()));
}

#[tokio::test]
async fn a_kernel_that_serves_and_no_state_is_refused() {
    let directory = TempDir::new().unwrap();
    let kernel = Fake::default();
    kernel.state().image.epoch = 41;
    let store = Store::open(directory.path()).unwrap();
    let error = Owner::start(
        kernel.clone(),
        FakeHost::default(),
        store,
        Desired::default(),
        &[],
        Beside::default(),
    )
    .await
    .unwrap_err()
    .to_string();
    for words in ["epoch 41", "desired.json", "switcher detach"] {
        assert!(error.contains(words), "'{words}' is not in: {error}");
    }
    assert_eq!(kernel.take_calls(), Vec::<String>::new(), "nothing was touched");
}

#[tokio::test]
async fn an_agent_without_a_change_starts_again() {
    let agent = Agent::start().await;
    let (kernel, host, directory) = agent.end().await;
    let agent = Agent::start_in(directory, kernel, host).await;
    assert_eq!(agent.status().await.epoch, 2);
}

#[tokio::test]
async fn the_epoch_outlives_a_stop_and_a_detach() {
    let agent = Agent::with_web().await;
    agent.host.state().veth_ifindex = 11;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let epoch = agent.status().await.epoch;
    assert!(epoch > agent.on_disk().epoch, "a tick flipped");
    let (kernel, host, directory) = agent.end().await;
    assert_eq!(on_disk(&directory).epoch, epoch);
    let agent = Agent::start_in(directory, kernel, host).await;
    agent.host.state().veth_ifindex = 12;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let epoch = agent.status().await.epoch;
    agent.ask(Command::Detach).await.unwrap();
    assert_eq!(agent.on_disk().epoch, epoch);
}

#[tokio::test]
async fn an_agent_whose_detach_failed_ends() {
    let agent = Agent::with_web().await;
    agent.kernel.state().fail_detach = true;
    refused(
        agent.ask(Command::Detach).await,
        ErrorCode::Unknown,
        &["switcher detach"],
    );
    tokio::time::timeout(Duration::from_secs(5), agent.commands.closed())
        .await
        .expect("it has nothing left to work with");
}

#[tokio::test]
async fn one_veth_that_cannot_be_attached_to_stops_nothing() {
    let agent = Agent::with_web().await;
    let (kernel, host, directory) = agent.end().await;
    kernel.state().fail_attach = Some("veth9".to_owned());
    let agent = Agent::start_in(directory, kernel, host).await;
    let path = || agent.kernel.state().image.aliases[0].sets[0].backends[0].path;
    assert_eq!(path(), Path::Stack);
    let status = agent.status().await;
    assert!(status.notes[0].contains("veth9"), "{:?}", status.notes);
    assert!(status.aliases[0].sets[0].backends[0].why.contains("attach"));
    finished(agent.upgrade(&upgrade("v2", 0), LONG).await.unwrap()).await;
    agent.kernel.state().fail_attach = None;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(path(), Path::Bypass { ifindex: 10 }, "a tick tries again");
}

#[tokio::test]
async fn a_bypass_that_was_asked_for_and_cannot_be_attached_is_refused() {
    let agent = Agent::with_web().await;
    agent.changes(bypass()).await.unwrap();
    agent.host.state().veth_ifindex = 12;
    agent.kernel.state().fail_attach = Some("veth9".to_owned());
    refused(
        agent.put_set("web", "v1", &["10.1.0.3"]).await,
        ErrorCode::HostFailed,
        &["attaching", "nothing was changed"],
    );
    assert_eq!(
        agent.on_disk().aliases[&alias("web")].sets[&set("v1")].backends.len(),
        1
    );
}

#[tokio::test]
async fn an_interface_that_takes_no_hook_does_not_stop_the_following() {
    let agent = Agent::with_web().await;
    agent.kernel.state().fail_attach = Some("eth9".to_owned());
    agent.host.state().edge_ifindex = 20;
    agent.host.state().firewall.push("table inet filter drops".to_owned());
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    agent.kernel.take_calls();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let calls = agent.kernel.take_calls();
    assert!(calls.contains(&"refresh".to_owned()), "{calls:?}");
    let path = agent.kernel.state().image.aliases[0].sets[0].backends[0].path;
    assert_eq!(path, Path::Stack, "the rule is not walked past");
    let (hook, why) = edge(&agent, "eth9").await;
    assert!(hook == "none" && why.contains("attaching"), "{hook}: {why}");
    agent.kernel.state().fail_attach = None;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(edge(&agent, "eth9").await.0, "tc", "a tick tries again");
}

#[tokio::test]
async fn an_interface_that_is_gone_is_attached_no_more_and_denies_nothing() {
    let agent = with_xdp().await;
    agent.put_alias("web", 80).await.unwrap();
    agent.put_set("web", "v1", &["10.1.0.2:8080"]).await.unwrap();
    agent.split("web", &[("v1", 100)]).await.unwrap();
    assert_eq!(edge(&agent, "eth9").await.0, "xdp");
    refused(agent.changes(bypass()).await, ErrorCode::Refused, &["hook is xdp"]);
    agent.host.state().edge_ifindex = 0;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let (hook, why) = edge(&agent, "eth9").await;
    assert!(hook == "none" && why.contains("no such interface"), "{hook}: {why}");
    agent.changes(bypass()).await.unwrap();
    agent.kernel.take_calls();
    // The kernel gives indexes anew: what counts is that it was gone.
    agent.host.state().edge_ifindex = 2;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let calls = agent.kernel.take_calls();
    assert!(calls.contains(&"attach_xdp eth9 2".to_owned()), "{calls:?}");
    assert_eq!(edge(&agent, "eth9").await.0, "xdp");
}

#[tokio::test]
async fn an_agent_that_saw_an_interface_go_can_be_started_again() {
    let agent = Agent::with_web().await;
    let (kernel, host, directory) = agent.end().await;
    let edges = ["eth9", "eth7"];
    let agent = Agent::start_at(directory, kernel, host, &edges, Beside::default()).await;
    assert_eq!(edge(&agent, "eth9").await.0, "tc");
    let (hook, why) = edge(&agent, "eth7").await;
    assert!(hook == "none" && why.contains("no such interface"), "{hook}: {why}");
}
