//! What today's files of ordinary users have: paths, networks, variables, more keys.

use std::collections::BTreeMap;

use super::super::interpolate::interpolate;
use super::*;

fn service(text: &str) -> Service {
    good(text).services.remove(&"web".parse().unwrap()).unwrap()
}

#[test]
fn images_make_aliases_by_any_full_name() {
    let kinds = [
        ("rancher/dns-service", Some(AliasKind::Dns)),
        ("rancher/dns-service:v0.1", Some(AliasKind::Dns)),
        ("docker.io/rancher/dns-service@sha256:abc", Some(AliasKind::Dns)),
        (
            "index.docker.io/rancher/load-balancer-service:v1@sha256:abc",
            Some(AliasKind::Balancer),
        ),
        ("rancher/lb-service-haproxy:v0.9.1", Some(AliasKind::RuledBalancer)),
        ("registry:5000/rancher/dns-service", None),
        ("rancher/dns-service-2", None),
        ("dns-service", None),
    ];
    for (image, kind) in kinds {
        assert_eq!(AliasKind::of_image(image), kind, "{image}");
    }
    let project =
        good("a: {image: 'docker.io/rancher/dns-service:v1', links: [web]}\nweb: {image: app, expose: [80]}\n");
    assert_eq!(project.aliases.len(), 1);
}

#[test]
fn volumes_are_folders_and_names() {
    let project = good(
        "services:\n  web:\n    image: app\n    volumes:\n      - ./www:/www:ro\n      - ../x/./y:/y\n      - ~/z:/z\n      - data:/data:z,ro\n      \
         - /only\n      - {type: bind, source: conf, target: /conf, read_only: true}\n      - {type: volume, source: old, target: /old}\n\
         volumes: {data: , old: {external: true, name: data.1}, plain: {external: true}}\n",
    );
    let web = &project.services[&"web".parse().unwrap()];
    let folder = |path: &str| MountSource::Folder(path.to_owned());
    let expected = [
        (folder("/srv/shop/www"), "/www", Some("ro")),
        (folder("/srv/x/y"), "/y", None),
        (folder("/home/me/z"), "/z", None),
        (MountSource::Volume("data".to_owned()), "/data", Some("z,ro")),
        (MountSource::Anonymous, "/only", None),
        (folder("/srv/shop/conf"), "/conf", Some("ro")),
        (MountSource::Volume("old".to_owned()), "/old", None),
    ];
    let read: Vec<(MountSource, &str, Option<&str>)> = web
        .volumes
        .iter()
        .map(|mount| (mount.source.clone(), mount.target.as_str(), mount.mode.as_deref()))
        .collect();
    assert_eq!(read, expected);
    let stack = "shop".parse().unwrap();
    let names = ["data", "old", "plain"].map(|key| project.volume_name(&stack, key));
    assert_eq!(names, ["shop_data", "data.1", "plain"]);
    let first = good("web: {image: app, volumes: ['data:/data']}\n");
    assert_eq!(
        first.volume_name(&stack, "data"),
        "data",
        "the first form names Docker's own"
    );
}

#[test]
fn bad_volumes_are_refused() {
    check_table(&[
        (
            "services: {web: {image: x, volumes: ['dta:/d']}}\nvolumes: {data: {}}\n",
            "c.yml:1:38: services.web.volumes[0]: names volume 'dta', which the files do not declare; did you mean 'data'?",
        ),
        (
            "web: {image: x, volumes: ['/a:/b', 'c:/b']}\n",
            "c.yml:1:36: web.volumes[1]: mounts at '/b', as line 1 does; keep one",
        ),
        (
            "web: {image: x, volumes: ['a/b:/c']}\n",
            "c.yml:1:27: web.volumes[0]: 'a/b' is neither a volume's name nor a folder; begin a folder with / or ./",
        ),
        (
            "web: {image: x, volumes: ['/a:b']}\n",
            "c.yml:1:27: web.volumes[0]: '/a:b' is not SOURCE:TARGET[:ro]; name a folder or a volume, and where it is mounted",
        ),
        (
            "web: {image: x, volumes: [{type: npipe, source: a, target: /a}]}\n",
            "c.yml:1:34: web.volumes[0].type: 'npipe' is not supported; use bind or volume, or 'tmpfs' of the service",
        ),
        (
            "web: {image: x, volumes: [{type: bind, target: /a}]}\n",
            "c.yml:1:27: web.volumes[0]: names no 'source'; write it as {type: bind, source: ./www, target: /www}",
        ),
        (
            "web: {image: x, volumes: ['~you/a:/a']}\n",
            "c.yml:1:27: web.volumes[0]: names another user's folder with '~'; write the folder out",
        ),
    ]);
}

