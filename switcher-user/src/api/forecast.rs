//! `POST /v1/upgrade/forecast`: what an upgrade would do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{AliasName, SetName};

/// What an upgrade would do. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastDocument {
    /// Version of the document.
    pub schema: u32,
    /// True, always: nothing was done.
    pub dry_run: bool,
    /// Epoch of the image that the kernel reads now.
    pub epoch: u64,
    /// The steps; none where TO has the share already.
    pub steps: Vec<ForecastStep>,
    /// What is to be known beside it, as sentences.
    pub notes: Vec<String>,
}

/// What one step would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastStep {
    /// Percent of FROM's share that TO would have.
    pub percent: u32,
    /// Established flows whose next packet was decided by the step's image.
    pub flows: u64,
    /// Of these, flows whose next packet would go to another backend.
    pub flows_moved: u64,
    /// Established flows that no packet is decided for: the host's own TCP has them.
    pub flows_of_host: u64,
    /// Handshakes on their way, which are decided again.
    pub flows_pending: u64,
    /// The aliases.
    pub aliases: Vec<ForecastAlias>,
}

/// What one step would do to one alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastAlias {
    /// The alias.
    pub alias: AliasName,
    /// Weights after the step.
    pub split: BTreeMap<SetName, u32>,
    /// Its sets with a share.
    pub sets: Vec<ForecastSet>,
}

/// What one set would get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastSet {
    /// The set.
    pub set: SetName,
    /// Its share of the places of the split that were tried, in ten thousandths.
    pub share_of_10000: u32,
    /// Were today's flows to begin anew: how many it would get.
    pub flows_begun_anew: u64,
}
