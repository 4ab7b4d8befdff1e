//! The process of a container, and the signal that ends it.

use std::str::FromStr as _;

use nix::sys::signal::Signal;

/// The first real-time signal that C libraries leave free, and the last one: Docker counts from these.
const RTMIN: u32 = 34;
const RTMAX: u32 = 64;

/// A container's first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// Its id.
    pub pid: u32,
    /// What it is stopped with; `None`: its image names nothing of its own, or no signal.
    pub stop_signal: Option<u32>,
}

/// A signal as Docker takes it: `SIGUSR2`, `usr2`, `12`, `RTMIN+3`.
pub(super) fn number(text: &str) -> Option<u32> {
    if let Ok(number) = text.parse() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let text = text.to_ascii_uppercase();
    let name = text.strip_prefix("SIG").unwrap_or(&text);
    if let Some(above) = name.strip_prefix("RTMIN") {
        return real_time(above, '+', |by| RTMIN.checked_add(by));
    }
    if let Some(below) = name.strip_prefix("RTMAX") {
        return real_time(below, '-', |by| RTMAX.checked_sub(by));
    }
    let signal = Signal::from_str(&format!("SIG{name}")).ok()?;
    u32::try_from(signal as i32).ok()
}

fn real_time(rest: &str, sign: char, from: impl Fn(u32) -> Option<u32>) -> Option<u32> {
    let by = if rest.is_empty() {
        0
    } else {
        rest.strip_prefix(sign)?.parse().ok()?
    };
    from(by).filter(|number| (RTMIN..=RTMAX).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_as_docker_reads_them() {
        for (text, expected) in [
            ("SIGTERM", Some(15)),
            ("USR1", Some(10)),
            ("sigusr2", Some(12)),
            ("SIGQUIT", Some(3)),
            ("12", Some(12)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMIN+31", None),
            ("RTMAX-4000000000", None),
            ("0", None),
            ("", None),
            ("SIGNOTHING", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}
