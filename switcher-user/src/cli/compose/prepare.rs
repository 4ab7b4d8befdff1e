//! What containers need before they are made: the image, networks, volumes.

use super::bring::{Site, refused};
use super::recipe::{Recipe, is_dockers_own};
use crate::api::{ApiError, ErrorCode};
use crate::compose::{Form, MountSource, Service, Shared};
use crate::discovery::{LABEL_PROJECT, LABEL_VOLUME};

impl Site<'_> {
    /// Looks whether all that services name and that nobody is to make is there, before anything is made.
    pub(super) async fn external_ones_are_there(&self) -> Result<(), ApiError> {
        let project = &self.loaded.project;
        for (name, service) in &project.services {
            let recipe = self.recipe(name, service);
            for (key, network) in recipe.networks() {
                if is_external(project.networks.get(&key)) {
                    self.network(&key, &network).await?;
                }
            }
            for key in volumes(service).filter(|key| is_external(project.volumes.get(*key))) {
                self.volume(key).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn prepare(&self, recipe: &Recipe<'_>) -> Result<(), ApiError> {
        let image = &recipe.service.image;
        let here = self.engine.has_image(image).await.map_err(refused)?;
        if self.pull || !here {
            self.printer.progress(&format!("pulling {image}"));
            let pulled = tokio::time::timeout(self.left(), self.engine.pull(image)).await;
            pulled.map_err(|_| too_slow(image))?.map_err(refused)?;
        }
        for (key, network) in recipe.networks() {
            if !is_dockers_own(&network) {
                self.network(&key, &network).await?;
            }
        }
        for key in volumes(recipe.service) {
            self.volume(key).await?;
        }
        for unheard in recipe.unanswered() {
            self.printer
                .note(&format!("warning: service {}: {unheard}", recipe.name));
        }
        Ok(())
    }

    async fn network(&self, key: &str, network: &str) -> Result<(), ApiError> {
        if is_external(self.loaded.project.networks.get(key)) {
            let here = self.engine.has_network(network).await.map_err(refused)?;
            return here.then_some(()).ok_or_else(|| absent("network", network));
        }
        let labels = [(LABEL_PROJECT, self.loaded.name.as_str())];
        if self.engine.ensure_network(network, &labels).await.map_err(refused)? {
            self.printer.note(&format!("network {network}: made"));
        }
        Ok(())
    }

    async fn volume(&self, key: &str) -> Result<(), ApiError> {
        let project = &self.loaded.project;
        if project.form != Some(Form::Services) {
            // Docker makes it with the container.
            return Ok(());
        }
        let volume = project.volume_name(&self.loaded.name, key);
        if is_external(project.volumes.get(key)) {
            let here = self.engine.has_volume(&volume).await.map_err(refused)?;
            return here.then_some(()).ok_or_else(|| absent("volume", &volume));
        }
        let labels = [(LABEL_PROJECT, self.loaded.name.as_str()), (LABEL_VOLUME, key)];
        if self.engine.ensure_volume(&volume, &labels).await.map_err(refused)? {
            self.printer.note(&format!("volume {volume}: made"));
        }
        Ok(())
    }
}

/// The volumes that a service names.
fn volumes(service: &Service) -> impl Iterator<Item = &String> {
    service.volumes.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume(key) => Some(key),
        MountSource::Folder(_) | MountSource::Anonymous => None,
    })
}

fn is_external(shared: Option<&Shared>) -> bool {
    shared.is_some_and(|shared| shared.external)
}

fn too_slow(image: &str) -> ApiError {
    let text = format!(
        "image {image} was not here when the time was up; no traffic was moved: docker pull {image}, or give more time with --timeout"
    );
    ApiError::new(ErrorCode::TimedOut, text)
}

fn absent(what: &str, name: &str) -> ApiError {
    let text = format!("{what} {name} is external and is not there; make it first: docker {what} create {name}");
    ApiError::new(ErrorCode::Refused, text)
}