#[test]
fn networks_are_declared_joined_and_named() {
    let project = good(
        "services:\n  web:\n    image: app\n    networks: {front: {aliases: [www]}, back: , default: }\nnetworks:\n  front: {driver: bridge}\n  \
         back: {external: {name: old}}\n  default: {name: all}\n",
    );
    let web = &project.services[&"web".parse().unwrap()];
    let stack = "shop".parse().unwrap();
    let names: Vec<String> = web
        .networks
        .iter()
        .map(|joined| project.network_name(&stack, &joined.network))
        .collect();
    assert_eq!(names, ["shop_front", "old", "all"]);
    assert_eq!(web.networks[0].aliases, ["www"]);
    assert!(project.networks["back"].external && !project.networks["default"].external);
    good("services: {web: {image: app, networks: [default]}}\n");
}

#[test]
fn undeclared_networks_are_refused() {
    check_table(&[
        (
            "services:\n  web: {image: x, networks: [frnt]}\nnetworks: {front: {}}\n",
            "c.yml:2:30: services.web.networks[0]: names network 'frnt', which the files do not declare; did you mean 'front'?",
        ),
        (
            "services:\n  web: {image: x, networks: {other: }}\n",
            "c.yml:2:30: services.web.networks.other: names network 'other', which the files do not declare; declare it at the top, as networks: \
             {other: {}}",
        ),
        (
            "web: {image: x, networks: [front]}\n",
            "c.yml:1:28: web.networks[0]: names network 'front', and files without 'services:' declare none; remove it, or put the services \
             below 'services:'",
        ),
        (
            "services:\n  web: {image: x, network_mode: host, networks: [default]}\n",
            "c.yml:2:50: services.web.networks[0]: stand beside 'network_mode: host', and a container has one of both; remove one",
        ),
        (
            "services:\n  web: {image: x, networks: {default: {ipv4_address: 10.0.0.1}}}\n",
            "c.yml:2:40: services.web.networks.default.ipv4_address: unknown key 'ipv4_address'; remove it (known here: aliases)",
        ),
    ]);
}

#[test]
fn variables_are_replaced_within_each_other() {
    let replace = |text: &str| interpolate(text, &variable);
    for (text, expected) in [
        ("${NONE:-${TAG:-b}}", "v9"),
        ("${NONE:-${NONE:-${EMPTY:-c}}}d", "cd"),
        ("${EMPTY-x}|${EMPTY:-x}", "|x"),
        ("${TAG+x}|${EMPTY+x}|${EMPTY:+x}|${NONE+x}", "x|x||"),
        ("${NONE:-$$}}", "$}"),
        ("$TAG$$TAG", "v9$TAG"),
        ("${TAG:?no}${TAG?no}", "v9v9"),
    ] {
        assert_eq!(replace(text).as_deref(), Ok(expected), "{text}");
    }
    for (text, said) in [
        ("${NONE:?for ${TAG}}", "needs the variable NONE: for v9; set it"),
        ("${NONE?}", "needs the variable NONE; set it"),
        ("${NONE:-${A}}", "uses the variable A, which is not set"),
        ("${NONE:-${A}", "has '${' without '}'"),
        ("${TAG/a/b}", "which is not read"),
        (
            "${NONE:-${NONE:-${NONE:-${NONE:-${NONE:-${NONE:-${NONE:-${NONE:-${NONE:-x}}}}}}}}}",
            "more than 8 deep",
        ),
    ] {
        let why = replace(text).unwrap_err();
        assert!(why.contains(said), "{text}: {why}");
    }
}

