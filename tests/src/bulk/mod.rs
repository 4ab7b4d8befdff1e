//! Bulk transfers (iperf3) on each supported way, told as multiples of the same route without Switcher.
//!
//! Two labs stand side by side, one without an agent, and each round measures both, one right after the other: what
//! slows the machine slows both.

mod iperf;
mod ratio;
mod site;

use anyhow::{Result, ensure};

pub use iperf::{Direction, Family};
pub use ratio::{Row, STALL_SHARE, Spread, own_costs};
pub use site::{Site, alias, listener, name};

use crate::ways::{self, Client, Hook, Server, Way};

/// By cables this part of what goes by veths, at least a megabyte.
const CABLE_SLOWER: u32 = 16;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Rounds of each row; the median of their ratios counts.
    pub rounds: u32,
    /// Megabytes of each transfer.
    pub megabytes: u32,
}

impl Amount {
    /// A cable of the lab is a process that carries frame by frame.
    fn on(self, way: Way) -> Self {
        let by_cable = way.hook == Hook::Driver && (way.client == Client::Outside || way.server == Server::Behind);
        Self {
            megabytes: if by_cable {
                self.megabytes / CABLE_SLOWER
            } else {
                self.megabytes
            },
            ..self
        }
    }
}

/// Measures every supported way, and tells each row as it is done. A stalled row is one of the rows, not an error.
///
/// # Errors
/// If something could not be measured; if what was measured did not go by Switcher.
pub fn measure(amount: Amount, mut tell: impl FnMut(&Row)) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for hook in Hook::ALL {
        let mut bare = Site::bare(hook)?;
        let mut switched = Site::with_agent(hook)?;
        for way in ways::supported(hook) {
            let amount = amount.on(way);
            for family in Family::ALL {
                for direction in Direction::ALL {
                    let row = measure_row(&mut bare, &mut switched, way, (family, direction), amount)?;
                    tell(&row);
                    rows.push(row);
                }
            }
        }
    }
    Ok(rows)
}

/// One row of the table, whole.
///
/// # Errors
/// If it could not be measured, or did not go by Switcher.
pub fn measure_row(
    bare: &mut Site,
    switched: &mut Site,
    way: Way,
    (family, direction): (Family, Direction),
    amount: Amount,
) -> Result<Row> {
    let before = switched.flows_opened(way)?;
    let mut rounds = Vec::new();
    for _ in 0..amount.rounds {
        let plain = bare.direct(way, family, direction, amount.megabytes)?;
        let by_alias = switched.by_alias(way, family, direction, amount.megabytes)?;
        // The same program in the way, and nothing for it to do.
        let passed = match way.hook {
            Hook::Tc | Hook::Driver => None,
            Hook::Xdp => Some(switched.direct(way, family, direction, amount.megabytes)?),
        };
        ensure!(plain > 0.0, "{way:?}: the route without Switcher stalls");
        ensure!(passed != Some(0.0), "{way:?}: what the program passes stalls");
        rounds.push(ratio::Round {
            plain,
            by_alias,
            passed,
        });
        // One that hangs would hang again.
        if by_alias <= 0.0 {
            break;
        }
    }
    // Of iperf3 two each time: one for control, one for data.
    let opened = switched.flows_opened(way)?.saturating_sub(before);
    ensure!(
        opened >= 2 * rounds.len() as u64,
        "{way:?}: only {opened} flows went by the alias"
    );
    Ok(Row::new(way, family, direction, &rounds))
}
