//! Addresses that the agent owns, for aliases that have none of their own.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use super::{Desired, Refusal};
use crate::model::AliasName;

/// Where addresses come from unless told otherwise: of the range for benchmarks (RFC 2544), which nobody routes.
const DEFAULT: &str = "198.18.255.0/24";

/// A range of IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    first: u32,
    bits: u8,
}

impl Default for Pool {
    fn default() -> Self {
        DEFAULT.parse().unwrap_or(Self { first: 0, bits: 32 })
    }
}

impl FromStr for Pool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("'{text}' is no range of addresses; write it as {DEFAULT}, with 16 to 30 bits");
        let (address, bits) = text.split_once('/').ok_or_else(bad)?;
        let (address, bits) = (
            address.parse::<Ipv4Addr>().map_err(|_| bad())?,
            bits.parse::<u8>().map_err(|_| bad())?,
        );
        let first = u32::from(address);
        if !(16..=30).contains(&bits) || first.trailing_zeros() < u32::from(32 - bits) {
            return Err(bad());
        }
        Ok(Self { first, bits })
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.first), self.bits)
    }
}

impl Pool {
    /// The address belongs to it.
    #[must_use]
    pub fn has(self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => u32::from(v4) >> (32 - self.bits) == self.first >> (32 - self.bits),
            IpAddr::V6(_) => false,
        }
    }

    /// The ones that may be given; the first is the agent's own, and the ends look like network and broadcast.
    fn addresses(self) -> impl Iterator<Item = IpAddr> {
        let count = 1_u32 << (32 - self.bits);
        (2..count - 1).map(move |offset| Ipv4Addr::from(self.first + offset).into())
    }
}

impl Desired {
    /// The alias's address of the pool: the one it has, else the lowest that no alias has.
    ///
    /// # Errors
    /// When all are given.
    pub fn pool_address(&self, pool: Pool, alias: &AliasName, given: &[IpAddr]) -> Result<IpAddr, Refusal> {
        let own = self.aliases.get(alias).into_iter().flat_map(|alias| &alias.listen);
        if let Some(listener) = own.into_iter().find(|listener| pool.has(listener.address)) {
            return Ok(listener.address);
        }
        let listeners = self.aliases.values().flat_map(|alias| &alias.listen);
        let taken: std::collections::BTreeSet<IpAddr> = listeners.map(|listener| listener.address).collect();
        pool.addresses()
            .find(|address| !taken.contains(address) && !given.contains(address))
            .ok_or_else(|| Refusal::PoolUsedUp { pool: pool.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PathPolicy;

    #[test]
    fn an_alias_keeps_its_address_and_others_get_the_next() {
        let pool = Pool::default();
        let mut desired = Desired::default();
        let (a, b): (AliasName, AliasName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let first = desired.pool_address(pool, &a, &[]).unwrap();
        assert_eq!(first.to_string(), "198.18.255.2");
        desired
            .alias_put(&a, &[format!("{first}:80/tcp").parse().unwrap()], PathPolicy::Auto)
            .unwrap();
        assert_eq!(desired.pool_address(pool, &a, &[]).unwrap(), first);
        assert_eq!(desired.pool_address(pool, &b, &[]).unwrap().to_string(), "198.18.255.3");
        let given = ["198.18.255.3".parse().unwrap()];
        assert_eq!(
            desired.pool_address(pool, &b, &given).unwrap().to_string(),
            "198.18.255.4"
        );
    }

    #[test]
    fn ranges_are_checked() {
        for bad in [
            "198.18.255.0",
            "198.18.255.1/24",
            "198.18.255.0/31",
            "x/24",
            "10.0.0.0/8",
        ] {
            assert!(bad.parse::<Pool>().is_err(), "{bad}");
        }
        let pool: Pool = "10.9.8.0/29".parse().unwrap();
        assert!(pool.has("10.9.8.7".parse().unwrap()) && !pool.has("10.9.8.8".parse().unwrap()));
        assert_eq!(pool.addresses().count(), 5);
        let smallest: Pool = "198.18.255.0/30".parse().unwrap();
        assert_eq!(
            smallest.addresses().map(|one| one.to_string()).collect::<Vec<_>>(),
            ["198.18.255.2"]
        );
    }
}
