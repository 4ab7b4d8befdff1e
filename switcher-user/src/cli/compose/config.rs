//! `switcher compose config`.

use std::fmt::Write as _;

use serde::Serialize;

use super::files::Loaded;
use crate::api::SCHEMA;
use crate::cli::End;
use crate::cli::printer::Printer;
use crate::compose::{AliasService, Port, Published};
use crate::model::Protocol;

#[derive(Serialize)]
struct Document {
    schema: u32,
    project: String,
    aliases: Vec<AliasRow>,
    services: Vec<ServiceRow>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct AliasRow {
    name: String,
    image: &'static str,
    published: Vec<String>,
    inside: Vec<String>,
    sets: Vec<String>,
}

#[derive(Serialize)]
struct ServiceRow {
    name: String,
    image: String,
    scale: u32,
    ports: Vec<String>,
}

pub(super) fn run(loaded: &Loaded, printer: &Printer) -> End {
    let document = document(loaded);
    printer.result(&document, &page(&document));
    Ok(0)
}

fn document(loaded: &Loaded) -> Document {
    let project = &loaded.project;
    let aliases = project.aliases.iter().map(|(name, alias)| AliasRow {
        name: name.to_string(),
        image: alias.kind.image(),
        published: alias.ports.iter().map(published_text).collect(),
        inside: project.inside_ports(alias).iter().map(port_text).collect(),
        sets: sets(alias),
    });
    let services = project.services.iter().map(|(name, service)| ServiceRow {
        name: name.to_string(),
        image: service.image.clone(),
        scale: service.scale,
        ports: service.container_ports().iter().map(port_text).collect(),
    });
    Document {
        schema: SCHEMA,
        project: loaded.name.to_string(),
        aliases: aliases.collect(),
        services: services.collect(),
        warnings: project.warnings.clone(),
    }
}

fn sets(alias: &AliasService) -> Vec<String> {
    alias.links.iter().map(ToString::to_string).collect()
}

fn page(document: &Document) -> String {
    let mut page = format!("project {}\n", document.project);
    for alias in &document.aliases {
        let outside = if alias.published.is_empty() {
            String::new()
        } else {
            format!(", published {}", alias.published.join(" "))
        };
        let _ = writeln!(
            page,
            "alias   {} ({}): inside {}{outside} -> {}",
            alias.name,
            alias.image,
            alias.inside.join(" "),
            alias.sets.join(" ")
        );
    }
    for service in &document.services {
        let _ = writeln!(
            page,
            "service {}: {} of {}, ports {}",
            service.name,
            service.scale,
            service.image,
            service.ports.join(" ")
        );
    }
    page
}

fn port_text(port: &Port) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{}/{protocol}", port.number)
}

fn published_text(published: &Published) -> String {
    let address = published
        .address
        .map_or_else(String::new, |address| format!("{address}:"));
    let port = published.published.unwrap_or(published.target.number);
    format!("{address}{port}->{}", port_text(&published.target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::{SourceFile, Surroundings, parse};

    #[test]
    fn the_posted_file_is_shown() {
        let text = include_str!("../../../../docs/examples/countdown/docker-compose.yml");
        let source = SourceFile {
            name: "docker-compose.yml".to_owned(),
            text: text.to_owned(),
        };
        let project = parse(&[source], None, &Surroundings::none()).unwrap();
        let loaded = Loaded {
            project,
            name: "countdown".parse().unwrap(),
        };
        let expected = "\
project countdown
alias   countdown-demo-alias (rancher/dns-service): inside 80/tcp -> countdown-v2
alias   countdown-lb (rancher/load-balancer-service): inside 8000/tcp, published 8000->80/tcp -> countdown-v2
service countdown-v1: 1 of flaccid/countdown_example:v1, ports 80/tcp
service countdown-v2: 1 of flaccid/countdown_example:v2, ports 80/tcp
";
        assert_eq!(page(&document(&loaded)), expected);
    }
}
