//! Making things: images, networks, containers.

use bollard::models::{
    ContainerCreateBody, EndpointSettings, NetworkConnectRequest, NetworkCreateRequest, VolumeCreateRequest,
};
use bollard::query_parameters::{CreateContainerOptionsBuilder, CreateImageOptionsBuilder, StartContainerOptions};
use futures_util::TryStreamExt as _;

use super::engine::{MAKE_TIME, said};
use super::{Engine, EngineError};

impl Engine {
    /// Whether the image is here.
    ///
    /// # Errors
    /// When Docker does not answer.
    pub async fn has_image(&self, image: &str) -> Result<bool, EngineError> {
        is_here(self.docker.inspect_image(image).await, || {
            format!("to show image {image}")
        })
    }

    /// Fetches an image from its registry.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn pull(&self, image: &str) -> Result<(), EngineError> {
        let options = CreateImageOptionsBuilder::new().from_image(&with_tag(image)).build();
        let pulled = self
            .patient(MAKE_TIME)
            .create_image(Some(options), None, None)
            .try_for_each(|_| std::future::ready(Ok(())));
        pulled.await.map_err(Self::refused(format!("to pull {image}")))
    }

    /// Whether the network is here.
    ///
    /// # Errors
    /// When Docker does not answer.
    pub async fn has_network(&self, name: &str) -> Result<bool, EngineError> {
        is_here(self.docker.inspect_network(name, None).await, || {
            format!("to show network {name}")
        })
    }

    /// Whether the volume is here.
    ///
    /// # Errors
    /// When Docker does not answer.
    pub async fn has_volume(&self, name: &str) -> Result<bool, EngineError> {
        is_here(self.docker.inspect_volume(name).await, || {
            format!("to show volume {name}")
        })
    }

    /// Makes a volume unless it is there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn ensure_volume(&self, name: &str, labels: &[(&str, &str)]) -> Result<bool, EngineError> {
        if self.has_volume(name).await? {
            return Ok(false);
        }
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels.collect()),
            ..VolumeCreateRequest::default()
        };
        let made = self.docker.create_volume(request).await;
        made.map_err(Self::refused(format!("to make volume {name}")))?;
        Ok(true)
    }

    /// Makes a bridge network unless it is there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn ensure_network(&self, name: &str, labels: &[(&str, &str)]) -> Result<bool, EngineError> {
        if self.has_network(name).await? {
            return Ok(false);
        }
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: Some(
                labels
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
            ),
            ..NetworkCreateRequest::default()
        };
        let made = self.docker.create_network(request).await;
        made.map_err(Self::refused(format!("to make network {name}")))?;
        Ok(true)
    }

    /// Makes a container, joins it to more networks than its first, and starts it; returns its id. One that does not start
    /// is removed again.
    ///
    /// # Errors
    /// When it cannot be made or started.
    pub async fn run(
        &self,
        name: &str,
        body: ContainerCreateBody,
        more: Vec<(String, EndpointSettings)>,
    ) -> Result<String, EngineError> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let made = self.patient(MAKE_TIME).create_container(Some(options), body).await;
        let id = made.map_err(Self::refused(format!("to make {name}")))?.id;
        match self.join_and_start(&id, more).await {
            Ok(()) => Ok(id),
            Err(error) => {
                let options = bollard::query_parameters::RemoveContainerOptionsBuilder::new()
                    .force(true)
                    .build();
                let _ = self.docker.remove_container(&id, Some(options)).await;
                Err(EngineError::Refused {
                    doing: format!("to start {name}"),
                    cause: said(&error),
                })
            }
        }
    }

    /// Starts a container that was stopped.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_again(&self, id: &str, name: &str) -> Result<(), EngineError> {
        self.start(id).await.map_err(Self::refused(format!("to start {name}")))
    }

    /// Several networks at once are more than the API of older daemons takes when it makes a container.
    async fn join_and_start(
        &self,
        id: &str,
        more: Vec<(String, EndpointSettings)>,
    ) -> Result<(), bollard::errors::Error> {
        for (network, endpoint) in more {
            let request = NetworkConnectRequest {
                container: id.to_owned(),
                endpoint_config: Some(endpoint),
            };
            self.docker.connect_network(&network, request).await?;
        }
        self.start(id).await
    }

    async fn start(&self, id: &str) -> Result<(), bollard::errors::Error> {
        self.patient(MAKE_TIME)
            .start_container(id, None::<StartContainerOptions>)
            .await
    }
}

/// What Docker does not know is not here; that is no error.
fn is_here<T>(shown: Result<T, bollard::errors::Error>, doing: impl FnOnce() -> String) -> Result<bool, EngineError> {
    match shown {
        Ok(_) => Ok(true),
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
        Err(error) => Err(Engine::refused(doing())(error)),
    }
}

/// Without a tag the API would fetch all of them.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}
