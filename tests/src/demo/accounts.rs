//! What the others saw: nginx's logs and the packets on the devices.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Switch;
use super::stage::{TRANSFER_BYTES, UPLOAD_SEED};
use crate::lab::{Captured, LogEntry, Resets};
use crate::traffic::pattern;

/// The records of a run, whole.
pub(super) struct Evidence {
    pub v1_syns: Captured,
    pub v2_syns: Captured,
    pub client_ends: Captured,
    /// Of v1 and of v2.
    pub logs: [Vec<LogEntry>; 2],
    /// What v1 stored of the upload.
    pub upload: PathBuf,
}

/// The records, counted.
pub(super) struct Accounts {
    /// How often each id was logged, by both versions together, with the statuses that are no success.
    pub logged: BTreeMap<String, Logged>,
    /// v1's log.
    pub v1_log: Vec<LogEntry>,
    /// SYNs seen in all, so that a count of none is a count.
    pub syns: [usize; 2],
    /// Resets of connections on the client's device.
    pub resets: usize,
    /// Those that answered a packet which came late to a connection that was over.
    pub resets_after_the_end: usize,
    /// Packets that a capture lost.
    pub missed: u64,
    /// What is wrong with the stored upload, if anything.
    pub upload_fault: Option<String>,
}

/// What the logs have of one id.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Logged {
    pub times: u32,
    pub successes: u32,
}

impl Accounts {
    /// Counts, and writes into each switch how many SYNs came to a version that had no share any more.
    pub fn new(evidence: Evidence, switches: &mut [Switch]) -> Result<Self> {
        let mut logged: BTreeMap<String, Logged> = BTreeMap::new();
        for entry in evidence.logs.iter().flatten() {
            let seen = logged.entry(entry.id.clone()).or_default();
            seen.times += 1;
            seen.successes += u32::from((200..300).contains(&entry.status));
        }
        let ends: Vec<u64> = switches
            .iter()
            .skip(1)
            .map(|next| next.began_us)
            .chain([u64::MAX])
            .collect();
        for (switch, end_us) in switches.iter_mut().zip(ends) {
            let idle = [("v1", &evidence.v1_syns), ("v2", &evidence.v2_syns)];
            let idle = idle
                .into_iter()
                .filter(|(version, _)| !switch.serving.contains(version));
            let counts: Vec<usize> = idle
                .map(|(_, syns)| syns.count_between(switch.ended_us, end_us))
                .collect();
            switch.syns_at_old = (!counts.is_empty()).then(|| counts.iter().sum());
        }
        let captures = [&evidence.v1_syns, &evidence.v2_syns, &evidence.client_ends];
        let missed = captures.iter().map(|capture| capture.missed).sum();
        let resets = Resets::of(&evidence.client_ends.packets);
        let [v1_log, _] = evidence.logs;
        Ok(Self {
            logged,
            v1_log,
            syns: [evidence.v1_syns.packets.len(), evidence.v2_syns.packets.len()],
            resets: resets.of_connections.len(),
            resets_after_the_end: resets.after_the_end,
            missed,
            upload_fault: upload_fault(&evidence.upload)?,
        })
    }
}

/// Compares the stored upload byte by byte.
fn upload_fault(path: &Path) -> Result<Option<String>> {
    let Ok(mut file) = File::open(path) else {
        return Ok(Some("v1 stored no upload".to_owned()));
    };
    let mut chunk = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let length = file
            .read(&mut chunk)
            .with_context(|| format!("cannot read {}", path.display()))?;
        if length == 0 {
            break;
        }
        if let Some(offset) = pattern::first_difference(UPLOAD_SEED, at, &chunk[..length]) {
            return Ok(Some(format!(
                "byte {} of the stored upload is not the one sent",
                at + offset as u64
            )));
        }
        at += length as u64;
    }
    Ok((at != TRANSFER_BYTES).then(|| format!("v1 stored {at} bytes of {TRANSFER_BYTES}")))
}
