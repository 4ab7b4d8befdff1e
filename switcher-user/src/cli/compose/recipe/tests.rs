//! What Docker is to make, and what containers are told apart by.

use super::*;
use crate::compose::{SourceFile, Surroundings, parse};

/// What `look` finds at the recipe of the first service by name.
fn look_at<T>(text: &str, opened: Vec<Port>, look: impl FnOnce(&Recipe<'_>) -> T) -> T {
    let dns = opened.first().map(|_| "172.17.0.1".parse().unwrap());
    look_on(&Resolvers::default(), dns, text, opened, look)
}

/// The same on a host with these resolvers, where the agent answers names at `dns`.
fn look_on<T>(
    resolvers: &Resolvers,
    dns: Option<IpAddr>,
    text: &str,
    opened: Vec<Port>,
    look: impl FnOnce(&Recipe<'_>) -> T,
) -> T {
    let source = SourceFile {
        name: "compose.yaml".to_owned(),
        text: text.to_owned(),
    };
    let project = parse(&[source], None, &Surroundings::none()).unwrap();
    let (name, service) = project.services.first_key_value().unwrap();
    let stack = "shop".parse().unwrap();
    let zone: Zone = "shop.example".parse().unwrap();
    let recipe = Recipe {
        project: &stack,
        name,
        service,
        files: &project,
        network: network(&project, &stack, service),
        dns,
        zone: &zone,
        resolvers,
        opened,
    };
    look(&recipe)
}

fn hash(text: &str, opened: Vec<Port>) -> String {
    look_at(text, opened, |recipe| recipe.hash())
}

const APP: &str =
    "services:\n  app: {image: \"app:1\", ports: [\"80\"], environment: {A: b, C: d}, labels: {x: y, z: w}}\n";

#[test]
fn a_hash_is_the_same_from_every_build() {
    // Published test values of FNV-1a.
    assert_eq!(fnv_1a(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
    assert_eq!(fnv_1a(b"foobar"), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    // Another number here means that every container of every user is "made of other settings".
    assert_eq!(hash(APP, Vec::new()), "cd0e94f17c020a0551730f3a01e0e430");
}

#[test]
fn a_hash_tells_settings_apart_and_nothing_else() {
    let port = Port {
        number: 8080.try_into().unwrap(),
        protocol: Protocol::Tcp,
    };
    assert_eq!(hash(APP, vec![port]), hash(APP, Vec::new()));
    for (old, new) in [
        ("app:1", "app:2"),
        ("A: b", "A: c"),
        ("[\"80\"]", "[\"81\"]"),
        ("x: y", "x: v"),
    ] {
        assert_ne!(hash(&APP.replace(old, new), Vec::new()), hash(APP, Vec::new()), "{new}");
    }
}

const MORE: &str = "\
services:
  app:
    image: app:1
    networks: {back: {aliases: [store]}, old: }
    links: [db, 'db:database', 'lb:front']
    volumes: ['data:/data', './www:/www:ro', /cache]
    tmpfs: ['/tmp:size=1m']
    init: true
    shm_size: 1m
    mem_limit: 2m
    read_only: true
    privileged: true
    logging: {driver: local, options: {max-size: 1m}}
  db: {image: 'db:1', expose: [80]}
  lb: {image: rancher/dns-service, links: [db]}
networks: {back: , old: {external: true}, new: }
volumes: {data: , other: }
";

#[test]
fn what_a_service_is_attached_to_and_given_is_docker_s_to_make() {
    let (body, more) = look_at(MORE, Vec::new(), |recipe| (recipe.body(1), recipe.more_networks()));
    let host = body.host_config.unwrap();
    assert_eq!(host.network_mode.as_deref(), Some("shop_back"));
    assert_eq!(host.binds.unwrap(), ["shop_data:/data", "/www:/www:ro"]);
    assert_eq!(body.volumes.unwrap(), ["/cache"]);
    assert_eq!(host.tmpfs.unwrap()["/tmp"], "size=1m");
    assert_eq!((host.shm_size, host.memory), (Some(1 << 20), Some(2 << 20)));
    assert_eq!(
        (host.init, host.readonly_rootfs, host.privileged),
        (Some(true), Some(true), Some(true))
    );
    let log = host.log_config.unwrap();
    assert_eq!(
        (log.typ.as_deref(), log.config.unwrap()["max-size"].as_str()),
        (Some("local"), "1m")
    );
    let first = &body.networking_config.unwrap().endpoints_config.unwrap()["shop_back"];
    assert_eq!(first.aliases.as_deref().unwrap(), ["app", "store"]);
    assert_eq!(first.links.as_deref().unwrap(), ["db:database"]);
    assert_eq!(more.len(), 1);
    assert_eq!(
        (more[0].0.as_str(), more[0].1.aliases.as_deref().unwrap()),
        ("old", &["app".to_owned()][..])
    );
    assert_eq!(body.labels.unwrap()[LABEL_LINKS], "front=alias/lb");
}

#[test]
fn a_hash_tells_new_settings_apart_too() {
    for (old, new) in [
        ("[store]", "[shop]"),
        ("old: }\n    links", "new: }\n    links"),
        ("db:database", "db:data"),
        ("lb:front", "lb:back"),
        ("'data:/data'", "'other:/data'"),
        ("./www", "./www2"),
        ("/cache", "/cached"),
        ("/tmp:size", "/run:size"),
        ("init: true", "init: false"),
        ("shm_size: 1m", "shm_size: 2m"),
        ("mem_limit: 2m", "mem_limit: 3m"),
        ("read_only: true", "read_only: false"),
        ("privileged: true", "privileged: false"),
        ("max-size: 1m", "max-size: 2m"),
    ] {
        let changed = MORE.replace(old, new);
        assert_ne!(changed, MORE);
        assert_ne!(hash(&changed, Vec::new()), hash(MORE, Vec::new()), "{new}");
    }
}

/// Plain links, and those of Docker's bridge, which nobody answered before, made no other containers of anybody's.
#[test]
fn plain_links_are_the_agents_to_answer_and_in_no_hash() {
    let linked = "app: {image: 'app:1', links: [db]}\ndb: {image: 'db:1'}\n";
    let alone = linked.replace(", links: [db]", "");
    assert_eq!(hash(linked, Vec::new()), hash(&alone, Vec::new()));
    let label = |text: &str| {
        look_at(text, Vec::new(), |recipe| {
            recipe.body(1).labels.unwrap().remove(LABEL_LINKS)
        })
    };
    assert_eq!(label(linked).as_deref(), Some("db=service/db"));
    assert_eq!(label(&alone), None);
    let said = look_at(linked, Vec::new(), |recipe| recipe.unanswered());
    assert_eq!(
        said,
        ["nobody answers the name 'db' of its link to 'db': start the agent with --dns ADDRESS:53"]
    );
    let renamed = linked.replace("[db]", "['db:database']");
    assert_ne!(hash(&renamed, Vec::new()), hash(&alone, Vec::new()));
    let today = format!("services:\n  {}", linked.trim_end().replace('\n', "\n  "));
    assert_eq!(
        (label(&today), look_at(&today, Vec::new(), |recipe| recipe.unanswered())),
        (None, Vec::new())
    );
}

/// Whom the first service's containers ask, where they search, and what is warned of. The hash is the same on every host.
fn asks_on(resolvers: &Resolvers, text: &str) -> (Vec<String>, Vec<String>, String) {
    let agent = Some("172.17.0.1".parse().unwrap());
    look_on(resolvers, agent, text, Vec::new(), |recipe| {
        assert_eq!(recipe.hash(), hash(text, Vec::new()));
        let host = recipe.body(1).host_config.unwrap();
        let warned = recipe.unanswered().join("\n");
        (
            host.dns.unwrap_or_default(),
            host.dns_search.unwrap_or_default(),
            warned,
        )
    })
}

#[test]
fn a_container_asks_the_agent_first_and_searches_its_zone_first() {
    let host = Resolvers {
        servers: vec!["10.0.0.2".parse().unwrap(), "10.0.0.3".parse().unwrap()],
        search: vec!["corp.example".to_owned()],
    };
    let (servers, search, warned) = asks_on(&host, APP);
    assert_eq!(servers, ["172.17.0.1", "10.0.0.2", "10.0.0.3"]);
    assert_eq!(search, ["shop.example", "corp.example"]);
    assert_eq!(warned, "");
    // Another's "no such name" would be believed, so it comes after.
    let own = APP.replace("image: \"app:1\"", "image: \"app:1\", dns: [10.9.9.9]");
    assert_eq!(asks_on(&host, &own).0, ["172.17.0.1", "10.9.9.9"]);
    let none = look_on(&host, None, &own, Vec::new(), |recipe| recipe.asks());
    assert_eq!(none.servers, ["10.9.9.9"], "where no names are answered");
    assert!(none.search.is_empty());
}

#[test]
fn where_the_host_asks_itself_names_outside_are_kept_or_a_warning_says_what_is_lost() {
    let itself = Resolvers::default();
    let (servers, search, warned) = asks_on(&itself, APP);
    assert!(
        servers.is_empty() && search.is_empty(),
        "Docker's own resolver reaches loopback: {servers:?}"
    );
    assert!(
        warned.contains("knows no alias") && warned.contains("'dns:'"),
        "{warned}"
    );

    let (servers, _, warned) = asks_on(&itself, MORE);
    assert_eq!(servers, ["172.17.0.1"], "it links an alias");
    assert!(warned.contains("no names outside"), "{warned}");

    let (servers, _, warned) = asks_on(&itself, "app: {image: 'app:1'}\n");
    assert_eq!(
        servers,
        ["172.17.0.1", "8.8.8.8", "8.8.4.4"],
        "as Docker does on bridge"
    );
    assert!(warned.contains("8.8.8.8"), "{warned}");

    let own = APP.replace("image: \"app:1\"", "image: \"app:1\", dns: [10.9.9.9]");
    let (servers, _, warned) = asks_on(&itself, &own);
    assert_eq!(
        (servers, warned),
        (vec!["172.17.0.1".to_owned(), "10.9.9.9".to_owned()], String::new())
    );
}
