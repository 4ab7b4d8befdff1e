//! What is found, as a document.

use serde::{Deserialize, Serialize};
use switcher_ebpf::abi::{ESTABLISHED_SLOTS, FLOW_SLOTS, FlowRecord, FlowTraffic, PENDING_SLOTS, SETS_MAX};

use crate::model::{ALIASES_MAX, BACKENDS_PER_SET_MAX, LISTENERS_PER_ALIAS_MAX, SETS_PER_ALIAS_MAX};

/// How good it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// The agent works, but not with everything, or not as one may expect.
    Warning,
    /// The agent needs it.
    Missing,
}

impl Level {
    /// The word for it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Missing => "missing",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `kernel`, `process`, `host` or `network`.
    pub area: String,
    /// What was looked at: a short name that does not change.
    pub check: String,
    /// How good it is.
    pub level: Level,
    /// What was found, and what it means.
    pub what: String,
    /// What the agent would change about it; none: nothing.
    pub agent: Option<String>,
    /// What to do; none: nothing.
    pub remedy: Option<String>,
}

impl Finding {
    pub(super) fn new(area: &str, check: impl Into<String>, level: Level, what: impl Into<String>) -> Self {
        Self {
            area: area.to_owned(),
            check: check.into(),
            level,
            what: what.into(),
            agent: None,
            remedy: None,
        }
    }

    pub(super) fn agent(mut self, text: impl Into<String>) -> Self {
        self.agent = Some(text.into());
        self
    }

    pub(super) fn remedy(mut self, text: impl Into<String>) -> Self {
        self.remedy = Some(text.into());
        self
    }
}

/// A bound of Switcher's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Of what.
    pub what: String,
    /// How many at most.
    pub most: u64,
}

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorDocument {
    /// Version of the document.
    pub schema: u32,
    /// The version of the command that looked.
    pub version: String,
    /// Nothing is missing.
    pub usable: bool,
    /// What was looked at.
    pub findings: Vec<Finding>,
    /// What Switcher itself allows.
    pub limits: Vec<Limit>,
}

pub(super) fn limits() -> Vec<Limit> {
    let limit = |what: &str, most: u64| Limit {
        what: what.to_owned(),
        most,
    };
    vec![
        limit("aliases", ALIASES_MAX as u64),
        limit("listeners of an alias", LISTENERS_PER_ALIAS_MAX as u64),
        limit("sets of an alias", SETS_PER_ALIAS_MAX as u64),
        limit("sets in all", u64::from(SETS_MAX)),
        limit("backends of a set", BACKENDS_PER_SET_MAX as u64),
        limit("handshakes at one time", u64::from(PENDING_SLOTS)),
        limit("established flows at one time", u64::from(ESTABLISHED_SLOTS)),
        limit(
            "bytes of kernel memory for flow records",
            u64::from(FLOW_SLOTS) * (size_of::<FlowRecord>() + size_of::<FlowTraffic>()) as u64,
        ),
    ]
}
