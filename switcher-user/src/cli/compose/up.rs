//! `switcher compose up`.

use std::collections::BTreeSet;

use hyper::Method;

use super::bring::Site;
use super::stack;
use crate::api::{ApiError, ChangesDocument, ErrorCode};
use crate::cli::End;
use crate::cli::page::changes_page;
use crate::cli::wait::WaitArgs;
use crate::compose::{Project, ServiceName};

/// What `up` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Containers run in the background; the only way there is.
    #[arg(short, long)]
    detach: bool,
    /// Fetch images that are here already once more.
    #[arg(short, long)]
    pull: bool,
    #[command(flatten)]
    pub wait: WaitArgs,
}

impl Args {
    pub(super) const fn pull(&self) -> bool {
        self.pull
    }
}

pub(super) async fn run(args: &Args, site: &Site<'_>) -> End {
    if !args.detach {
        let text =
            "'up' in the foreground is not supported: containers are Docker's and the switch is the agent's; use up -d";
        return Err(ApiError::new(ErrorCode::Invalid, text));
    }
    let project = &site.loaded.project;
    let mut containers = Vec::new();
    for name in in_order(project) {
        let scale = project.services[&name].scale;
        let all = site.grow(&name, scale).await?;
        containers.push((name, all));
    }
    let running = site.running(&containers).await?;
    let request = stack::request(&site.loaded.name, project, &running)?;
    if request.spec.aliases.is_empty() {
        site.printer.note("the files name no alias: nothing is switched");
        return Ok(0);
    }
    let answer = site
        .client
        .change::<ChangesDocument>(Method::POST, "/v1/apply", &request, args.wait.timeout)
        .await?;
    too_many(site, &containers);
    site.printer.result(&answer, &changes_page(&answer));
    Ok(0)
}

/// Services after those that they need.
fn in_order(project: &Project) -> Vec<ServiceName> {
    let mut ordered: Vec<ServiceName> = Vec::new();
    let mut left: BTreeSet<&ServiceName> = project.services.keys().collect();
    // Each round takes at least one: the files have no circles.
    while !left.is_empty() {
        let free = |name: &&&ServiceName| project.services[**name].after.iter().all(|need| !left.contains(need));
        let next: Vec<&ServiceName> = left.iter().filter(free).copied().collect();
        if next.is_empty() {
            ordered.extend(left.iter().map(|name| (*name).clone()));
            break;
        }
        for name in next {
            left.remove(name);
            ordered.push(name.clone());
        }
    }
    ordered
}

/// More containers than the scale stay: which of them may go is not for a deploy to guess.
fn too_many(site: &Site<'_>, containers: &[(ServiceName, Vec<crate::discovery::Container>)]) {
    for (name, all) in containers {
        let scale = usize::try_from(site.loaded.project.services[name].scale).unwrap_or(usize::MAX);
        let running = all.iter().filter(|one| one.running).count();
        if running > scale {
            let text = format!(
                "warning: service {name} has {running} containers and the files ask for {scale}; stop those that are too many with: docker stop"
            );
            site.printer.note(&text);
        }
    }
}
