//! Who ran a command, in names.

/// More than any of these files has.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The user's name and the host's, from the host's own files: no directory service is asked.
pub(super) fn who(uid: u32) -> (Option<String>, Option<String>) {
    let user = read("/etc/passwd").and_then(|passwd| user_in(&passwd, uid));
    let host = read("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
    (user, host.filter(|name| !name.is_empty()))
}

fn read(path: &str) -> Option<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    std::io::Read::read_to_string(&mut std::io::Read::take(file, FILE_BYTES_MAX), &mut text).ok()?;
    Some(text)
}

/// `name:password:uid:...`, a line each.
fn user_in(passwd: &str, uid: u32) -> Option<String> {
    let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let of = users.find(|fields| fields.get(2).and_then(|text| text.parse().ok()) == Some(uid))?;
    Some(of[0].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbad line\ndeploy:x:1000:1000::/home/deploy:/bin/sh\n";
        assert_eq!(user_in(passwd, 0).as_deref(), Some("root"));
        assert_eq!(user_in(passwd, 1_000).as_deref(), Some("deploy"));
        assert_eq!(user_in(passwd, 1), None);
    }
}
