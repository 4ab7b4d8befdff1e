//! The thread's files, and every mistake by its exact text.

mod broken;
mod rules;
mod today;

use std::num::NonZeroU16;
use std::path::Path;

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
        "HOME" => Some("/home/me".to_owned()),
        "COMPOSE_PROFILES" => Some("debug, more".to_owned()),
        _ => None,
    }
}

/// A file that `env_file` may name.
fn file(path: &Path) -> Result<Option<String>, String> {
    match path.to_str() {
        Some("/srv/shop/web.env") => Ok(Some("A=file\nB='x $y' # why\n\n# no\nexport C=\"a\\nb\"\n".to_owned())),
        Some("/srv/shop/bad.env") => Ok(Some("A=1\nB C=2\n".to_owned())),
        Some("/srv/shop/locked.env") => Err("Permission denied".to_owned()),
        _ => Ok(None),
    }
}

fn around() -> Surroundings<'static> {
    Surroundings {
        variable: &variable,
        file: &file,
        folder: Path::new("/srv/shop"),
    }
}

fn read(text: &str) -> Result<Project, ConfigError> {
    parse(&[source("c.yml", text)], None, &around())
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
    let project = parse(&files, Some(&source("rancher-compose.yml", RANCHER)), &around()).unwrap();
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
fn what_yaml_repeats_is_read() {
    let project = good(
        "x-base: &base {restart: always, environment: {A: b}}\nservices:\n  web: {<<: *base, image: x}\n  api: {<<: *base, image: y, restart: 'no'}\n",
    );
    let of = |name: &str| &project.services[&name.parse().unwrap()];
    assert_eq!(of("web").restart, Restart::Always);
    assert_eq!((of("api").restart, of("api").environment.len()), (Restart::No, 1));
}

#[test]
fn what_a_service_says_is_taken() {
    let project = good(
        "services:\n  web:\n    image: app:${TAG}\n    command: serve --name 'a b'\n    entrypoint: [\"/bin/sh\", -c]\n    environment: [A=1, B]\n    \
         labels: {x: \"1\"}\n    ports: [\"127.0.0.1:81:80\", {target: 53, published: 53, protocol: udp}]\n    expose: [9000]\n    \
         healthcheck: {test: \"true\", interval: 1s, retries: 2}\n    deploy: {replicas: 0}\n    restart: on-failure:3\n    \
         volumes: [\"/srv:/www:ro\"]\n    depends_on: [db]\n    stop_grace_period: 1m30s\n  db: {image: \"db:${NONE:-1}$$\"}\n",
    );
    let web = &project.services[&"web".parse().unwrap()];
    assert_eq!(web.image, "app:v9");
    assert_eq!(web.command.as_deref().unwrap(), ["serve", "--name", "a b"]);
    assert_eq!(web.entrypoint.as_deref().unwrap(), ["/bin/sh", "-c"]);
    assert_eq!(web.environment["A"].as_deref(), Some("1"));
    assert_eq!(web.environment["B"], None);
    assert_eq!((web.scale, web.restart), (0, Restart::OnFailure(3)));
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
fn two_files_are_one_project_and_nothing_is_overridden() {
    let one = source("a.yml", "web: {image: x}\n");
    let project = parse(&[one.clone(), source("b.yml", "db: {image: y}\n")], None, &around()).unwrap();
    assert_eq!(project.services.len(), 2);
    let error = parse(&[one.clone(), source("b.yml", "web: {image: y}\n")], None, &around()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "b.yml:1:1: web: stands in a file before this one too; files that override others are not read: write it once"
    );
    let other_form = source("b.yml", "services: {db: {image: y}}\n");
    assert!(
        parse(&[one, other_form], None, &around())
            .unwrap_err()
            .to_string()
            .contains("use one form")
    );
}

#[test]
fn ranchers_file_is_checked_against_the_services() {
    let compose = [source("c.yml", POSTED)];
    let read = |text: &str| parse(&compose, Some(&source("r.yml", text)), &around());
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
            "r.yml:1:16: countdown-v1.scal: unknown key 'scal'; did you mean 'scale'? (known here: scale, load_balancer_config, lb_config, upgrade_strategy, health_check, metadata, retain_ip, start_on_create)",
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