#[test]
fn files_of_variables_are_read() {
    let web = service("web: {image: app, env_file: web.env, environment: {C: own, TAG: , D: }}\n");
    let expected = [
        ("A", Some("file")),
        ("B", Some("x $y")),
        ("C", Some("own")),
        ("D", None),
        ("TAG", Some("v9")),
    ];
    let expected: BTreeMap<String, Option<String>> = expected
        .map(|(name, value)| (name.to_owned(), value.map(str::to_owned)))
        .into();
    assert_eq!(web.environment, expected);
    let web = service("web: {image: app, env_file: [{path: none.env, required: false}, ./web.env]}\n");
    assert_eq!(web.environment["C"].as_deref(), Some("a\nb"));
    check_table(&[
        (
            "web:\n  image: app\n  env_file: [web.env, none.env]\n",
            "c.yml:3:23: web.env_file[1]: there is no file /srv/shop/none.env; make it, or write {path: none.env, required: false}",
        ),
        (
            "web:\n  image: app\n  env_file: bad.env\n",
            "c.yml:3:13: web.env_file: /srv/shop/bad.env:2:1: B C: is no variable; write NAME=value, or # before a comment",
        ),
        (
            "web:\n  image: app\n  env_file: locked.env\n",
            "c.yml:3:13: web.env_file: Permission denied",
        ),
    ]);
}

#[test]
fn lines_of_a_file_of_variables() {
    let read = |text: &str| variables(&source(".env", text), &variable);
    let good = [
        ("A=b # c\r\nD=e#f\n", "b|e#f"),
        ("A=\"b \\\" ${TAG}\" # c\nD='$x'\n", "b \" v9|$x"),
        ("A=b\nD=${A}-${TAG}\n", "b|b-v9"),
        ("export A = b\nD=\n", "b|"),
        ("A=\"\\$x\"\nD= # none\n", "$x|"),
    ];
    for (text, expected) in good {
        let found = read(text).unwrap();
        assert_eq!(format!("{}|{}", found["A"], found["D"]), expected, "{text}");
    }
    assert_eq!(
        read("TAG\nNONE\n").unwrap(),
        BTreeMap::from([("TAG".to_owned(), "v9".to_owned())])
    );
    for (text, said) in [
        ("=x\n", ".env:1:1: : is no variable"),
        ("A=1\nB='x\n", ".env:2:1: B: has a ' that is not closed on its line"),
        ("B=\"x\" y\n", ".env:1:1: B: has 'y' after the closing quote"),
        ("P=a$word\n", ".env:1:1: P: uses the variable word, which is not set"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.starts_with(said), "{error}");
    }
}

#[test]
fn profiles_choose_services() {
    let project = good(
        "services:\n  web: {image: app}\n  shell: {image: app, profiles: [debug]}\n  tests: {image: app, profiles: [ci]}\n",
    );
    let names: Vec<&str> = project.services.keys().map(ServiceName::as_str).collect();
    assert_eq!(names, ["shell", "web"]);
}

#[test]
fn more_keys_of_containers_are_taken() {
    let web = service(
        "web:\n  image: app\n  tmpfs: /tmp:size=1m\n  init: true\n  shm_size: 64m\n  mem_limit: 1.5g\n  read_only: true\n  privileged: true\n  \
         logging: {driver: json-file, options: {max-size: 10m}}\n",
    );
    assert_eq!(web.tmpfs, ["/tmp:size=1m"]);
    assert_eq!((web.init, web.shm_bytes), (Some(true), Some(64 << 20)));
    assert_eq!(web.memory_bytes, Some(3 << 29));
    assert_eq!((web.read_only, web.privileged), (true, true));
    let logging = web.logging.unwrap();
    assert_eq!(
        (logging.driver.as_deref(), logging.options["max-size"].as_str()),
        (Some("json-file"), "10m")
    );
    check_table(&[
        (
            "web: {image: x, mem_limit: much}\n",
            "c.yml:1:28: web.mem_limit: 'much' is no size; write it as 512m or 2g",
        ),
        (
            "web: {image: x, tmpfs: [tmp]}\n",
            "c.yml:1:17: web.tmpfs: 'tmp' does not begin with /; name the folder inside",
        ),
        (
            "web: {image: x, logging: {driver: none, option: {}}}\n",
            "c.yml:1:41: web.logging.option: unknown key 'option'; did you mean 'options'? (known here: driver, options)",
        ),
    ]);
}

#[test]
fn links_keep_the_name_inside() {
    let project = good(
        "services:\n  web: {image: app, links: [db, 'db:database', 'front:www']}\n  db: {image: app}\n  front: {image: rancher/dns-service, links: [db2]}\n  \
         db2: {image: app, expose: [80]}\n",
    );
    let web = &project.services[&"web".parse().unwrap()];
    let links: Vec<(&str, &str)> = web
        .links
        .iter()
        .map(|link| (link.name.as_str(), link.target.as_str()))
        .collect();
    assert_eq!(links, [("db", "db"), ("database", "db"), ("www", "front")]);
}
