//! What can be chosen.

use std::fmt;

/// The way of the alias's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Path {
    /// The agent decides.
    Auto,
    /// Redirected past the host's stack.
    Bypass,
    /// Through the host's stack.
    Stack,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Bypass => "bypass",
            Self::Stack => "stack",
        })
    }
}

/// Where packets of clients are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Hook {
    /// The agent decides.
    Auto,
    /// Traffic control.
    Tc,
    /// Native XDP.
    Xdp,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Tc => "tc",
            Self::Xdp => "xdp",
        })
    }
}

/// What can be chosen.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// One JSON document on stdout; all else goes to stderr
    #[arg(long)]
    pub json: bool,
    /// The way the packets take
    #[arg(long, value_enum, default_value_t = Path::Auto)]
    pub path: Path,
    /// Where packets of clients are met
    #[arg(long, value_enum, default_value_t = Hook::Auto)]
    pub hook: Hook,
    /// After the three states and back, this many more whole cutovers
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=500))]
    pub cutovers: u32,
    /// Requests due each second
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(100..=20_000))]
    pub rate: u32,
    /// Leave the lab up and print how to play with it
    #[arg(long)]
    pub keep: bool,
}
