//! Waiting until containers take connections where aliases lead to.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::bring::{Site, ended_text, refused};
use super::stack;
use crate::api::{ApiError, ContainerStatus, ContainersDocument, ContainersQuery, ErrorCode};
use crate::compose::ServiceName;
use crate::discovery::Container;

/// How often the agent is asked whether containers are ready.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// So often it is asked in between whether one that is waited for has ended.
const LOOKS_BETWEEN: u32 = 5;
/// How long the other addresses of a container are waited for, once one of them takes connections.
const PARTLY_FOR: Duration = Duration::from_secs(1);
/// So long one that is late is waited for where others are ready.
const LATE_FOR: Duration = Duration::from_secs(3);
/// A log gets a line of waiting this often.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// What one look found.
enum Look {
    /// Where they all are.
    Ready(Vec<IpAddr>),
    /// The same, and some have addresses that take no connection.
    Partly(Vec<IpAddr>),
    /// One is not ready, and why.
    Waits(String),
    /// One does not work, and why.
    Sick(String),
}

impl Site<'_> {
    /// The ports of a service's containers that the files' aliases lead to; one of each group is to take connections.
    pub(super) fn targets(&self, name: &ServiceName) -> Result<Vec<BTreeSet<u16>>, ApiError> {
        let aliases = stack::kernel_aliases(&self.loaded.project)?;
        let leading = aliases.iter().filter(|one| one.alias.links.contains(name));
        Ok(groups(leading))
    }

    async fn ask(&self, name: &ServiceName, ports: &[BTreeSet<u16>]) -> Result<Vec<ContainerStatus>, ApiError> {
        let query = ContainersQuery {
            project: self.loaded.name.clone(),
            service: name.clone(),
            groups: ports.to_vec(),
        };
        let path = format!(
            "/v1/containers?project={}&service={name}&ports={}",
            query.project,
            query.groups_text()
        );
        let document: ContainersDocument = self.client.get(&path).await?;
        Ok(document.containers)
    }

    /// Waits until each of these containers of a service takes connections at these ports, and returns where.
    pub(super) async fn wait_ready(
        &self,
        name: &ServiceName,
        containers: &[Container],
        ports: &[BTreeSet<u16>],
    ) -> Result<Vec<IpAddr>, ApiError> {
        self.welcome(containers).await?;
        let mut said: Option<Instant> = None;
        let mut partly: Option<Instant> = None;
        let mut looks = 0_u32;
        loop {
            looks = looks.wrapping_add(1);
            let waiting = match look(containers, &self.ask(name, ports).await?) {
                Look::Ready(addresses) => return Ok(addresses),
                Look::Partly(addresses) => {
                    if partly.get_or_insert_with(Instant::now).elapsed() >= PARTLY_FOR {
                        return Ok(addresses);
                    }
                    "an address of a container takes no connection yet".to_owned()
                }
                Look::Sick(why) => {
                    let text = format!("{why}; no traffic was moved");
                    return Err(ApiError::new(ErrorCode::Refused, text));
                }
                Look::Waits(why) => why,
            };
            if looks.is_multiple_of(LOOKS_BETWEEN) {
                self.none_has_ended(containers).await?;
            }
            if Instant::now() >= self.deadline {
                let text =
                    format!("{waiting}; the time is up and no traffic was moved: docker logs shows what it says");
                return Err(ApiError::new(ErrorCode::TimedOut, text));
            }
            if said.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
                self.printer.progress(&waiting);
                said = Some(Instant::now());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    async fn none_has_ended(&self, containers: &[Container]) -> Result<(), ApiError> {
        let now = self.engine.containers().await.map_err(refused)?;
        let has_ended = |one: &&Container| !one.running && containers.iter().any(|waited| waited.id == one.id);
        match now.iter().find(has_ended) {
            Some(one) => {
                let text = format!("{}; no traffic was moved", ended_text(one));
                Err(ApiError::new(ErrorCode::Refused, text))
            }
            None => Ok(()),
        }
    }

    /// Whether an alias or another service of the files needs it.
    pub(super) fn is_waited_for(&self, name: &ServiceName) -> bool {
        let project = &self.loaded.project;
        project.aliases.values().any(|alias| alias.links.contains(name))
            || project.services.values().any(|service| service.after.contains(name))
    }

    /// Containers that are sick are not waited for where others of their service serve.
    pub(super) async fn leave_out_sick(
        &self,
        name: &ServiceName,
        ran: &[Container],
        stay: &mut Vec<Container>,
    ) -> Result<(), ApiError> {
        let seen = self.ask(name, &[]).await?;
        let ran = |one: &ContainerStatus| ran.iter().any(|asked| asked.id == one.id);
        let sick: Vec<&ContainerStatus> = seen.iter().filter(|one| one.sick && ran(one)).collect();
        if !stay.iter().any(|one| sick.iter().all(|sick| sick.id != one.id)) {
            return Ok(());
        }
        for one in &sick {
            self.printer.note(&format!(
                "warning: container {}: {}; the others serve",
                one.name, one.why
            ));
        }
        stay.retain(|one| sick.iter().all(|sick| sick.id != one.id));
        Ok(())
    }

    /// Of several that are to take over, those that are ready; others are named and not waited for for long, where one is.
    pub(super) async fn wait_ready_ones(
        &self,
        name: &ServiceName,
        containers: &[Container],
    ) -> Result<Vec<Container>, ApiError> {
        let mut stay = containers.to_vec();
        self.leave_out_sick(name, containers, &mut stay).await?;
        self.welcome(&stay).await?;
        let patience = Instant::now() + LATE_FOR;
        loop {
            let late = self.not_ready(name, &stay).await?;
            if late.is_empty() || Instant::now() >= patience {
                stay = self.without(stay, &late);
                break;
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        self.wait_ready(name, &stay, &self.targets(name)?).await?;
        Ok(stay)
    }

    /// Those that are not late, unless all are.
    fn without(&self, mut stay: Vec<Container>, late: &[(String, String)]) -> Vec<Container> {
        if late.len() == stay.len() {
            return stay;
        }
        for (container, why) in late {
            self.printer
                .note(&format!("warning: container {container}: {why}; the others serve"));
        }
        stay.retain(|one| late.iter().all(|(container, _)| *container != one.name));
        stay
    }

    /// No alias and no other service needs it: what it lacks holds up nobody. One that ends at once is told all the same.
    pub(super) async fn do_not_wait(
        &self,
        name: &ServiceName,
        started: usize,
        containers: &[Container],
    ) -> Result<(), ApiError> {
        let scale = self.loaded.project.services[name].scale;
        if started > 0
            && let Some(why) = self.died_early(name, scale, &|_| true).await?
        {
            self.printer.note(&format!("warning: {why}"));
            return Ok(());
        }
        for (container, why) in self.not_ready(name, containers).await? {
            self.printer.note(&format!(
                "warning: container {container}: {why}; no alias leads to it, and it is not waited for"
            ));
        }
        Ok(())
    }

    /// Which of these may not serve, and why, as a part of a sentence.
    pub(super) async fn not_ready(
        &self,
        name: &ServiceName,
        containers: &[Container],
    ) -> Result<Vec<(String, String)>, ApiError> {
        let seen = self.ask(name, &self.targets(name)?).await?;
        let why = |container: &Container| match seen.iter().find(|one| one.id == container.id) {
            Some(one) if one.ready => None,
            Some(one) => Some((container.name.clone(), one.why.clone())),
            None => Some((container.name.clone(), "the agent does not see it".to_owned())),
        };
        Ok(containers.iter().filter_map(why).collect())
    }
}

/// The ports of containers that these aliases lead to.
pub(super) fn groups<'a>(aliases: impl Iterator<Item = &'a stack::KernelAlias<'a>>) -> Vec<BTreeSet<u16>> {
    let groups: BTreeSet<BTreeSet<u16>> = aliases.map(stack::KernelAlias::target_ports).collect();
    groups.into_iter().filter(|ports| !ports.is_empty()).collect()
}

fn look(containers: &[Container], seen: &[ContainerStatus]) -> Look {
    let mut addresses = Vec::new();
    let mut partly = false;
    let mut waits = None;
    for container in containers {
        match seen.iter().find(|one| one.id == container.id) {
            Some(one) if one.ready => {
                addresses.extend(&one.addresses);
                partly |= one.partly;
            }
            Some(one) if one.sick => return Look::Sick(format!("container {}: {}", one.name, one.why)),
            Some(one) => waits = Some(format!("container {}: {}", container.name, one.why)),
            None => waits = Some(format!("container {}: the agent does not see it", container.name)),
        }
    }
    match waits {
        Some(why) => Look::Waits(why),
        None if partly => Look::Partly(addresses),
        None => Look::Ready(addresses),
    }
}
