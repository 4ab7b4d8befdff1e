//! What a failed command made or started ends again; what such a container serves by then is not cut.

use std::time::{Duration, Instant};

use super::bring::{Site, refused};
use super::done::container_text;
use super::leads::leads_to;
use super::retire::{LOOK_EVERY, names};
use crate::api::{ApiError, ErrorCode, StatusDocument};
use crate::compose::ServiceName;
use crate::discovery::Container;

/// How long connections may take to end where the command's own time is up.
const GRACE: Duration = Duration::from_secs(10);

/// A container that did not run before the command.
#[derive(Clone, Debug, PartialEq, Eq)]
enum New {
    /// It was not there.
    Made(Container),
    /// It was there, stopped.
    Started(Container),
}

impl New {
    const fn container(&self) -> &Container {
        let (Self::Made(one) | Self::Started(one)) = self;
        one
    }
}

/// The last first: those from before serve as long as possible.
fn new_ones(before: &[Container], now: Vec<Container>) -> Vec<New> {
    let new = now.into_iter().rev().filter_map(|one| {
        match before.iter().find(|had| had.id == one.id).map(|had| had.running) {
            None => Some(New::Made(one)),
            Some(false) if one.running => Some(New::Started(one)),
            Some(_) => None,
        }
    });
    new.collect()
}

impl Site<'_> {
    /// A container that was ready before the others is a backend already where its service has a share: it leaves first, and ends
    /// once it holds no connection. What still does when the time is up runs on.
    pub(super) async fn undo(&self, name: &ServiceName, before: &[Container]) -> Result<(), ApiError> {
        let mut left = new_ones(before, self.containers_of(name).await?);
        let until = self.deadline.max(Instant::now() + GRACE);
        while !left.is_empty() {
            let mut held = Vec::new();
            let mut flows = 0;
            for one in left {
                match self.flows_of_leaving(name, one.container()).await? {
                    Some(0) => self.end_new(&one).await?,
                    Some(some) => {
                        flows += some;
                        held.push(one);
                    }
                    None => {}
                }
            }
            left = held;
            if left.is_empty() {
                break;
            }
            if Instant::now() >= until {
                let names = names(&left.iter().map(New::container).collect::<Vec<_>>());
                self.printer.note(&format!(
                    "service {name}: {flows} connection(s) are left at {names}, which get no new ones and run on: run the same command again, or remove them with: docker rm -f"
                ));
                break;
            }
            self.printer
                .progress(&format!("service {name}: waiting for {flows} connection(s)"));
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Connections of a container that is to get no new ones; `None`: nobody else of its set is ready, so it has to stay.
    async fn flows_of_leaving(&self, name: &ServiceName, one: &Container) -> Result<Option<u64>, ApiError> {
        if !one.running {
            return Ok(Some(0));
        }
        let why = match self.leave([one]).await {
            Ok(held) => return Ok(Some(held.of(&one.id))),
            Err(error) if error.code == ErrorCode::Refused => error,
            Err(error) => return Err(error),
        };
        let status: StatusDocument = self.client.get("/v1/status").await?;
        if leads_to(&status, one).is_empty() {
            return Ok(Some(0));
        }
        self.printer
            .note(&format!("service {name}: container {} runs on: {why}", one.name));
        Ok(None)
    }

    async fn end_new(&self, one: &New) -> Result<(), ApiError> {
        match one {
            New::Made(container) => self.end(std::slice::from_ref(container)).await,
            New::Started(container) => {
                self.engine.stop(container, None).await.map_err(refused)?;
                self.done.undid(&container_text(&container.name));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::tests::container;
    use super::*;

    #[test]
    fn only_what_did_not_run_before_ends_again_the_last_first() {
        let (on, off) = (true, false);
        let before = [(1, on), (2, off), (3, off)].map(|(number, running)| container(number, "a", running));
        let now = [(1, on), (2, on), (3, off), (4, on), (5, off)];
        let now = now.map(|(number, running)| container(number, "a", running));
        let of = |one: &New| (one.container().number(), matches!(one, New::Made(_)));
        let found: Vec<_> = new_ones(&before, now.into()).iter().map(of).collect();
        assert_eq!(found, [(Some(5), true), (Some(4), true), (Some(2), false)]);
    }
}
