//! Addresses that the agent adds: recorded first, and only ours are taken away, whenever it dies.

use super::*;
use crate::kernel::FlowState;
use crate::model::{AddedAddress, UdpPolicy};
use crate::net::HostAddress;

fn put(listener: &str, add_addresses: bool, force: bool) -> Command {
    let put = AliasPut {
        listen: vec![listener.parse().unwrap()],
        path: PathPolicy::Auto,
        udp: UdpPolicy::Stay,
        shield: false,
        add_addresses,
        force,
    };
    Command::AliasPut(alias("web"), put)
}

const NEAR: &str = "10.0.0.50:80/tcp";

fn record(directory: &TempDir) -> Vec<String> {
    let record = crate::store::addresses_of(directory.path()).unwrap();
    record
        .iter()
        .map(|one| format!("{} of {}", one.address, one.interface))
        .collect()
}

async fn after_a_tick() {
    tokio::time::sleep(Duration::from_millis(2_300)).await;
}

#[tokio::test]
async fn the_record_is_on_the_disk_before_the_address_is_on_the_host() {
    let agent = Agent::start().await;
    agent.changes(put(NEAR, true, false)).await.unwrap();
    let seen = agent.host.state().records_at_add.clone();
    assert!(seen.len() == 1 && seen[0].contains("10.0.0.50"), "{seen:?}");
    assert_eq!(agent.host.has(), ["10.0.0.50 of 1"]);
    let status = agent.status().await;
    let shown = &status.addresses[0];
    assert_eq!((shown.interface.as_str(), shown.added), ("lo", true), "{shown:?}");
    assert_eq!(shown.alias, Some(alias("web")));
    agent.changes(Command::AliasRm(alias("web"))).await.unwrap();
    assert_eq!((agent.host.has().len(), record(&agent.directory).len()), (0, 0));
}

#[tokio::test]
async fn an_alias_that_does_not_ask_for_it_gets_a_warning_and_no_address() {
    let agent = Agent::start().await;
    let document = agent.changes(put(NEAR, false, false)).await.unwrap();
    assert!(document.warnings[0].contains("--add-addresses"), "{document:?}");
    let far = agent.changes(put("198.51.100.10:80/tcp", false, false)).await.unwrap();
    assert_eq!(far.warnings, [""; 0]);
    assert_eq!(agent.host.has(), [""; 0]);
    agent.changes(put("198.51.100.10:80/tcp", true, false)).await.unwrap();
    assert_eq!(agent.host.has(), ["198.51.100.10 of 1"]);
    // Taken out of the alias again, it goes.
    agent.changes(put("198.51.100.10:80/tcp", false, false)).await.unwrap();
    assert_eq!(agent.host.has(), [""; 0]);
}

#[tokio::test]
async fn an_address_that_another_host_has_is_refused_with_its_link_address() {
    let agent = Agent::start().await;
    agent.host.state().holder = Some(vec![2, 0, 0, 0, 0, 0x2a]);
    let epoch = agent.status().await.epoch;
    refused(
        agent.changes(put(NEAR, true, false)).await,
        ErrorCode::Refused,
        &["10.0.0.50", "02:00:00:00:00:2a on eth9", "--force"],
    );
    assert_eq!(agent.status().await.epoch, epoch);
    assert_eq!((agent.host.has().len(), record(&agent.directory).len()), (0, 0));
    agent.changes(put(NEAR, true, true)).await.unwrap();
    assert_eq!(agent.host.has(), ["10.0.0.50 of 1"]);
}

#[tokio::test]
async fn an_address_that_was_there_before_stays() {
    let agent = Agent::start().await;
    let before = HostAddress {
        address: "10.0.0.50".parse().unwrap(),
        ifindex: 2,
        marked: false,
    };
    agent.host.state().addresses.push(before);
    agent.changes(put(NEAR, true, false)).await.unwrap();
    assert_eq!(record(&agent.directory), [""; 0]);
    let status = agent.status().await;
    assert!(
        !status.addresses[0].added && status.addresses[0].why.contains("there before"),
        "{status:?}"
    );
    agent.changes(Command::AliasRm(alias("web"))).await.unwrap();
    agent.ask(Command::Detach).await.unwrap();
    assert_eq!(agent.host.has(), ["10.0.0.50 of 2"]);
}

