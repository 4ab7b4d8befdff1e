//! What containers are attached to: networks, volumes, names of others, logs.

use std::collections::BTreeMap;

use super::model::Origin;
use crate::model::StackName;

/// A network or a volume at the top of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// Its name at Docker; `None`: made of the project's name and its own.
    pub name: Option<String>,
    /// It is there already: never made.
    pub external: bool,
}

impl Shared {
    /// Its name at Docker, where the files call it `key`.
    #[must_use]
    pub fn docker_name(&self, stack: &StackName, key: &str) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None if self.external => key.to_owned(),
            None => format!("{stack}_{key}"),
        }
    }
}

/// A network that a service is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// As the files call it.
    pub network: String,
    /// More names that its containers answer to there.
    pub aliases: Vec<String>,
    pub(super) origin: Origin,
}

/// Another service, as a container knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    /// The name inside.
    pub name: String,
    /// The service or alias.
    pub target: String,
}

/// One line of `volumes` of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub source: MountSource,
    /// Where, inside.
    pub target: String,
    /// What stands after the second colon.
    pub mode: Option<String>,
    pub(super) origin: Origin,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// An absolute path of the host.
    Folder(String),
    /// A volume, as the files call it.
    Volume(String),
    /// A volume of the container's own.
    Anonymous,
}

/// Where a container's output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// Docker's driver; `None`: the daemon's.
    pub driver: Option<String>,
    /// Its options.
    pub options: BTreeMap<String, String>,
}
