//! Balancers whose rules stand in rancher-compose.yml.

use super::*;

/// As Rancher 1.6 exports them.
const BALANCER: &str = "\
version: '2'
services:
  lb:
    image: rancher/lb-service-haproxy:v0.9.1
    ports: ['8000:80/tcp', '8443:443/tcp']
    labels: {io.rancher.container.agent.role: 'environmentAdmin,agent'}
  web: {image: app, expose: ['8080']}
  api: {image: app}
";

fn with_rules(config: &str) -> Result<Project, ConfigError> {
    let rancher = format!("version: '2'\nservices:\n  lb:\n    scale: 1\n    lb_config: {config}\n");
    let files = [source("c.yml", BALANCER)];
    parse(&files, Some(&source("r.yml", &rancher)), &around())
}

#[test]
fn rules_become_ports_and_links() {
    let project = with_rules(
        "{certs: [], port_rules: [{priority: 1, protocol: http, service: web, source_port: 80, target_port: 8080, hostname: '', path: ''}, \
         {source_port: 443, service: web}]}",
    )
    .unwrap();
    let lb = &project.aliases[&"lb".parse().unwrap()];
    assert_eq!(lb.kind, AliasKind::RuledBalancer);
    assert_eq!(lb.links, ["web".parse().unwrap()]);
    let ports: Vec<(u16, u16)> = lb
        .ports
        .iter()
        .map(|port| (port.published.unwrap().get(), port.target.number.get()))
        .collect();
    assert_eq!(ports, [(8000, 8080), (8443, 443)]);
    assert_eq!(
        project.warnings,
        [
            "r.yml:5:55: services.lb.lb_config.port_rules[0].protocol: http is carried as tcp: no header is added, and the service sees the \
             client's own address"
        ]
    );
}

/// Each row: the rules, and all that is said about them.
fn refused(rows: &[(&str, &str)]) {
    for (config, expected) in rows {
        match with_rules(config) {
            Ok(project) => panic!("accepted: {config}\nas {project:?}"),
            Err(error) => assert_eq!(error.to_string(), *expected, "{config}"),
        }
    }
}

#[test]
fn rules_that_need_http_or_tls_are_refused() {
    refused(&[
        (
            "{port_rules: [{hostname: a.example, source_port: 80, service: web}]}",
            "r.yml:5:31: services.lb.lb_config.port_rules[0].hostname: needs somebody who reads HTTP: put a proxy that does (nginx, HAProxy) \
             behind this balancer, and link that",
        ),
        (
            "{port_rules: [{path: /a, source_port: 80, service: web}]}",
            "r.yml:5:31: services.lb.lb_config.port_rules[0].path: needs somebody who reads HTTP: put a proxy that does (nginx, HAProxy) \
             behind this balancer, and link that",
        ),
        (
            "{port_rules: [{selector: a=b, source_port: 80}]}",
            "r.yml:5:31: services.lb.lb_config.port_rules[0].selector: chooses services by labels, which is not supported; write one rule for \
             each, as service: web",
        ),
        (
            "{port_rules: [{protocol: https, source_port: 80, service: web}]}",
            "r.yml:5:41: services.lb.lb_config.port_rules[0].protocol: 'https' needs somebody who ends TLS: let the service itself, or a proxy \
             before it, and write protocol: tcp",
        ),
        (
            "{certs: [a], port_rules: [{source_port: 80, service: web}, {source_port: 443, service: web}]}",
            "r.yml:5:17: services.lb.lb_config.certs: needs somebody who ends TLS: let the service itself, or a proxy before it, and write \
             protocol: tcp",
        ),
        (
            "{port_rules: [{service: other/web, source_port: 80}]}",
            "r.yml:5:40: services.lb.lb_config.port_rules[0].service: 'other/web' is of another stack, which is not supported; name a service \
             of these files",
        ),
    ]);
}

