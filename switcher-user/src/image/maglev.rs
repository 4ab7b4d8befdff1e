//! Maglev tables (Eisenbud et al., NSDI 2016, section 3.4): even shares, and a backend that leaves moves few others.

use std::net::IpAddr;

use super::BackendPlan;

/// Table sizes: primes, so that every step walks the whole table.
const SIZES: [u32; 10] = [251, 509, 1_021, 2_039, 4_093, 8_191, 16_381, 32_749, 65_521, 131_071];
/// Entries a backend at least: shares differ by about one percent.
const ENTRIES_PER_BACKEND: usize = 100;

/// A table of indexes into `backends`; empty for no backend.
pub(super) fn table(backends: &[&BackendPlan]) -> Vec<u16> {
    if backends.is_empty() {
        return Vec::new();
    }
    let size = size_for(backends.len());
    let steps: Vec<(u64, u64)> = backends.iter().map(|backend| steps(backend, size)).collect();
    let mut next = vec![0_u64; backends.len()];
    let mut table = vec![u16::MAX; size as usize];
    let mut filled = 0;
    // Every round fills one entry a backend; each backend walks the table at most once.
    for _round in 0..size {
        for (index, (offset, skip)) in steps.iter().enumerate() {
            let slot = loop {
                let slot = ((offset + next[index] * skip) % u64::from(size)) as usize;
                next[index] += 1;
                if table[slot] == u16::MAX {
                    break slot;
                }
            };
            table[slot] = index as u16;
            filled += 1;
            if filled == size {
                return table;
            }
        }
    }
    table
}

fn size_for(backends: usize) -> u32 {
    let wanted = backends * ENTRIES_PER_BACKEND;
    SIZES
        .into_iter()
        .find(|size| *size as usize >= wanted)
        .unwrap_or(SIZES[SIZES.len() - 1])
}

/// Where a backend begins and how far it steps: from its address alone, so that it is the same in every image.
fn steps(backend: &BackendPlan, size: u32) -> (u64, u64) {
    let hash = hash(backend.address, backend.port);
    (hash % u64::from(size), (hash >> 32) % (u64::from(size) - 1) + 1)
}

fn hash(address: IpAddr, port: u16) -> u64 {
    let address = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    // FNV-1a, then a finish that spreads the low bits to the high ones.
    let bytes = address.octets().into_iter().chain(port.to_be_bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Path;

    fn backends(count: u32) -> Vec<BackendPlan> {
        (0..count)
            .map(|id| BackendPlan {
                id,
                address: IpAddr::from(id.to_be_bytes()),
                port: 80,
                path: Path::Stack,
            })
            .collect()
    }

    fn counts(table: &[u16], backends: usize) -> Vec<usize> {
        let mut counts = vec![0; backends];
        table.iter().for_each(|entry| counts[usize::from(*entry)] += 1);
        counts
    }

    #[test]
    fn no_backend_is_left_out_and_shares_are_even() {
        for count in [1, 2, 3, 10, 100, 1_024] {
            let plans = backends(count);
            let table = table(&plans.iter().collect::<Vec<_>>());
            let counts = counts(&table, plans.len());
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(
                *least > 0 && most - least <= 1 + most / 50,
                "{count} backends: {least} to {most}"
            );
        }
    }

    #[test]
    fn a_backend_that_leaves_moves_few_of_the_others() {
        let plans = backends(10);
        let all: Vec<_> = plans.iter().collect();
        let (before, after) = (table(&all), table(&all[..9]));
        let moved = before.iter().zip(&after).filter(|(b, a)| **b != 9 && b != a).count();
        assert!(moved * 10 < before.len(), "{moved} of {}", before.len());
    }
}
