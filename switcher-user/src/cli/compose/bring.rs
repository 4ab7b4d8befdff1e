//! Containers as the files ask for them: made, started again, and waited for.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::done::{Deed, Done, container_text};
use super::files::Loaded;
use super::recipe::{Recipe, network};
use super::resolvers::Resolvers;
use crate::api::{ApiError, ContainersDocument, ErrorCode};
use crate::cli::client::Client;
use crate::cli::printer::Printer;
use crate::compose::{Port, Service, ServiceName};
use crate::discovery::{Container, Engine, EngineError};
use crate::model::Zone;

/// One that was started has to live so long.
const LIVES_FOR: Duration = Duration::from_millis(500);
/// Docker, the agent and the files, for one command.
pub(super) struct Site<'a> {
    pub engine: Engine,
    pub client: &'a Client,
    pub loaded: &'a Loaded,
    pub printer: &'a Printer,
    pub deadline: Instant,
    /// Where names of aliases are answered.
    pub dns: Option<IpAddr>,
    /// The zone of these names.
    pub zone: Zone,
    /// Where containers are that share the host's network.
    pub host: Vec<IpAddr>,
    /// The host's own resolvers.
    pub resolvers: Resolvers,
    pub pull: bool,
    /// What this command has changed.
    pub done: Done,
}

pub(super) fn refused(error: EngineError) -> ApiError {
    ApiError::new(ErrorCode::HostFailed, error.to_string())
}

impl<'a> Site<'a> {
    /// Asks both whether they are there, before anything is changed.
    pub async fn open(
        socket: &std::path::Path,
        client: &'a Client,
        loaded: &'a Loaded,
        printer: &'a Printer,
        timeout: Duration,
        pull: bool,
    ) -> Result<Self, ApiError> {
        let document: ContainersDocument = client.get("/v1/containers").await?;
        let engine = Engine::connect(socket).await.map_err(refused)?;
        let deadline = Instant::now() + timeout;
        Ok(Self {
            engine: engine.until(deadline),
            client,
            loaded,
            printer,
            deadline,
            dns: document.dns,
            zone: document.zone,
            host: document.host,
            resolvers: Resolvers::of_host(),
            pull,
            done: Done::default(),
        })
    }

