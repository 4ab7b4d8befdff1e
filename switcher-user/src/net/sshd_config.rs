//! The ports that sshd is configured for.
//!
//! Who has a socket open can be seen only with as many rights as that process has; an agent with no more than it needs
//! cannot tell sshd's socket from another's.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

const FILE: &str = "/etc/ssh/sshd_config";
/// What Debian's file includes.
const FOLDER: &str = "/etc/ssh/sshd_config.d";
const FILES_MAX: usize = 100;

/// All that a configuration names. None where there is none: port 22 needs no file.
pub(super) fn ports() -> BTreeSet<u16> {
    let folder = fs::read_dir(FOLDER)
        .into_iter()
        .flatten()
        .flatten()
        .map(|file| file.path());
    let files = std::iter::once(PathBuf::from(FILE)).chain(folder).take(FILES_MAX);
    let texts = files.filter_map(|file| fs::read_to_string(file).ok());
    texts.flat_map(|text| ports_in(&text)).collect()
}

fn ports_in(text: &str) -> BTreeSet<u16> {
    text.lines().filter_map(port_of).collect()
}

/// `Port 2222`, `ListenAddress 192.0.2.1:2222`, `ListenAddress [2001:db8::1]:2222`.
fn port_of(line: &str) -> Option<u16> {
    let is_gap = |letter: char| letter.is_whitespace() || letter == '=';
    let mut words = line.split(is_gap).filter(|word| !word.is_empty());
    let (keyword, value) = (words.next()?, words.next()?);
    if keyword.eq_ignore_ascii_case("port") {
        return value.parse().ok();
    }
    if !keyword.eq_ignore_ascii_case("listenaddress") {
        return None;
    }
    let (address, port) = value.rsplit_once(':')?;
    // Without brackets an IPv6 address has no port.
    let has_port = !address.contains(':') || address.ends_with(']');
    has_port.then(|| port.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::ports_in;

    #[test]
    fn ports_are_read_wherever_they_stand() {
        let text = "# Port 1\nPort 2222\n  port=2223\nListenAddress 192.0.2.1:2224\nListenAddress [2001:db8::1]:2225\n\
            ListenAddress 2001:db8::1\nListenAddress 0.0.0.0\nPermitRootLogin no\nPort many\n";
        assert_eq!(Vec::from_iter(ports_in(text)), [2222, 2223, 2224, 2225]);
    }
}
