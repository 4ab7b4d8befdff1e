//! Weights of a split.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A set's relative share of new flows: 0 to 1000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Weight(u16);

/// A number that is no weight.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("weight {0} is out of range; use a whole number from 0 to 1000")]
pub struct WeightError(String);

impl Weight {
    /// The largest weight.
    pub const MAX: u16 = 1_000;

    /// The weight as a number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// True for 0: no new flows.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl TryFrom<i64> for Weight {
    type Error = WeightError;
    fn try_from(number: i64) -> Result<Self, WeightError> {
        match u16::try_from(number) {
            Ok(weight) if weight <= Self::MAX => Ok(Self(weight)),
            _ => Err(WeightError(number.to_string())),
        }
    }
}

impl From<Weight> for i64 {
    fn from(weight: Weight) -> Self {
        Self::from(weight.0)
    }
}

impl FromStr for Weight {
    type Err = WeightError;
    fn from_str(text: &str) -> Result<Self, WeightError> {
        let number = text.parse::<i64>().map_err(|_| WeightError(format!("'{text}'")))?;
        Self::try_from(number)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
