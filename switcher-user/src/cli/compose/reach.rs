//! From where the files' aliases are not reached, said before they are made.

use std::net::IpAddr;

use super::bring::Site;
use crate::compose::{AliasKind, Project};

impl Site<'_> {
    /// One sentence for each alias that somebody may look for in vain.
    pub(super) fn tell_out_of_reach(&self) {
        for text in out_of_reach(&self.loaded.project, self.dns, &self.host) {
            self.printer.note(&format!("warning: {text}"));
        }
    }
}

/// `dns`: where names are answered; `host`: the host's own addresses.
fn out_of_reach(project: &Project, dns: Option<IpAddr>, host: &[IpAddr]) -> Vec<String> {
    let has_v6 = host.iter().find(|address| address.is_ipv6());
    let said = project.aliases.iter().filter_map(|(name, alias)| match alias.kind {
        AliasKind::Dns => dns.is_none().then(|| {
            format!(
                "alias {name}: nobody answers its name; start the agent with --dns ADDRESS:53 (switcher alias ls has its address)"
            )
        }),
        AliasKind::Balancer | AliasKind::RuledBalancer => {
            let everywhere = alias.ports.iter().any(|port| port.address.is_none());
            has_v6.filter(|_| everywhere).map(|v6| {
                format!("alias {name}: is published on the host's IPv4 addresses only, and not at {v6}: see docs/from-rancher.md")
            })
        }
    });
    said.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::{SourceFile, Surroundings, parse};

    const FILE: &str = "\
app: {image: 'app:1', expose: [80]}
lb: {image: rancher/load-balancer-service, links: [app], ports: ['8000:80']}
named: {image: rancher/dns-service, links: [app]}
";

    #[test]
    fn an_alias_that_some_do_not_reach_is_told_once() {
        let source = SourceFile {
            name: "compose.yaml".to_owned(),
            text: FILE.to_owned(),
        };
        let project = parse(&[source], None, &Surroundings::none()).unwrap();
        let dns: Option<IpAddr> = Some("172.17.0.1".parse().unwrap());
        let (v4, v6) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert_eq!(out_of_reach(&project, dns, &[v4]), [""; 0]);
        let unheard = out_of_reach(&project, None, &[v4]);
        assert_eq!(unheard.len(), 1, "{unheard:?}");
        assert!(unheard[0].starts_with("alias named: nobody answers its name") && unheard[0].contains("--dns"));
        let unseen = out_of_reach(&project, dns, &[v4, v6]);
        assert_eq!(unseen.len(), 1, "{unseen:?}");
        assert!(unseen[0].starts_with("alias lb: ") && unseen[0].contains("2001:db8::1"));
    }
}
