//! How containers end: they leave their sets, keep what they hold until it has ended, and only then are stopped and removed.

use std::time::{Duration, Instant};

use hyper::Method;

use super::bring::Site;
use crate::api::{ApiError, ContainersDocument, ContainersRequest, LeavingDocument};
use crate::compose::ServiceName;
use crate::discovery::{Container, LEAVING_FOR};

/// How often it is looked whether connections have ended. Each look tells the agent again that they leave.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
const MINUTE_S: u64 = 60;
/// How long such a change may take: it is needed also where the command's own time is up.
pub(super) const LAND_TIME: Duration = Duration::from_secs(30);

pub(super) fn names(containers: &[&Container]) -> String {
    let names: Vec<&str> = containers.iter().map(|one| one.name.as_str()).collect();
    names.join(", ")
}

impl Site<'_> {
    /// From here on no new connection goes to one of these.
    pub(super) async fn leave<'c>(
        &self,
        containers: impl IntoIterator<Item = &'c Container>,
    ) -> Result<LeavingDocument, ApiError> {
        self.tell("/v1/containers/leave", containers).await
    }

    /// They may serve again.
    pub(super) async fn stay<'c>(&self, containers: impl IntoIterator<Item = &'c Container>) -> Result<(), ApiError> {
        let _ = self.tell("/v1/containers/stay", containers).await?;
        Ok(())
    }

    async fn tell<'c>(
        &self,
        path: &str,
        containers: impl IntoIterator<Item = &'c Container>,
    ) -> Result<LeavingDocument, ApiError> {
        let ids = containers.into_iter().map(|one| one.id.clone()).collect();
        let request = ContainersRequest { ids };
        self.client.change(Method::POST, path, &request, LAND_TIME).await
    }

    /// What an earlier command told to leave, and this one needs, serves again.
    pub(super) async fn welcome(&self, containers: &[Container]) -> Result<(), ApiError> {
        let document: ContainersDocument = self.client.get("/v1/containers").await?;
        let leaves = |one: &&Container| document.containers.iter().any(|seen| seen.leaving && seen.id == one.id);
        let leaving: Vec<&Container> = containers.iter().filter(leaves).collect();
        if leaving.is_empty() {
            return Ok(());
        }
        self.stay(leaving).await
    }

    /// Ends containers one by one, each once it holds no connection. False: at the deadline some still do, and run on.
    pub(super) async fn retire(
        &self,
        name: &ServiceName,
        go: &[Container],
        deadline: Instant,
    ) -> Result<bool, ApiError> {
        // A grace may be long, and the agent may be another by the time that it is the last one's turn: each is asked about anew.
        for (index, container) in go.iter().enumerate() {
            let left: Vec<&Container> = go[index..].iter().filter(|one| one.running).collect();
            if container.running && !self.drain(name, container, &left, deadline).await? {
                return Ok(false);
            }
            self.end(std::slice::from_ref(container)).await?;
        }
        Ok(true)
    }

    /// Waits until this one of those that leave holds no connection. False: the time is up.
    async fn drain(
        &self,
        name: &ServiceName,
        container: &Container,
        leaving: &[&Container],
        deadline: Instant,
    ) -> Result<bool, ApiError> {
        loop {
            let held = self.leave(leaving.iter().copied()).await?;
            if held.of(&container.id) == 0 {
                return Ok(true);
            }
            let flows = held.flows();
            if Instant::now() >= deadline {
                let names = names(leaving);
                let minutes = LEAVING_FOR.as_secs() / MINUTE_S;
                self.printer.note(&format!(
                    "service {name}: {flows} connection(s) are left at {names}, which get no new ones and run on; run the same command again: after {minutes} minutes without one those that served before serve again"
                ));
                return Ok(false);
            }
            self.printer
                .progress(&format!("service {name}: waiting for {flows} connection(s)"));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
