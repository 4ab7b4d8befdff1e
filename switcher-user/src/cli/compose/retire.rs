//! How containers end: they leave their sets, keep what they hold until it has ended, and only then are stopped and removed.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use hyper::Method;

use super::bring::{Site, refused};
use super::done::{Deed, container_text};
use crate::api::{ApiError, ContainersDocument, ContainersRequest, LeavingDocument};
use crate::compose::ServiceName;
use crate::discovery::{Container, LEAVING_FOR};

/// How often it is looked whether connections have ended. Each look tells the agent again that they leave.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
const MINUTE_S: u64 = 60;
/// So many are stopped at once.
const ENDED_AT_ONCE: usize = 16;
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

    /// Ends containers, each once it holds no connection. False: at the deadline some still do, and run on.
    pub(super) async fn retire(
        &self,
        name: &ServiceName,
        go: &[Container],
        deadline: Instant,
    ) -> Result<bool, ApiError> {
        let mut left = go;
        // A grace may be long, and the agent may be another by the time that it is the last one's turn: each is asked about anew.
        while !left.is_empty() {
            let free = self.drain(name, left, deadline).await?;
            if free == 0 {
                return Ok(false);
            }
            let (now, later) = left.split_at(free.min(ENDED_AT_ONCE));
            self.end(now).await?;
            left = later;
        }
        Ok(true)
    }

    /// Waits until the first of those that leave hold no connection, and returns how many do not. 0: the time is up.
    async fn drain(&self, name: &ServiceName, left: &[Container], deadline: Instant) -> Result<usize, ApiError> {
        let leaving: Vec<&Container> = left.iter().filter(|one| one.running).collect();
        if leaving.is_empty() {
            return Ok(left.len());
        }
        loop {
            let held = self.leave(leaving.iter().copied()).await?;
            for container in &leaving {
                self.done.did(container_text(&container.name), Deed::Leaves);
            }
            let is_free = |one: &&Container| !one.running || held.of(&one.id) == 0;
            let free = left.iter().take_while(is_free).count();
            if free > 0 {
                return Ok(free);
            }
            let flows = held.flows();
            if Instant::now() >= deadline {
                let names = names(&leaving);
                let minutes = LEAVING_FOR.as_secs() / MINUTE_S;
                self.printer.note(&format!(
                    "service {name}: {flows} connection(s) are left at {names}, which get no new ones and run on; run the same command again: after {minutes} minutes without one those that served before serve again"
                ));
                return Ok(0);
            }
            self.printer
                .progress(&format!("service {name}: waiting for {flows} connection(s)"));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Stops and removes containers, several at once: each may take all of its grace. What was begun goes on past the deadline.
    pub(super) async fn end(&self, containers: &[Container]) -> Result<(), ApiError> {
        let ends = stream::iter(containers).map(|one| self.end_one(one));
        let all = ends.buffer_unordered(ENDED_AT_ONCE).collect::<Vec<_>>();
        let mut all = std::pin::pin!(all);
        let ended: Vec<Result<(), ApiError>> = match tokio::time::timeout(self.left(), &mut all).await {
            Ok(ended) => ended,
            Err(_) => {
                let of: Vec<&Container> = containers.iter().collect();
                self.printer.progress(&format!(
                    "the time is up; {} may take the grace to stop that they have, and are waited for",
                    names(&of)
                ));
                all.await
            }
        };
        ended.into_iter().collect()
    }

    async fn end_one(&self, container: &Container) -> Result<(), ApiError> {
        self.engine.stop(container, None).await.map_err(refused)?;
        self.engine.remove(container).await.map_err(refused)?;
        self.done.removed(&container.name);
        self.printer.note(&format!("container {}: removed", container.name));
        Ok(())
    }
}
