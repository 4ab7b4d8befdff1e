//! Health checks: who gets no new flows, and upgrades to sets that fail theirs. Commands stand for servers.

use super::*;
use crate::model::{HealthSpec, Outcome, Probe};

/// A check that passes while the file is there; quick.
fn check(file: &std::path::Path) -> HealthSpec {
    HealthSpec {
        interval_ms: 20,
        ..HealthSpec::new(Probe::Command(format!("test -e {}", file.display())))
    }
}

impl Agent {
    async fn put_checked(
        &self,
        set: &str,
        backends: &[&str],
        health: Option<HealthSpec>,
    ) -> Result<ChangesDocument, ApiError> {
        let backends = backends.iter().map(|backend| backend.parse().unwrap()).collect();
        self.changes(Command::SetPut(
            alias("web"),
            set.parse().unwrap(),
            SetPut {
                backends,
                health,
                containers: None,
            },
        ))
        .await
    }

    /// Backends of the first set of `web` in the image.
    fn in_image(&self) -> Vec<String> {
        let state = self.kernel.state();
        let set = &state.image.aliases[0].sets[0];
        set.backends.iter().map(|backend| backend.address.to_string()).collect()
    }

    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + LONG;
        while !is(self) {
            assert!(Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn an_unhealthy_backend_gets_no_new_flows_until_it_is_well_and_a_new_one_has_to_be_proven() {
    let agent = Agent::with_web().await;
    let up = agent.directory.path().join("up");
    let only_second = format!("test -e {} || test $SWITCHER_BACKEND = 10.1.0.3:8080", up.display());
    let spec = HealthSpec {
        interval_ms: 20,
        ..HealthSpec::new(Probe::Command(only_second))
    };
    agent
        .put_checked("v1", &["10.1.0.2:8080", "10.1.0.3:8080"], Some(spec))
        .await
        .unwrap();
    agent
        .until("the first leaves", |agent| agent.in_image() == ["10.1.0.3"])
        .await;
    let status = agent.status().await;
    let health = |at: usize| status.aliases[0].sets[0].backends[at].health.clone().unwrap();
    assert!(health(0).contains("command failed"), "{}", health(0));
    assert_eq!(health(1), "healthy");
    std::fs::write(&up, "").unwrap();
    agent
        .until("it comes back", |agent| agent.in_image() == ["10.1.0.2", "10.1.0.3"])
        .await;
}

/// A backend that may fail is better than none.
#[tokio::test]
async fn the_last_backends_stay_and_status_says_so() {
    let agent = Agent::with_web().await;
    let never = check(std::path::Path::new("/nonexistent"));
    agent.put_checked("v1", &["10.1.0.2:8080"], Some(never)).await.unwrap();
    let deadline = Instant::now() + LONG;
    loop {
        let status = agent.status().await;
        assert_eq!(agent.in_image(), ["10.1.0.2"]);
        if status.notes.iter().any(|note| note.contains("panic")) {
            break;
        }
        assert!(Instant::now() < deadline, "{:?}", status.notes);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_upgrade_to_a_set_that_fails_is_refused_and_changes_nothing() {
    let agent = Agent::with_web().await;
    let never = check(std::path::Path::new("/nonexistent"));
    agent.put_checked("v2", &["10.1.1.2:8080"], Some(never)).await.unwrap();
    let epoch = agent.status().await.epoch;
    // Asked before it is known, and once it is.
    let mut progress = agent.upgrade(&upgrade("v2", 0), LONG).await.unwrap();
    let end = progress.wait_for(Progress::is_end);
    let end = tokio::time::timeout(LONG, end).await.unwrap().unwrap().clone();
    let Progress::Refused { error, .. } = end else {
        panic!("{end:?}")
    };
    assert_eq!(error.code, ErrorCode::Refused);
    assert!(error.message.contains("nothing was changed"), "{error}");
    refused(
        agent.upgrade(&upgrade("v2", 0), LONG).await,
        ErrorCode::Refused,
        &["web/v2", "health check"],
    );
    assert_eq!(agent.status().await.epoch, epoch);
    assert!(agent.on_disk().rollouts.is_empty());
}

/// Whoever goes back in need may have nothing better, but is told.
#[tokio::test]
async fn a_set_that_fails_gets_its_share_from_rollback_and_split_with_a_word() {
    let agent = Agent::with_web().await;
    let never = check(std::path::Path::new("/nonexistent"));
    agent.put_checked("v2", &["10.1.1.2:8080"], None).await.unwrap();
    finished(agent.upgrade(&upgrade("v2", 0), LONG).await.unwrap()).await;
    let healthy = agent.rollback("web").await.unwrap();
    assert!(healthy.warnings.is_empty(), "{:?}", healthy.warnings);
    agent.put_checked("v2", &["10.1.1.2:8080"], Some(never)).await.unwrap();
    let deadline = Instant::now() + LONG;
    loop {
        let status = agent.status().await;
        let health = status.aliases[0].sets[1].backends[0].health.clone();
        if health.is_some_and(|health| health.contains("failed")) {
            break;
        }
        assert!(Instant::now() < deadline, "it is known to fail");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let receipt = agent.rollback("web").await.unwrap();
    assert_eq!(receipt.outcome, Outcome::Done);
    let [word] = &receipt.warnings[..] else {
        panic!("{:?}", receipt.warnings)
    };
    assert!(
        word.contains("web/v2") && word.contains("its share all the same"),
        "{word}"
    );
}

#[tokio::test]
async fn an_upgrade_waits_for_the_proof_and_a_set_that_fails_later_is_left_again() {
    let agent = Agent::with_web().await;
    let up = agent.directory.path().join("up");
    let spec = HealthSpec {
        fall: 100,
        ..check(&up)
    };
    agent.put_checked("v2", &["10.1.1.2:8080"], Some(spec)).await.unwrap();
    let mut request = upgrade("v2", 30_000);
    request.rollout.steps = "50,100".parse().unwrap();
    request.rollout.interval_ms = 60_000;
    let mut progress = agent.upgrade(&request, LONG).await.unwrap();
    let waits = progress.wait_for(|at| matches!(at, Progress::Checking { .. }));
    tokio::time::timeout(LONG, waits).await.unwrap().unwrap();
    assert_eq!(
        agent.status().await.aliases[0].split,
        BTreeMap::from([(set("v1"), 100)])
    );
    std::fs::write(&up, "").unwrap();
    let begun = progress.wait_for(|at| matches!(at, Progress::Observing { .. }));
    tokio::time::timeout(LONG, begun).await.unwrap().unwrap();
    std::fs::remove_file(&up).unwrap();
    let receipt = finished(progress).await;
    assert_eq!((receipt.outcome, receipt.exit_code), (Outcome::RolledBack, 3));
    assert!(
        receipt.message.contains("fails its health check"),
        "{}",
        receipt.message
    );
    assert_eq!(
        agent.status().await.aliases[0].split,
        BTreeMap::from([(set("v1"), 100)])
    );
}

#[tokio::test]
async fn a_check_without_sense_is_refused() {
    let agent = Agent::with_web().await;
    let senseless = HealthSpec {
        interval_ms: 0,
        ..HealthSpec::new(Probe::Tcp)
    };
    refused(
        agent.put_checked("v2", &["10.1.1.2:8080"], Some(senseless)).await,
        ErrorCode::Invalid,
        &["interval", "web"],
    );
}
