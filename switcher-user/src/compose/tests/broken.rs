//! Files with a mistake each, and all that is said about it.

use super::*;

#[test]
fn unknown_and_unsupported_keys_are_refused() {
    check_table(&[
        (
            "web: {image: nginx, imaeg: x}\n",
            "c.yml:1:21: web.imaeg: unknown key 'imaeg'; did you mean 'image'? (known here: image, command, entrypoint, \
             environment, labels, ports, expose, links, depends_on, scale, deploy, restart, tty, stdin_open, healthcheck, \
             network_mode, net, networks, volumes, user, working_dir, hostname, stop_signal, stop_grace_period, cap_add, \
             cap_drop, dns, extra_hosts, env_file, profiles, tmpfs, init, shm_size, mem_limit, read_only, privileged, \
             logging)",
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
            "c.yml:2:24: networks.n.driver: driver 'overlay' is not supported; use bridge, or make the network first (docker network \
             create) and write external: true",
        ),
        (
            "services: {web: {image: nginx}}\nvolumes: {v: {driver_opts: {type: nfs}}}\n",
            "c.yml:2:15: volumes.v.driver_opts: 'driver_opts' is not supported; make the volume first (docker volume create), and write \
             external: true",
        ),
        (
            "services: {web: {image: nginx}}\nnetworks: {n: {extern: true}}\n",
            "c.yml:2:16: networks.n.extern: unknown key 'extern'; did you mean 'external'? (known here: name, external, driver)",
        ),
        (
            "web: {image: nginx, container_name: w}\n",
            "c.yml:1:21: web.container_name: 'container_name' is not supported; containers are called PROJECT-SERVICE-NUMBER; remove it",
        ),
        (
            "web:\n  image: nginx\n  ulimits: {nproc: 1}\n",
            "c.yml:3:3: web.ulimits: 'ulimits' is not supported; run such a container with docker itself, labelled switcher.alias and \
             switcher.set",
        ),
        (
            "web: {image: nginx, external_links: [db]}\n",
            "c.yml:1:21: web.external_links: 'external_links' is not supported; name services of these files in 'links'",
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
            "x: {image: x, links: ['y:db', 'z:db']}\ny: {image: y}\nz: {image: z}\n",
            "c.yml:1:31: x.links[1]: calls 'z' by the name 'db', which is 'y' already; give each a name of its own",
        ),
        (
            "x: {image: x, links: ['y:a b']}\ny: {image: y}\n",
            "c.yml:1:23: x.links[0]: 'a b' is no name of a host; use a-z, 0-9 and '-'",
        ),
        (
            "services:\n  x: {image: x, depends_on: [y]}\n  y: {image: y, profiles: [tools, test]}\n",
            "c.yml:2:30: services.x.depends_on[0]: links to service 'y', which runs only with one of the profiles tools, test; set \
             COMPOSE_PROFILES=tools, or remove the link",
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
            "v: {image: x, ports: ['127.0.0.1:53:53/udp']}\nw: {image: x, ports: ['53:53', '53:53/udp']}\n",
            "c.yml:2:15: w.ports: port 53 of the host is published by 'v' and by 'w'; change one",
        ),
        (
            "w: {image: x, scale: 2, ports: ['8000:80']}\n",
            "c.yml:1:25: w.ports: port 8000 of the host cannot be that of 2 containers; write \"80\" here, and publish an alias that links 'w' \
             (image: rancher/load-balancer-service)",
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
            "# nothing but this\n",
            "c.yml:1:1: compose file: is empty, not a mapping; name a service, as 'web: {image: nginx}', or begin with 'services:'",
        ),
        (
            "{}\n",
            "c.yml:1:1: compose file: names no service; name one, as web: {image: nginx}",
        ),
        (
            "services:\n",
            "c.yml:1:1: services: is empty, not a mapping; name the services below it",
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
            "web: {image: x}\nnetworks: {front: {}}\n",
            "c.yml:2:1: networks: 'networks' at the top needs 'services:' beside it; put the services below 'services:'",
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
