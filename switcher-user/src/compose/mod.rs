//! Compose files: YAML in, a checked [`Project`] out, or every mistake with its place and its remedy. No I/O.
//!
//! Two forms are read: the first one, in which each key at the top is a service (Rancher's time), and the one with
//! `services:`. An image of `rancher/dns-service` or `rancher/load-balancer-service` makes a service an alias.

mod alias;
mod around;
mod attached;
mod dotenv;
mod environment;
mod file;
mod health;
mod interpolate;
mod links;
mod means;
mod model;
mod mounts;
mod ports;
mod rancher;
mod refused;
mod rules;
mod service;
mod shared;
#[cfg(test)]
mod tests;
mod values;
mod words;

pub use around::{ReadFile, Surroundings};
pub use attached::{Joined, Linked, Logging, Mount, MountSource, Shared};
pub use dotenv::variables;
pub use model::{
    AliasKind, AliasService, Form, Healthcheck, Port, Project, Published, Restart, SCALE_MAX, Service, ServiceName,
};

pub use shared::DEFAULT_NETWORK;

use crate::config::yaml::{self, Kind};
use crate::config::{ConfigError, Problem};

/// A compose file.
const COMPOSE: &Kind = &Kind {
    whole: "compose file",
    beginning: "name a service, as 'web: {image: nginx}', or begin with 'services:'",
};

/// One file, as it was read from the disk.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// How errors name it.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// Reads compose files, in their order, and the `rancher-compose.yml` that belongs to them, if there is one.
///
/// # Errors
/// Every mistake found in the first file that has any.
pub fn parse(
    files: &[SourceFile],
    rancher: Option<&SourceFile>,
    around: &Surroundings<'_>,
) -> Result<Project, ConfigError> {
    let mut project = Project::default();
    for source in files {
        file::read(source, around, &mut project)?;
    }
    if let Some(source) = rancher {
        rancher::read(source, around, &mut project)?;
    }
    links::check(&project)?;
    shared::check(&project)?;
    Ok(project)
}

fn one(problem: Problem) -> ConfigError {
    ConfigError::new(problem)
}

fn tree(source: &SourceFile) -> Result<crate::config::node::Node, ConfigError> {
    yaml::read(&source.text, &source.name, COMPOSE)
}
