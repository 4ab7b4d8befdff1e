//! Containers of the project that `switcher compose` did not make, or that no file asks for any more. They are named, and
//! never touched.

use super::bring::{Site, refused};
use super::leads::leads_to;
use crate::api::{ApiError, StatusDocument};
use crate::discovery::Container;

/// As many are named one by one.
const NAMED_MAX: usize = 20;

/// Says of each what it is, and how to remove it.
pub(super) async fn tell(site: &Site<'_>) -> Result<(), ApiError> {
    let status: StatusDocument = site.client.get("/v1/status").await?;
    let all = site.engine.containers().await.map_err(refused)?;
    let own = all.iter().filter_map(|one| Some((one, what_it_is(site, one)?)));
    let strangers: Vec<(&Container, String)> = own.collect();
    for (container, what) in strangers.iter().take(NAMED_MAX) {
        site.printer.note(&text(container, what, &status));
    }
    if strangers.len() > NAMED_MAX {
        let more = strangers.len() - NAMED_MAX;
        site.printer
            .note(&format!("{more} more container(s) like these: docker ps -a"));
    }
    Ok(())
}

/// `None`: one of ours, or of another project.
fn what_it_is(site: &Site<'_>, container: &Container) -> Option<String> {
    let (project, service) = container.project_and_service()?;
    if project != site.loaded.name.as_str() {
        return None;
    }
    if !site.loaded.project.services.keys().any(|name| name.as_str() == service) {
        return Some(format!("is of service '{service}', which is not in the files"));
    }
    if container.is_ours() {
        return None;
    }
    let who = match container.hash() {
        Some(_) => "docker-compose, from settings of its own",
        None => "hand",
    };
    Some(format!("is of service '{service}' and was made by {who}"))
}

fn text(container: &Container, what: &str, status: &StatusDocument) -> String {
    let name = &container.name;
    let leads = leads_to(status, container);
    let serves: Vec<String> = leads
        .iter()
        .map(|(alias, set)| format!("{alias} (set {set})"))
        .collect();
    let serves = match serves.as_slice() {
        [] => String::new(),
        all => format!("; it still serves alias {}", all.join(", ")),
    };
    let how = if container.running { "docker rm -f" } else { "docker rm" };
    format!("warning: container {name} {what}{serves}; it was not touched: remove it with: {how} {name}")
}