#[tokio::test]
async fn an_address_that_somebody_put_in_the_place_of_ours_stays() {
    let agent = Agent::start().await;
    agent.changes(put(NEAR, true, false)).await.unwrap();
    agent.host.state().addresses[0].marked = false;
    agent.changes(Command::AliasRm(alias("web"))).await.unwrap();
    assert_eq!(agent.host.has(), ["10.0.0.50 of 1"]);
    assert_eq!(record(&agent.directory), [""; 0], "and is not ours any more");
}

#[tokio::test]
async fn a_change_that_fails_takes_its_addresses_back() {
    let agent = Agent::start().await;
    agent.kernel.state().fail_flip = true;
    refused(
        agent.changes(put(NEAR, true, false)).await,
        ErrorCode::HostFailed,
        &["flipping"],
    );
    agent.kernel.state().fail_flip = false;
    agent.host.state().fail_add = true;
    refused(
        agent.changes(put(NEAR, true, false)).await,
        ErrorCode::HostFailed,
        &["adding 10.0.0.50"],
    );
    assert_eq!((agent.host.has().len(), record(&agent.directory).len()), (0, 0));
    assert!(agent.on_disk().aliases.is_empty());
}

#[tokio::test]
async fn an_address_stays_while_a_live_flow_names_it() {
    let agent = Agent::start().await;
    agent.changes(put("192.0.2.1:80/tcp", true, false)).await.unwrap();
    // Its listener, in the fake kernel, is 192.0.2.1.
    agent.kernel.add_flows(9, FlowState::Established, 1);
    agent.changes(Command::AliasRm(alias("web"))).await.unwrap();
    after_a_tick().await;
    assert_eq!(agent.host.has(), ["192.0.2.1 of 1"]);
    let status = agent.status().await;
    assert!(status.addresses[0].why.contains("last flow"), "{:?}", status.addresses);
    agent.kernel.state().flows[0].state = FlowState::Closing;
    after_a_tick().await;
    assert_eq!(agent.host.has(), [""; 0]);
}

#[tokio::test]
async fn an_agent_that_died_between_record_and_answer_leaves_nothing() {
    for address_is_there in [false, true] {
        let agent = Agent::start().await;
        let (kernel, host, directory) = agent.end().await;
        let (address, marked) = ("10.0.0.50".parse().unwrap(), true);
        let left = AddedAddress {
            address,
            interface: "lo".to_owned(),
            forced: false,
        };
        Store::open(directory.path()).unwrap().save_addresses(&[left]).unwrap();
        if address_is_there {
            host.state().addresses.push(HostAddress {
                address,
                ifindex: 1,
                marked,
            });
        }
        let agent = Agent::start_in(directory, kernel, host).await;
        assert_eq!((agent.host.has().len(), record(&agent.directory).len()), (0, 0));
    }
}

#[tokio::test]
async fn an_address_that_is_gone_comes_back_and_not_against_another_host() {
    let agent = Agent::start().await;
    agent.changes(put(NEAR, true, false)).await.unwrap();
    agent.host.state().addresses.clear();
    after_a_tick().await;
    assert_eq!(agent.host.has(), ["10.0.0.50 of 1"]);
    let (kernel, host, directory) = agent.end().await;
    host.state().addresses.clear();
    host.state().holder = Some(vec![2, 0, 0, 0, 0, 0x2a]);
    let agent = Agent::start_in(directory, kernel, host).await;
    assert_eq!(agent.host.has(), [""; 0]);
    let status = agent.status().await;
    assert!(
        status.addresses[0].why.contains("02:00:00:00:00:2a"),
        "{:?}",
        status.addresses
    );
}

#[tokio::test]
async fn detach_takes_all_of_ours() {
    let agent = Agent::start().await;
    agent.changes(put(NEAR, true, false)).await.unwrap();
    agent.kernel.add_flows(9, FlowState::Established, 1);
    let Reply::Detached(document) = agent.ask(Command::Detach).await.unwrap() else {
        panic!("not detached")
    };
    assert_eq!(document.removed.last().unwrap(), "address 10.0.0.50 of lo");
    assert_eq!((agent.host.has().len(), record(&agent.directory).len()), (0, 0));
}