#[test]
fn rules_that_one_split_cannot_follow_are_refused() {
    refused(&[
        (
            "{port_rules: [{source_port: 80, service: web}, {source_port: 443, service: api}]}",
            "r.yml:5:63: services.lb.lb_config.port_rules[1]: port 443 has other services behind it than port 80, and a balancer has one split; \
             make a balancer of its own for it",
        ),
        (
            "{port_rules: [{source_port: 80, service: web}, {source_port: 80, service: api, target_port: 81}, {source_port: 443, service: web}, \
             {source_port: 443, service: api}]}",
            "r.yml:5:63: services.lb.lb_config.port_rules[1]: leads port 80 to another target_port than the rule at line 5; let both services \
             listen at one port",
        ),
        (
            "{port_rules: [{source_port: 80, service: web, priority: 1}, {source_port: 80, service: api, priority: 2}, {source_port: 443, \
             service: web}, {source_port: 443, service: api}]}",
            "r.yml:5:76: services.lb.lb_config.port_rules[1]: has another priority than the rule of the same port at line 5, which only rules by \
             host name or path have use for; give both the same, or leave one",
        ),
        (
            "{port_rules: [{source_port: 80, service: web}]}",
            "r.yml:5:17: services.lb.lb_config.port_rules: port 443 of the service's 'ports' has no rule; add one, or remove the port",
        ),
        (
            "{port_rules: [{source_port: 80, service: web}, {source_port: 443, service: web}, {source_port: 81, service: web}]}",
            "r.yml:5:97: services.lb.lb_config.port_rules[2]: source_port 81 is in no 'ports' of the service; publish it there, as \"81:81\" (a \
             name that is inside only is an image: rancher/dns-service)",
        ),
        (
            "{port_rules: [{source_port: 80, service: webb}, {source_port: 443, service: webb}]}",
            "r.yml:5:57: services.lb.lb_config.port_rules[0].service: links to service 'webb', which is in none of the files; did you mean 'web'?",
        ),
        (
            "{port_rules: []}",
            "r.yml:5:17: services.lb.lb_config.port_rules: has no rule; write it as {source_port: 80, target_port: 8080, service: web, protocol: \
             tcp}",
        ),
        (
            "{port_rule: []}",
            "r.yml:5:17: services.lb.lb_config.port_rule: unknown key 'port_rule'; did you mean 'port_rules'? (known here: port_rules, certs, \
             default_cert, config, stickiness_policy)",
        ),
    ]);
}

#[test]
fn a_balancer_without_rules_needs_links() {
    let alone = "lb: {image: rancher/lb-service-haproxy, ports: ['80:80']}\nweb: {image: app}\n";
    assert_eq!(
        read(alone).unwrap_err().to_string(),
        "c.yml:1:1: lb: has no service behind it; write links: [web], or in rancher-compose.yml: lb: {lb_config: {port_rules: [...]}}"
    );
    let linked = good("lb: {image: rancher/lb-service-haproxy, ports: ['80:80'], links: [web]}\nweb: {image: app}\n");
    assert_eq!(linked.aliases[&"lb".parse().unwrap()].links.len(), 1);
}

/// Rancher's first balancer took rules as labels.
#[test]
fn labels_that_tell_hosts_apart_are_refused() {
    let file = |label: &str| {
        format!(
            "lb:\n  image: rancher/load-balancer-service\n  ports: ['80:80']\n  links: [web]\n  labels: {{{label}}}\nweb: {{image: app}}\n"
        )
    };
    good(&file("io.rancher.scheduler.global: 'true'"));
    assert_eq!(
        read(&file("io.rancher.loadbalancer.target.web: 'a.example:80/x=81'"))
            .unwrap_err()
            .to_string(),
        "c.yml:5:3: lb.labels: label 'io.rancher.loadbalancer.target.web' needs somebody who reads HTTP: put a proxy that does (nginx, \
         HAProxy) behind this balancer and link that; a port alone goes into 'ports', as \"8000:8080\""
    );
    assert!(
        read(&file("io.rancher.loadbalancer.ssl.ports: '443'"))
            .unwrap_err()
            .to_string()
            .contains("needs somebody who ends TLS")
    );
}