    /// How a service's containers are made. `opened`: ports that clients outside need.
    pub fn recipe<'s>(&'s self, name: &'s ServiceName, service: &'s Service) -> Recipe<'s> {
        Recipe {
            project: &self.loaded.name,
            name,
            service,
            files: &self.loaded.project,
            network: network(&self.loaded.project, &self.loaded.name, service),
            dns: self.dns,
            zone: &self.zone,
            resolvers: &self.resolvers,
            opened: self.opened(name, service),
        }
    }

    /// Targets of balancers that the service itself does not publish.
    fn opened(&self, name: &ServiceName, service: &Service) -> Vec<Port> {
        let balancers = self
            .loaded
            .project
            .aliases
            .values()
            .filter(|alias| alias.links.contains(name));
        let mut ports: Vec<Port> = balancers
            .flat_map(|alias| alias.ports.iter().map(|port| port.target))
            .collect();
        ports.extend(service.expose.iter().copied());
        ports.retain(|port| !service.ports.iter().any(|published| published.target == *port));
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// The containers of a service, by number.
    pub async fn containers_of(&self, name: &ServiceName) -> Result<Vec<Container>, ApiError> {
        let all = self.engine.containers().await.map_err(refused)?;
        let own = (self.loaded.name.as_str(), name.as_str());
        let mut own: Vec<Container> = all
            .into_iter()
            .filter(|one| one.project_and_service() == Some(own))
            .collect();
        for container in &mut own {
            container.place_on_host(&self.host);
        }
        own.sort_by_key(|container| container.number().unwrap_or(u32::MAX));
        Ok(own)
    }

    /// Makes a service's containers as many as `scale`: starts stopped ones, makes missing ones. Returns how many it started
    /// or made, and all there are.
    pub async fn grow(&self, name: &ServiceName, scale: u32) -> Result<(usize, Vec<Container>), ApiError> {
        let started = self.grow_to(name, scale, &|_| true).await?;
        Ok((started, self.containers_of(name).await?))
    }

    /// The same where only `counted` containers count, and stopped ones of them may be started.
    pub async fn grow_to(
        &self,
        name: &ServiceName,
        scale: u32,
        counted: &(dyn Fn(&Container) -> bool + Sync),
    ) -> Result<usize, ApiError> {
        let service = &self.loaded.project.services[name];
        let recipe = self.recipe(name, service);
        let all = self.containers_of(name).await?;
        let mut number = all.iter().filter_map(Container::number).max().unwrap_or(0);
        let mut had = all;
        had.retain(counted);
        let hash = recipe.hash();
        if let Some(other) = had
            .iter()
            .find(|one| one.running && one.is_ours() && one.is_made_of_other_than(&hash))
        {
            self.printer.note(&format!(
                "warning: {} was made of other settings than the files have now; it stays as it is; to have it made anew, remove it and run up -d again",
                other.name
            ));
        }
        let wanted = usize::try_from(scale).unwrap_or(usize::MAX);
        let ran = had.iter().filter(|one| one.running).count();
        let mut running = ran;
        for stopped in had.iter().filter(|one| !one.running) {
            if running >= wanted {
                break;
            }
            if stopped.is_made_of_other_than(&hash) {
                self.printer.note(&format!(
                    "container {}: was made of other settings than the files have now; it is left stopped",
                    stopped.name
                ));
                continue;
            }
            self.engine
                .start_again(&stopped.id, &stopped.name)
                .await
                .map_err(refused)?;
            self.done.did(container_text(&stopped.name), Deed::Started);
            self.printer.note(&format!("container {}: started", stopped.name));
            running += 1;
        }
        if running < wanted {
            self.prepare(&recipe).await?;
        }
        // Bounded by SCALE_MAX.
        while running < wanted {
            number += 1;
            let container = recipe.container_name(number);
            let _ = self
                .engine
                .run(&container, recipe.body(number), recipe.more_networks())
                .await
                .map_err(refused)?;
            self.done.did(container_text(&container), Deed::Made);
            self.printer
                .note(&format!("container {container}: made of {}", service.image));
            running += 1;
        }
        Ok(running - ran)
    }

    /// A container that ends as soon as it was started is no success, whatever was seen of it in between.
    pub(super) async fn all_live(
        &self,
        name: &ServiceName,
        scale: u32,
        counted: &(dyn Fn(&Container) -> bool + Sync),
    ) -> Result<(), ApiError> {
        match self.died_early(name, scale, counted).await? {
            Some(why) => {
                let text = format!("{why}; no traffic was moved");
                Err(ApiError::new(ErrorCode::Refused, text))
            }
            None => Ok(()),
        }
    }

    /// Waits a moment, and says what of a service has ended since it was started; `None`: nothing.
    pub(super) async fn died_early(
        &self,
        name: &ServiceName,
        scale: u32,
        counted: &(dyn Fn(&Container) -> bool + Sync),
    ) -> Result<Option<String>, ApiError> {
        tokio::time::sleep(LIVES_FOR).await;
        let mut own = self.containers_of(name).await?;
        own.retain(counted);
        let (running, ended): (Vec<_>, Vec<_>) = own.into_iter().partition(|one| one.running);
        if running.len() >= usize::try_from(scale).unwrap_or(usize::MAX) {
            return Ok(None);
        }
        let text = match ended.last() {
            Some(one) => ended_text(one),
            None => format!("{} container(s) run and not {scale}", running.len()),
        };
        Ok(Some(format!("service {name}: {text}")))
    }

    /// Containers of a service that run.
    pub(super) async fn running_of(&self, name: &ServiceName) -> Result<Vec<Container>, ApiError> {
        let mut own = self.containers_of(name).await?;
        own.retain(|one| one.running);
        Ok(own)
    }

    /// Starts as many containers of a service as it lacks and waits until they take connections at these ports; those that it started go again where one is
    /// not ready in time. Returns all that run.
    pub(super) async fn bring_new(
        &self,
        name: &ServiceName,
        scale: u32,
        ports: &[BTreeSet<u16>],
        counted: &(dyn Fn(&Container) -> bool + Sync),
    ) -> Result<Vec<Container>, ApiError> {
        let before = self.containers_of(name).await?;
        let brought = self.try_to_bring(name, scale, ports, counted).await;
        if brought.is_err()
            && let Err(error) = self.undo(name, &before).await
        {
            self.printer.note(&format!(
                "warning: service {name}: not all containers that this command made or started have ended: {error}"
            ));
        }
        brought
    }

    async fn try_to_bring(
        &self,
        name: &ServiceName,
        scale: u32,
        ports: &[BTreeSet<u16>],
        counted: &(dyn Fn(&Container) -> bool + Sync),
    ) -> Result<Vec<Container>, ApiError> {
        let started = self.grow_to(name, scale, counted).await?;
        let mut running = self.running_of(name).await?;
        running.retain(counted);
        self.wait_ready(name, &running, ports).await?;
        if started > 0 {
            self.all_live(name, scale, counted).await?;
        }
        Ok(running)
    }

    /// What is left of the command's time.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

pub(super) fn ended_text(container: &Container) -> String {
    let name = &container.name;
    match container.exit_code {
        Some(code) => {
            format!("container {name} ended with {code} right after its start; docker logs {name} shows what it said")
        }
        None => format!("container {name} does not run; docker logs {name} shows what it said"),
    }
}

/// Where containers are.
pub(super) fn addresses(containers: &[Container]) -> Vec<IpAddr> {
    let each = containers.iter().flat_map(|one| &one.addresses);
    each.map(|address| address.address).collect()
}
