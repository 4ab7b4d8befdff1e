//! `switcher compose up`.

use std::collections::BTreeSet;

use hyper::Method;

use super::bring::{Site, addresses};
use super::renew::{Follower, Followers, Unconfirmed, only};
use super::stack::{self, Running, Serving};
use crate::api::{ApiError, ChangesDocument, ErrorCode};
use crate::cli::End;
use crate::cli::page::changes_page;
use crate::cli::wait::WaitArgs;
use crate::compose::{Project, ServiceName};

/// Connections were left at the deadline.
const FLOWS_LEFT: u8 = 4;

/// What `up` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Containers run in the background; the only way there is.
    #[arg(short, long)]
    detach: bool,
    /// Fetch images that are here already once more.
    #[arg(short, long)]
    pull: bool,
    /// Make services anew whose settings have changed: new containers beside the old ones, then all connections at once.
    #[arg(short, long, visible_alias = "recreate", group = "how")]
    upgrade: bool,
    /// Remove the containers that an --upgrade left, once they have no connection left.
    #[arg(short, long, group = "how")]
    confirm_upgrade: bool,
    /// Let the containers from before an --upgrade serve again, and remove the new ones.
    #[arg(short, long, group = "how")]
    rollback: bool,
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
    let followers = site.followers().await?;
    if args.confirm_upgrade {
        return confirm(site, &followers).await;
    }
    if args.rollback {
        return rollback(args, site, &followers).await;
    }
    site.external_ones_are_there().await?;
    let project = &site.loaded.project;
    let mut running = Running::new();
    let mut renewed = Vec::new();
    for name in in_order(project) {
        let own = followers.get(&name).map_or(&[][..], Vec::as_slice);
        let serving = match site.unconfirmed(&name, own).await? {
            Some(left) if !args.upgrade || left.is_switched() => unconfirmed(args, site, &name, &left)?,
            left if args.upgrade => {
                let containers = site.renew(&name, own, left.as_ref()).await?;
                let all = site.running_of(&name).await?.len();
                if all > containers.len() {
                    renewed.push(name.clone());
                    only(&containers)
                } else {
                    every(addresses(&containers))
                }
            }
            _ => every(bring(site, &name).await?),
        };
        running.insert(name, serving);
    }
    let code = apply(args, site, &running).await?;
    for name in renewed {
        site.printer.note(&format!(
            "service {name}: its old containers run on; remove them with: switcher compose up -d --confirm-upgrade; or go back with: --rollback"
        ));
    }
    Ok(code)
}

fn every(addresses: Vec<std::net::IpAddr>) -> Serving {
    Serving {
        addresses,
        hashes: Vec::new(),
    }
}

/// A service as the files ask for it, all of its containers ready.
async fn bring(site: &Site<'_>, name: &ServiceName) -> Result<Vec<std::net::IpAddr>, ApiError> {
    let scale = site.loaded.project.services[name].scale;
    let (started, mut all) = site.grow(name, scale).await?;
    all.retain(|one| one.running);
    if all.len() > usize::try_from(scale).unwrap_or(usize::MAX) {
        // Which of them may go is not for a deploy to guess.
        site.printer.note(&format!(
            "warning: service {name} has {} containers and the files ask for {scale}; stop those that are too many with: docker stop",
            all.len()
        ));
    }
    let addresses = site.wait_ready(&all).await?;
    if started > 0 {
        site.all_live(name, scale, &|_| true).await?;
    }
    Ok(addresses)
}

/// What serves goes on serving, until somebody says how the upgrade ends.
fn unconfirmed(args: &Args, site: &Site<'_>, name: &ServiceName, left: &Unconfirmed) -> Result<Serving, ApiError> {
    let service = &site.loaded.project.services[name];
    let wanted = site.recipe(name, service).hash();
    let is_wanted = left.serving.iter().all(|one| one.hash() == Some(wanted.as_str()));
    if !is_wanted && args.upgrade {
        let text = format!(
            "service {name} was upgraded and nobody has confirmed it; first run: switcher compose up -d --confirm-upgrade (or --rollback)"
        );
        return Err(ApiError::new(ErrorCode::Refused, text));
    }
    if !left.is_switched() {
        site.printer.note(&format!(
            "service {name}: an upgrade never got to its switch; {} new container(s) run and do not serve: run up -d --upgrade again, or --rollback",
            left.others.len()
        ));
    } else if !left.others.is_empty() {
        site.printer.note(&format!(
            "service {name}: the upgrade is not confirmed yet; {} old container(s) run",
            left.others.len()
        ));
    }
    Ok(only(&left.serving))
}

