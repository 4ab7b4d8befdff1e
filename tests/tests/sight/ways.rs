//! Every combination of hook, path, server and client: the agent does what the table of supported ways says (which the
//! bench measures), and refuses all else with the reason.

use serde_json::Value;
use switcher_tests::binaries;
use switcher_tests::bulk::{self, Amount, Direction, Family, Site, alias, listener, name};
use switcher_tests::lab::Talker;
use switcher_tests::ways::{self, Hook, Path, Server, Way};

/// The words of `path:`, each with the paths that it may lead to.
const POLICIES: [(&str, &[Path]); 3] = [
    ("auto", &[Path::Bypass, Path::Stack, Path::Socket]),
    ("bypass", &[Path::Bypass]),
    ("stack", &[Path::Stack, Path::Socket]),
];

#[test]
fn what_the_table_of_ways_has_is_done_with_tc() {
    holds_to_the_table(Hook::Tc);
}

#[test]
fn what_the_table_of_ways_has_is_done_with_xdp() {
    holds_to_the_table(Hook::Xdp);
}

#[test]
fn what_the_table_of_ways_has_is_done_from_driver_to_driver() {
    holds_to_the_table(Hook::Driver);
}

fn holds_to_the_table(hook: Hook) {
    let mut site = Site::with_agent(hook).unwrap();
    site.idle().unwrap();
    let supported = ways::supported(hook);
    for server in Server::ALL {
        for (policy, paths) in POLICIES {
            let way = supported
                .iter()
                .find(|way| way.server == server && paths.contains(&way.path));
            let shape = alias(way.map_or(paths[0], |way| way.path), server, policy);
            let outcome = site.apply(&shape).unwrap();
            let Some(way) = way else {
                assert_eq!(outcome.code, 1, "{hook} {policy} {server}: {}", outcome.stdout);
                assert!(
                    outcome.stderr.contains("path") || outcome.stderr.contains("hook"),
                    "{}",
                    outcome.stderr
                );
                continue;
            };
            assert_eq!(outcome.code, 0, "{hook} {policy} {server}: {}", outcome.stderr);
            assert_eq!(status_path(&site, *way), way.path.to_string(), "{policy} {server}");
            for &client in hook.clients() {
                let of_client = supported.iter().find(|row| {
                    row.server == server && row.client == client && [way.path, Path::Local].contains(&row.path)
                });
                goes_its_way(&site, *way, *of_client.expect("each client reaches each alias"));
            }
        }
    }
}

fn status_path(site: &Site, way: Way) -> String {
    let status = json(site, &["status", name(way), "--json"]);
    let backends = status["aliases"][0]["sets"][0]["backends"].as_array().unwrap();
    assert_eq!((backends.len(), &backends[0]["path"]), (2, &backends[1]["path"]));
    backends[0]["path"].as_str().unwrap().to_owned()
}

/// Opens connections of the row's client, and looks how the kernel has them.
fn goes_its_way(site: &Site, alias: Way, row: Way) {
    let lab = binaries::switcher_lab().unwrap();
    let mut talker = Talker::start_by(site.command(row.client, lab).unwrap()).unwrap();
    for (family, kind) in [(Family::V4, "tcp4"), (Family::V6, "tcp6")] {
        let to = listener(alias, family).to_string();
        talker.step(&format!("open {kind} {kind}")).unwrap();
        talker.step(&format!("connect {kind} {to}")).unwrap();
        let client = talker.step(&format!("local {kind}")).unwrap();
        let flows = json(site, &["flows", name(alias), "--json"]);
        let flows = flows["flows"].as_array().unwrap();
        let flow = flows
            .iter()
            .find(|flow| flow["client"] == client && flow["listener"] == to);
        let flow = flow.unwrap_or_else(|| panic!("{row:?} from {client} to {to}: {flows:?}"));
        assert_eq!(flow["state"], "established", "{flow}");
        assert_eq!(flow["path"], row.path.to_string(), "{row:?}: {flow}");
    }
}

fn json(site: &Site, words: &[&str]) -> Value {
    let outcome = site.agent().unwrap().cli(words).unwrap().expect_code(&[0]).unwrap();
    serde_json::from_str(&outcome.stdout).unwrap()
}

const LARGE: &str = "add table inet large\nadd chain inet large bulk";

/// Small packets pass, so that connections open and requests are answered: only bulk shows it.
#[test]
fn the_bench_finds_a_way_on_which_bulk_stalls() {
    let (mut bare, mut site) = (Site::bare(Hook::Tc).unwrap(), Site::with_agent(Hook::Tc).unwrap());
    let way = ways::supported(Hook::Tc)[0];
    let amount = Amount {
        rounds: 1,
        megabytes: 16,
    };
    for (rules, direction, stalls) in [
        (None, Direction::Download, false),
        (Some("type filter hook output priority 0"), Direction::Download, true),
        (None, Direction::Upload, false),
        (Some("type filter hook input priority 0"), Direction::Upload, true),
    ] {
        let rules = rules.map_or_else(
            || "table inet large {}\ndelete table inet large".to_owned(),
            |hook| format!("{LARGE} {{ {hook}; }}\nadd rule inet large bulk meta length > 1000 drop"),
        );
        site.lab()
            .v1()
            .run(&["nft", &rules])
            .unwrap()
            .expect_code(&[0])
            .unwrap();
        let row = bulk::measure_row(&mut bare, &mut site, way, (Family::V4, direction), amount).unwrap();
        assert_eq!(row.stalls(), stalls, "{row:?}");
    }
}
