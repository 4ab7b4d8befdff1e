//! The thread's files, and every mistake by its exact text.

use std::num::NonZeroU16;

use super::*;
use crate::model::Protocol;

const POSTED: &str = include_str!("../../../docs/examples/countdown/docker-compose.yml");
const RANCHER: &str = include_str!("../../../docs/examples/countdown/rancher-compose.yml");
const TODAY: &str = include_str!("../../../docs/examples/countdown/compose.yaml");

fn source(name: &str, text: &str) -> SourceFile {
    SourceFile {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

fn variable(name: &str) -> Option<String> {
    match name {
        "TAG" => Some("v9".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Project, ConfigError> {
    parse(&[source("c.yml", text)], None, &variable)
}

fn good(text: &str) -> Project {
    read(text).unwrap_or_else(|error| panic!("refused:\n{text}\n{error}"))
}

/// Each row: the file, and all that is said about it.
fn check_table(rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        match read(text) {
            Ok(project) => panic!("accepted:\n{text}\nas {project:?}"),
            Err(error) => assert_eq!(error.to_string(), *expected, "for the file:\n{text}"),
        }
    }
}

fn port(number: u16) -> Port {
    Port {
        number: NonZeroU16::new(number).unwrap(),
        protocol: Protocol::Tcp,
    }
}

#[test]
fn the_files_as_posted_are_read() {
    let files = [source("docker-compose.yml", POSTED)];
    let project = parse(&files, Some(&source("rancher-compose.yml", RANCHER)), &variable).unwrap();
    assert_eq!(project.form, Some(Form::First));
    let lb = &project.aliases[&"countdown-lb".parse().unwrap()];
    assert_eq!(
        (lb.kind, lb.links.as_slice()),
        (AliasKind::Balancer, &["countdown-v2".parse().unwrap()][..])
    );
    assert_eq!(
        lb.ports,
        [Published {
            address: None,
            published: NonZeroU16::new(8000),
            target: port(80),
        }]
    );
    let alias = &project.aliases[&"countdown-demo-alias".parse().unwrap()];
    assert_eq!(
        (alias.kind, alias.links.as_slice()),
        (AliasKind::Dns, &["countdown-v2".parse().unwrap()][..])
    );
    assert!(alias.ports.is_empty());
    let names: Vec<&str> = project.services.keys().map(ServiceName::as_str).collect();
    assert_eq!(names, ["countdown-v1", "countdown-v2"]);
    let v1 = &project.services[&"countdown-v1".parse().unwrap()];
    assert_eq!((v1.image.as_str(), v1.scale), ("flaccid/countdown_example:v1", 1));
    assert_eq!((v1.restart, v1.tty, v1.stdin_open), (Restart::No, true, true));
    assert_eq!(v1.container_ports(), [port(80)]);
    assert_eq!(project.warnings, Vec::<String>::new());
}

#[test]
fn todays_form_is_read() {
    let project = good(TODAY);
    assert_eq!(project.form, Some(Form::Services));
    assert_eq!(project.name.map(|name| name.to_string()).as_deref(), Some("countdown"));
    assert_eq!(project.services[&"countdown-v2".parse().unwrap()].scale, 3);
    assert_eq!(project.aliases.len(), 2);
}

#[test]
fn what_a_service_says_is_taken() {
    let project = good(
        "services:\n  web:\n    image: app:${TAG}\n    command: serve --name 'a b'\n    entrypoint: [\"/bin/sh\", -c]\n    environment: [A=1, B]\n    \
         labels: {x: \"1\"}\n    ports: [\"127.0.0.1:81:80\", {target: 53, published: 53, protocol: udp}]\n    expose: [9000]\n    \
         healthcheck: {test: \"true\", interval: 1s, retries: 2}\n    deploy: {replicas: 4}\n    restart: on-failure:3\n    \
         volumes: [\"/srv:/www:ro\"]\n    depends_on: [db]\n    stop_grace_period: 1m30s\n  db: {image: \"db:${NONE:-1}$$\"}\n",
    );
    let web = &project.services[&"web".parse().unwrap()];
    assert_eq!(web.image, "app:v9");
    assert_eq!(web.command.as_deref().unwrap(), ["serve", "--name", "a b"]);
    assert_eq!(web.entrypoint.as_deref().unwrap(), ["/bin/sh", "-c"]);
    assert_eq!(web.environment["A"].as_deref(), Some("1"));
    assert_eq!(web.environment["B"], None);
    assert_eq!((web.scale, web.restart), (4, Restart::OnFailure(3)));
    assert_eq!(web.container_ports().len(), 3);
    let health = web.healthcheck.as_ref().unwrap();
    assert_eq!(
        (health.test.as_slice(), health.retries),
        (&["CMD-SHELL".to_owned(), "true".to_owned()][..], Some(2))
    );
    assert_eq!(web.after, ["db".parse().unwrap()]);
    assert_eq!(project.services[&"db".parse().unwrap()].image, "db:1$");
}

#[test]
fn unknown_and_unsupported_keys_are_refused() {
    check_table(&[
        (
            "web: {image: nginx, imaeg: x}\n",
            "c.yml:1:21: web.imaeg: unknown key 'imaeg'; did you mean 'image'? (known here: image, command, entrypoint, \
             environment, labels, ports, expose, links, depends_on, scale, deploy, restart, tty, stdin_open, healthcheck, \
             network_mode, net, networks, volumes, user, working_dir, hostname, stop_signal, stop_grace_period, cap_add, \
             cap_drop, dns, extra_hosts)",
        ),
        (
            "web:\n  build: .\n",
            "c.yml:2:3: web.build: 'build' is not supported; build the image first (docker build -t NAME .), and name it with 'image'",
        ),
        (
            "services: {web: {image: nginx}}\nsecrets: {a: {}}\n",
            "c.yml:2:1: secrets: 'secrets' is not supported; mount a folder with 'volumes', or write the files as one",
        ),
        (
            "services: {web: {image: nginx}}\nservice: {}\n",
            "c.yml:2:1: service: unknown key 'service'; did you mean 'services'? (known here: version, name, services, networks, volumes)",
        ),
        (
            "a: {image: rancher/dns-service, links: [web], command: x}\nweb: {image: nginx, expose: [80]}\n",
            "c.yml:1:47: a.command: unknown key 'command'; remove it (known here: image, links, ports, tty, stdin_open, labels, \
             restart, scale): rancher/dns-service runs in no container",
        ),
        (
            "services: {web: {image: nginx}}\nnetworks: {n: {driver: overlay}}\n",
            "c.yml:2:12: networks.n: has settings, which are not supported; make a network with docker first, and leave only its name",
        ),
    ]);
}

#[test]
fn links_to_nowhere_and_circles_are_refused() {
    check_table(&[
        (
            "a:\n  image: rancher/dns-service\n  links: [countdown-v3]\ncountdown-v2: {image: x, expose: [80]}\n",
            "c.yml:3:11: a.links[0]: links to service 'countdown-v3', which is in none of the files; did you mean 'countdown-v2'?",
        ),
        (
            "a:\n  image: rancher/dns-service\n  links: [b]\nb:\n  image: rancher/dns-service\n  links: ['a:']\n",
            "c.yml:6:11: b.links[0]: links go round: b -> a -> b; remove one of them",
        ),
        (
            "a:\n  image: rancher/dns-service\n  links: [b]\nb:\n  image: rancher/dns-service\n  links: [w]\nw: {image: x, expose: [80]}\n",
            "c.yml:3:11: a.links[0]: links to 'b', which is an alias itself; link to the services behind it",
        ),
        (
            "x: {image: x, links: [y]}\ny: {image: y, depends_on: [z]}\nz: {image: z, links: [x]}\n",
            "c.yml:1:23: x.links[0]: links go round: x -> y -> z -> x; remove one of them",
        ),
        (
            "x: {image: x, links: [x]}\n",
            "c.yml:1:23: x.links[0]: links go round: x -> x; remove one of them",
        ),
        (
            "a:\n  image: rancher/dns-service\n  links: [w, w]\nw: {image: x, expose: [80]}\n",
            "c.yml:3:14: a.links[1]: links 'w' twice, first at line 3; keep one",
        ),
        (
            "a:\n  image: rancher/dns-service\nw: {image: x}\n",
            "c.yml:1:1: a.links: is missing; name the services behind it, as links: [countdown-v1]",
        ),
        (
            "a:\n  image: rancher/dns-service\n  links: [w]\nw: {image: x}\n",
            "c.yml:3:3: a.links: no service behind it names a port, so nobody could connect; say which, as w: {expose: [\"80\"]}",
        ),
    ]);
}

#[test]
fn bad_ports_are_refused() {
    check_table(&[
        (
            "l:\n  image: rancher/load-balancer-service\n  links: [w]\n  ports: ['8000:80', 8000:81]\nw: {image: x}\n",
            "c.yml:4:22: l.ports[1]: is the same port as the one at line 4; keep one",
        ),
        (
            "l:\n  image: rancher/load-balancer-service\n  links: [w]\n  ports: ['8000:80']\nw: {image: x, ports: ['8000:80']}\n",
            "c.yml:5:15: w.ports: port 8000 of the host is published by 'l' and by 'w'; change one",
        ),
        (
            "l:\n  image: rancher/load-balancer-service\n  links: [w]\nw: {image: x}\n",
            "c.yml:1:1: l.ports: is missing; say where it is published, as ports: [\"8000:80/tcp\"]",
        ),
        (
            "w: {image: x, ports: [80000]}\n",
            "c.yml:1:23: w.ports[0]: '80000' is no port from 1 to 65535; write it as \"8000:80/tcp\", \"80/tcp\" or \"10.0.0.1:8000:80/tcp\"",
        ),
        (
            "w: {image: x, ports: ['8000-8010:80']}\n",
            "c.yml:1:23: w.ports[0]: '8000-8010' is a range of ports; write each port; write it as \"8000:80/tcp\", \"80/tcp\" or \"10.0.0.1:8000:80/tcp\"",
        ),
    ]);
}

#[test]
fn texts_that_are_no_compose_file_are_refused() {
    check_table(&[
        (
            "web:\n\timage: nginx\n",
            "c.yml:2:1: web.image: a tab indents this line, YAML takes spaces only; replace the tab by spaces",
        ),
        (
            "",
            "c.yml:1:1: compose file: is empty, not a mapping; name a service, as 'web: {image: nginx}', or begin with 'services:'",
        ),
        (
            "services: {}\n",
            "c.yml:1:1: services: names no service; name one, as web: {image: nginx}",
        ),
        (
            "version: '2'\n",
            "c.yml:1:1: compose file: has no 'services'; name the services below that key",
        ),
        (
            "version: '1'\nservices: {w: {image: x}}\n",
            "c.yml:1:10: version: version '1' is not read; use 2 or 3, or leave the line out",
        ),
        (
            "web: nginx\n",
            "c.yml:1:6: web: is a single value, not a service; give it an image, as web: {image: nginx}",
        ),
        (
            "web: {tty: true}\n",
            "c.yml:1:1: web.image: is missing; name the image, as image: nginx:1.25",
        ),
        (
            "-web: {image: x}\n",
            "c.yml:1:1: -web: name '-web' has a character that is not allowed; use a-z, A-Z, 0-9, '-', '_' and '.', beginning with a letter or digit",
        ),
        (
            "w: {image: \"x:${NONE}\"}\n",
            "c.yml:1:12: w.image: uses the variable NONE, which is not set; set it, or write ${NONE:-default} ($$ is a dollar sign)",
        ),
        (
            "w: {image: x, scale: 1000}\n",
            "c.yml:1:22: w.scale: '1000' is no whole number from 0 to 256; write one",
        ),
        (
            "w: {image: x, restart: sometimes}\n",
            "c.yml:1:24: w.restart: 'sometimes' is no restart policy; use no, always, unless-stopped or on-failure[:TIMES]",
        ),
    ]);
}

#[test]
fn two_files_are_one_project_and_nothing_is_overridden() {
    let one = source("a.yml", "web: {image: x}\n");
    let project = parse(&[one.clone(), source("b.yml", "db: {image: y}\n")], None, &variable).unwrap();
    assert_eq!(project.services.len(), 2);
    let error = parse(&[one.clone(), source("b.yml", "web: {image: y}\n")], None, &variable).unwrap_err();
    assert_eq!(
        error.to_string(),
        "b.yml:1:1: web: stands in a file before this one too; files that override others are not read: write it once"
    );
    let other_form = source("b.yml", "services: {db: {image: y}}\n");
    assert!(
        parse(&[one, other_form], None, &variable)
            .unwrap_err()
            .to_string()
            .contains("use one form")
    );
}

#[test]
fn ranchers_file_is_checked_against_the_services() {
    let compose = [source("c.yml", POSTED)];
    let read = |text: &str| parse(&compose, Some(&source("r.yml", text)), &variable);
    let project = read("countdown-v1: {scale: 3, retain_ip: true, upgrade_strategy: {start_first: false}}\n").unwrap();
    assert_eq!(project.services[&"countdown-v1".parse().unwrap()].scale, 3);
    assert_eq!(
        project.warnings,
        [
            "r.yml:1:26: countdown-v1.retain_ip: has no effect: the alias's address stays, whatever its containers have",
            "r.yml:1:62: countdown-v1.upgrade_strategy.start_first: has no effect: new containers are always started first; \
             nothing is stopped before",
        ]
    );
    let cases = [
        (
            "countdown-v3: {scale: 1}\n",
            "r.yml:1:1: countdown-v3: service 'countdown-v3' is not in the compose file; did you mean 'countdown-v2'?",
        ),
        (
            "countdown-v1: {scal: 1}\n",
            "r.yml:1:16: countdown-v1.scal: unknown key 'scal'; did you mean 'scale'? (known here: scale, load_balancer_config, upgrade_strategy, health_check, metadata, retain_ip, start_on_create)",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(read(text).unwrap_err().to_string(), expected);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-z:{}\\[\\]'\"$ \n\t\\-0-9/]{0,200}") {
        let _ = read(&text);
    }
}
