//! What this host has of what the agent needs: facts are gathered, then judged. Nothing is changed, and no agent is needed.
//!
//! Facts are those of the namespaces that the caller is in. Judging is pure, so that broken hosts are tests.

mod findings;
mod host;
mod kernel;
mod network;
mod process;

pub use findings::{DoctorDocument, Finding, Level, Limit};

use std::path::PathBuf;

use crate::api::SCHEMA;

/// Where the agent would keep its things, and where clients would come in.
#[derive(Clone, Debug)]
pub struct Places {
    /// The state directory.
    pub state_dir: PathBuf,
    /// The directory on bpffs.
    pub bpffs: PathBuf,
    /// Interfaces that the agent would be told; empty: those of the default routes.
    pub interfaces: Vec<String>,
}

/// What answered at the agent's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agent {
    /// An agent of this version, with this process id.
    Runs {
        /// Its version.
        version: String,
        /// Its process id.
        pid: u32,
    },
    /// Nobody.
    None,
    /// Something, but no answer: why, as a sentence.
    Unclear(String),
}

/// Looks at everything.
pub async fn examine(places: &Places, agent: &Agent) -> DoctorDocument {
    let mut findings = kernel::judge(&kernel::Facts::gather());
    let process = process::Facts::gather(places);
    findings.extend(process::judge(&process));
    findings.extend(host::judge(agent, &host::pinned(&places.bpffs)));
    let network = network::Facts::gather(places).await;
    findings.extend(network::judge(&network, &places.interfaces));
    DoctorDocument {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        usable: findings.iter().all(|finding| finding.level != Level::Missing),
        findings,
        limits: findings::limits(),
    }
}

#[cfg(test)]
mod tests;