async fn apply(args: &Args, site: &Site<'_>, running: &Running) -> End {
    let request = stack::request(&site.loaded.name, &site.loaded.project, running)?;
    if request.spec.aliases.is_empty() {
        site.printer.note("the files name no alias: nothing is switched");
        return Ok(0);
    }
    let answer = site
        .client
        .change::<ChangesDocument>(Method::POST, "/v1/apply", &request, args.wait.timeout)
        .await?;
    site.printer.result(&answer, &changes_page(&answer));
    Ok(0)
}

async fn confirm(site: &Site<'_>, followers: &Followers) -> End {
    let mut all = Vec::new();
    for (name, own) in followers {
        let Some(left) = site.unconfirmed(name, own).await? else {
            continue;
        };
        may_be_confirmed(site, name, &left).await?;
        all.push((name, own, left));
    }
    if all.is_empty() {
        site.printer.note("nothing to do: no upgrade waits to be confirmed");
    }
    let mut settled = true;
    for (name, own, left) in all {
        settled &= site.settle(name, own, &left.serving, &left.others).await?;
    }
    Ok(if settled { 0 } else { FLOWS_LEFT })
}

/// The old containers are the way back: they go only where what serves is sound.
async fn may_be_confirmed(site: &Site<'_>, name: &ServiceName, left: &Unconfirmed) -> Result<(), ApiError> {
    let refuse = |text: String| {
        let text = format!("service {name}: {text}; nothing was removed");
        Err(ApiError::new(ErrorCode::Refused, text))
    };
    if !left.is_switched() {
        return refuse(
            "its upgrade never got to its switch; run up -d --upgrade again, or go back with --rollback".to_owned(),
        );
    }
    if left.serving.is_empty() {
        return refuse(
            "no container of the new version runs; go back with: switcher compose up -d --rollback".to_owned(),
        );
    }
    if let Some((container, why)) = site.not_ready(&left.serving).await?.into_iter().next() {
        return refuse(format!(
            "container {container}: {why}; wait for it, or go back with: switcher compose up -d --rollback"
        ));
    }
    Ok(())
}

/// Old containers serve again, by one change for all; then the new ones go. Where an upgrade never got to its switch, the old
/// ones serve as it is.
async fn rollback(args: &Args, site: &Site<'_>, followers: &Followers) -> End {
    let project = &site.loaded.project;
    let mut running = Running::new();
    let mut back = Vec::new();
    for name in project.services.keys() {
        let own: &[Follower] = followers.get(name).map_or(&[][..], Vec::as_slice);
        let Some(left) = site.unconfirmed(name, own).await? else {
            let all = site.running_of(name).await?;
            running.insert(name.clone(), every(addresses(&all)));
            continue;
        };
        let is_switched = left.is_switched();
        if is_switched && left.others.is_empty() {
            let text = format!("service {name}: the containers from before the upgrade do not run any more");
            return Err(ApiError::new(ErrorCode::Refused, text));
        }
        let (old, new) = left.old_and_new();
        if is_switched {
            site.wait_ready(&old).await?;
        }
        running.insert(name.clone(), only(&old));
        back.push((name, own, old, new));
    }
    if back.is_empty() {
        site.printer.note("nothing to do: no upgrade waits to be confirmed");
        return Ok(0);
    }
    apply(args, site, &running).await?;
    let mut settled = true;
    for (name, own, old, new) in back {
        settled &= site.settle(name, own, &old, &new).await?;
    }
    Ok(if settled { 0 } else { FLOWS_LEFT })
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
