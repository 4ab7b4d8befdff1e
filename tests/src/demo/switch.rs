//! One command that moved traffic, and what it said.

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::lab::{Agent, Outcome};

/// One command that moved traffic.
#[derive(Clone, Debug, Serialize)]
pub struct Switch {
    /// The command as typed.
    pub command: String,
    /// The versions with a share of new flows once it returned.
    pub serving: Vec<&'static str>,
    /// Its exit code.
    pub exit_code: i32,
    /// From start to end of the process.
    pub took_ms: f64,
    /// When it was started, microseconds since 1970.
    pub began_us: u64,
    /// When it had returned.
    pub ended_us: u64,
    /// Flows that the old set still had, as the receipt says; none where nothing was drained.
    pub flows_left: Option<u64>,
    /// SYNs that reached a version without a share, from its return to the next command.
    pub syns_at_old: Option<usize>,
    /// The receipt.
    pub receipt: Value,
}

impl Switch {
    /// Runs `switcher WORDS --json`. Exit codes other than 0 and 4 fail: nothing was switched then.
    pub(super) fn run(agent: &Agent, words: &[&str], serving: &[&'static str]) -> Result<Self> {
        let typed = format!("switcher {}", words.join(" "));
        let with_json: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
        let outcome = agent.cli(&with_json)?.expect_code(&[0, 4])?;
        Self::read(typed, serving, &outcome)
    }

    fn read(command: String, serving: &[&'static str], outcome: &Outcome) -> Result<Self> {
        let document: Value = serde_json::from_str(&outcome.stdout)
            .with_context(|| format!("{command} --json: stdout is not one document: {}", outcome.stdout))?;
        ensure!(
            document["schema"] == 1,
            "{command} --json: schema is {}, expected 1",
            document["schema"]
        );
        // `apply` answers with changes and the receipt of the split among them.
        let receipt = if document["receipt"].is_object() {
            document["receipt"].clone()
        } else {
            document
        };
        let drain = &receipt["drain"];
        let flows_left = drain["pending_left"]
            .as_u64()
            .zip(drain["established_left"].as_u64())
            .map(|(pending, open)| pending + open);
        Ok(Self {
            command,
            serving: serving.to_vec(),
            exit_code: outcome.code,
            took_ms: outcome.took.as_secs_f64() * 1e3,
            began_us: outcome.began_us,
            ended_us: outcome.ended_us,
            flows_left,
            syns_at_old: None,
            receipt,
        })
    }

    /// The contract: 0 if and only if no flow is left at the old set, 4 if some are.
    pub(super) fn code_is_true(&self) -> bool {
        match self.flows_left {
            Some(0) | None => self.exit_code == 0,
            Some(_) => self.exit_code == 4,
        }
    }

    /// The number of its receipt.
    pub(super) fn receipt_id(&self) -> Option<u64> {
        self.receipt["id"].as_u64()
    }
}
