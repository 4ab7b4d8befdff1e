//! Where in the kernel packets are met.

use std::str::FromStr;

use thiserror::Error;

/// What `--hook` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HookPolicy {
    /// Native XDP where a hardware driver has it, TC elsewhere.
    #[default]
    Auto,
    /// TC everywhere.
    Tc,
    /// Native XDP where clients come in; an interface that cannot is an error.
    Xdp,
}

/// Not the name of a hook.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("'{0}' is no hook; write auto, tc or xdp")]
pub struct HookError(String);

impl FromStr for HookPolicy {
    type Err = HookError;

    fn from_str(text: &str) -> Result<Self, HookError> {
        match text {
            "auto" => Ok(Self::Auto),
            "tc" => Ok(Self::Tc),
            "xdp" => Ok(Self::Xdp),
            other => Err(HookError(other.to_owned())),
        }
    }
}

/// Where the program for what comes in by an interface stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Traffic control: after the driver, with a socket buffer.
    Tc,
    /// In the driver.
    Xdp,
}

impl Hook {
    /// Its name.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Tc => "tc",
            Self::Xdp => "xdp",
        }
    }
}
