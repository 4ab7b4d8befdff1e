//! Networks of the project's own.

use std::time::Duration;

use switcher_tests::interrupt;
use switcher_tests::lab::Namespace;
use switcher_tests::traffic::{Generator, Sources};

use crate::docker::{Site, all_answered, plan_at};

const SETTLE: Duration = Duration::from_secs(2);
const START: Duration = Duration::from_secs(15);
const NETWORKS: &str = "\
name: shop
services:
  lb: {image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [app]}
  app: {image: \"flaccid/countdown_example:v1\", ports: [\"80\"], scale: 2}
";

#[test]
fn a_network_of_the_projects_own_is_found_by_itself_inside_and_outside() {
    let site = Site::new();
    site.compose(&site.file(NETWORKS), "up -d").expect_code(&[0]).unwrap();
    let client = site.client_container_on("shop_default");
    assert_eq!(site.ask_outside(), "v1");
    assert_eq!(
        site.ask_inside("http://lb:8000/"),
        "v1",
        "by the name, through Docker's own resolver"
    );
    let mut inside = site.load_inside(&client, &site.own_address("lb"));
    let mut outside = site.load_outside();
    interrupt::sleep(SETTLE).unwrap();
    all_answered(&mut inside);
    all_answered(&mut outside);
}

/// `web` is a container of Docker's bridge first, then one on the host's own network.
const HOST: &str = "\
name: shop
services:
  lb: {image: rancher/load-balancer-service, ports: [\"8000:80\"], links: [SERVING]}
  bridged: {image: \"flaccid/countdown_example:v1\", ports: [\"80\"]}
  host: {image: \"flaccid/countdown_example:v2\", network_mode: host, expose: [\"80\"]}
";

#[test]
fn a_container_on_the_hosts_own_network_takes_over_and_leaves_without_a_gap() {
    let site = Site::new();
    let up = |service: &str| {
        let file = site.file(&HOST.replace("SERVING", service));
        site.compose(&file, "up -d").expect_code(&[0]).unwrap();
    };
    up("bridged");
    site.dockerd.docker("network inspect shop_default");
    let client = site.client_container_on("shop_default");
    let mut inside = site.load_inside(&client, &site.own_address("lb"));
    let mut outside = site.load_outside();
    interrupt::sleep(SETTLE).unwrap();
    up("host");
    let status = site.json("status lb --json");
    let sets = status["aliases"][0]["sets"].as_array().unwrap();
    let set = sets.iter().find(|set| set["name"] == "host").unwrap();
    assert_eq!(set["backends"][0]["address"], "10.0.0.1:80", "{set}");
    assert_eq!(
        (site.ask_outside(), site.ask_inside("http://lb:8000/")),
        ("v2".to_owned(), "v2".to_owned())
    );
    interrupt::sleep(SETTLE).unwrap();
    up("bridged");
    assert_eq!(site.ask_outside(), "v1");
    interrupt::sleep(SETTLE).unwrap();
    for load in [&mut inside, &mut outside] {
        let report = all_answered(load);
        assert!(
            report.answers["v1"] > 0 && report.answers["v2"] > 0,
            "{:?}",
            report.answers
        );
    }
}

#[test]
fn a_labelled_container_on_the_hosts_own_network_is_a_backend_once_it_takes_connections() {
    let site = Site::new();
    site.expect("alias put web --listen 10.0.0.1:8000/tcp", 0);
    let labels = "--label switcher.alias=web --label switcher.set=v1 --label switcher.port=80";
    let image = "flaccid/countdown_example:v1";
    // Nothing listens at its port yet.
    site.dockerd.docker(&format!(
        "run -d --name one --network host {labels} {image} /bin/sleep 1000"
    ));
    interrupt::sleep(SETTLE).unwrap();
    assert_eq!(site.sets("web"), Vec::<String>::new(), "it takes no connection yet");
    site.dockerd
        .docker("exec -d one /usr/sbin/nginx -c /etc/nginx.conf -e /dev/null");
    // Of each family that the host has there.
    site.wait("it becomes a backend", START, || site.backends("web", "v1") == 2);
    site.expect("split web v1=100", 0);
    assert_eq!(site.ask_outside(), "v1");
}

#[test]
fn containers_with_ipv6_serve_outside_and_clients_on_their_own_bridge() {
    let site = Site::new();
    site.dockerd.docker("network create --ipv6 --subnet fd00:d0c::/64 six");
    site.expect(
        "alias put web --listen 10.0.0.1:8000/tcp --listen [fd00:c::1]:8000/tcp",
        0,
    );
    for version in ["v1", "v2"] {
        let labels = format!("--label switcher.alias=web --label switcher.set={version} --label switcher.port=80");
        let image = format!("flaccid/countdown_example:{version}");
        site.dockerd
            .docker(&format!("run -d --name {version} --network six -p 80 {labels} {image}"));
        // Its address of each family.
        site.wait("it becomes a backend", START, || site.backends("web", version) == 2);
    }
    site.expect("split web v1=100", 0);
    let client = site.client_container_on("six");
    let six = "[fd00:c::1]:8000";
    let load = |run: &str, space: &Namespace| {
        let plan = plan_at(200, run, six, Sources::default(), 4);
        Generator::load_in(&site.lab, space, &plan).unwrap()
    };
    let mut loads = [load("outside", site.lab.client()), load("inside", &client)];
    interrupt::sleep(SETTLE).unwrap();
    site.expect("split web v2=100", 0);
    interrupt::sleep(SETTLE).unwrap();
    for load in &mut loads {
        let report = all_answered(load);
        assert!(
            report.answers["v1"] > 0 && report.answers["v2"] > 0,
            "{:?}",
            report.answers
        );
    }
    assert_eq!(site.ask_inside(&format!("http://{six}/")), "v2");
}

/// What ordinary files of today have beside services: a `.env`, files of variables, folders, volumes, several networks.
const ORDINARY: &str = "\
services:
  lb: {image: \"docker.io/rancher/lb-service-haproxy:v0.9.1\", ports: [\"8000:8080\"]}
  app:
    image: \"flaccid/countdown_example:${APP_TAG}\"
    ports: [\"80\"]
    networks: [default, back]
    env_file: app.env
    volumes: [\"./www:/www:ro\", \"data:/data\"]
    tmpfs: /scratch
    mem_limit: 256m
    init: true
  db: {image: \"flaccid/countdown_example:v2\", expose: [80], networks: {wide: {aliases: [store]}}}
  shell:
    image: \"flaccid/countdown_example:v2\"
    networks: [default, back, wide]
    links: [\"db:database\", \"lb:front\"]
networks: {wide: {external: true}, back: }
";

const MORE: &str = "\
services: {never: {image: not-there, profiles: [tools]}}
volumes: {data: }
";

const VARIABLES: &str = "\
APP_TAG=v1
COMPOSE_PROJECT_NAME=shop # as always
COMPOSE_FILE='shop.yml;more.yml'
COMPOSE_PATH_SEPARATOR=;
";

/// Its balancer's rules, beside it.
const RULES: &str = "lb: {lb_config: {port_rules: [{source_port: 8080, target_port: 80, service: app, protocol: http, priority: 1}]}}\n";

/// Rancher's first form, on Docker's own bridge, where nobody but the agent answers names.
const FIRST_FORM: &str = "\
db: {image: \"flaccid/countdown_example:v2\", expose: [80]}
front: {image: rancher/dns-service, links: [db]}
user: {image: \"flaccid/countdown_example:v1\", links: [\"db:database\", db, \"front:www\"]}
";

#[test]
fn ordinary_files_are_carried_out_and_links_keep_their_names() {
    let site = Site::new();
    let folder = site.lab.dir().join("ordinary");
    std::fs::create_dir_all(folder.join("www")).unwrap();
    for (name, text) in [
        ("shop.yml", ORDINARY),
        ("more.yml", MORE),
        ("rancher-compose.yml", RULES),
        (".env", VARIABLES),
        ("app.env", "GREETING='hello there'\n"),
        ("www/page", "a page"),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let absent = site.compose_in(&folder, "up -d").expect_code(&[1]).unwrap();
    assert!(
        absent.stderr.contains("docker network create wide"),
        "{}",
        absent.stderr
    );
    assert_eq!(site.dockerd.docker("ps -aq"), "", "nothing is made before all is there");
    let rules = folder.join("rancher-compose.yml");
    std::fs::write(&rules, RULES.replace("priority: 1", "hostname: a.example")).unwrap();
    let refused = site.compose_in(&folder, "up -d").expect_code(&[2]).unwrap();
    assert!(
        refused.stderr.contains("rancher-compose.yml:1:") && refused.stderr.contains("port_rules[0].hostname: needs"),
        "{}",
        refused.stderr
    );
    std::fs::write(&rules, RULES).unwrap();
    site.dockerd.docker("network create wide");
    site.compose_in(&folder, "up -d").expect_code(&[0]).unwrap();
    assert_eq!(site.ask_outside(), "v1");
    let inside = |container: &str, line: &str| site.dockerd.docker(&format!("exec {container} {line}"));
    for (url, answer) in [
        ("http://database/", "v2"),
        ("http://store/", "v2"),
        ("http://front:8000/", "v1"),
    ] {
        let asked = inside("shop-shell-1", &format!("/usr/bin/curl -sS --max-time 5 {url}"));
        assert_eq!(asked, answer, "{url}");
    }
    assert_eq!(inside("shop-app-1", "/bin/busybox cat /www/page"), "a page");
    let variables = inside("shop-app-1", "/bin/busybox env");
    assert!(variables.contains("GREETING=hello there"), "{variables}");
    let form = "{{.HostConfig.Memory}},{{.HostConfig.Init}}";
    let made = site.dockerd.docker(&format!("inspect -f {form} shop-app-1"));
    assert_eq!(made, format!("{},true", 256 << 20));
    assert!(inside("shop-app-1", "/bin/busybox mount").contains("tmpfs on /scratch"));
    assert_eq!(site.dockerd.docker("volume ls -q"), "shop_data");
    let again = site.compose_in(&folder, "up -d").expect_code(&[0]).unwrap();
    assert!(again.stdout.contains("nothing to do"), "{}", again.stdout);

    std::fs::remove_file(rules).unwrap();
    std::fs::write(folder.join("shop.yml"), FIRST_FORM).unwrap();
    site.compose_in(&folder, "-p first -f - up -d < shop.yml")
        .expect_code(&[0])
        .unwrap();
    for name in ["database", "db", "www"] {
        let asked = inside(
            "first-user-1",
            &format!("/usr/bin/curl -sS --max-time 5 http://{name}/"),
        );
        assert_eq!(asked, "v2", "{name}");
    }
}
