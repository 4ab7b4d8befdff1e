//! `switcher compose up`.

use std::collections::BTreeSet;

use hyper::Method;

use super::bring::{Site, addresses};
use super::done::{Deed, container_text};
use super::renew::{Follower, Renewed, only};
use super::shrink::{self, Excess};
use super::stack::{self, Running, Serving};
use super::stage::{Stage, Unconfirmed};
use super::{confirm, forsaken, rollback, running, strangers};
use crate::api::{ApiError, ChangesDocument, ErrorCode, StatusDocument};
use crate::cli::End;
use crate::cli::page::changes_page;
use crate::cli::wait::WaitArgs;
use crate::compose::{Project, ServiceName};

/// Connections were left at the deadline.
pub(super) const FLOWS_LEFT: u8 = 4;

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
    /// Take over aliases that were made by hand or are another project's, and ports where SSH, etcd or the agent waits for clients.
    #[arg(long)]
    force: bool,
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
    let status: StatusDocument = site.client.get("/v1/status").await?;
    let followers = site.followers(&status);
    running::refuse(site, &status, &followers)?;
    if args.confirm_upgrade {
        return confirm::run(site, &followers).await;
    }
    if !args.force {
        site.refuse_foreign_aliases(&status)?;
    }
    if args.rollback {
        return rollback::run(args, site, &followers).await;
    }
    shrink::refuse_none_linked(site).await?;
    site.external_ones_are_there().await?;
    site.tell_out_of_reach();
    let mut plan = Plan::default();
    for name in in_order(&site.loaded.project) {
        let own = followers.get(&name).map_or(&[][..], Vec::as_slice);
        let serving = bring(args, site, &name, own, &mut plan).await;
        let serving = serving.inspect_err(|_| say_what_is_left(site, &plan.renewed))?;
        plan.running.insert(name, serving);
    }
    site.let_leave(&plan.excess).await?;
    let forsaken = forsaken::aliases(site, &status)?;
    let applied = apply(args, site, &plan.running).await;
    let applied = applied.map_err(|error| forsaken::explain(error, &forsaken));
    if applied.is_err() {
        site.let_stay(&plan.excess).await;
        say_what_is_left(site, &plan.renewed);
    }
    let code = applied?;
    for (name, serving) in &plan.running {
        let own = followers.get(name).map_or(&[][..], Vec::as_slice);
        site.pin_others(name, own, serving).await?;
    }
    for name in plan.renewed {
        site.printer.note(&format!(
            "service {name}: its old containers run on; remove them with: switcher compose up -d --confirm-upgrade; or go back with: --rollback"
        ));
    }
    let ended = site.shrink(&plan.excess, &followers).await?;
    forsaken::tell(site, &forsaken);
    if let Err(error) = strangers::tell(site).await {
        site.printer
            .note(&format!("warning: what else runs could not be looked at: {error}"));
    }
    Ok(if ended { code } else { FLOWS_LEFT })
}

/// What one `up` is about to do.
#[derive(Default)]
struct Plan {
    running: Running,
    /// Services with new containers beside the old ones.
    renewed: Vec<ServiceName>,
    /// Containers that are too many.
    excess: Excess,
}

/// One service, its containers ready.
async fn bring(
    args: &Args,
    site: &Site<'_>,
    name: &ServiceName,
    followers: &[Follower],
    plan: &mut Plan,
) -> Result<Serving, ApiError> {
    let left = site.unconfirmed(name, followers).await?;
    let begun = left.as_ref().filter(|left| left.stage == Stage::Begun);
    if let Some(left) = &left
        && goes_on(args, site, name, left)
    {
        return unconfirmed(args, site, name, left).await;
    }
    if left.as_ref().is_some_and(|left| left.stage == Stage::Lost) {
        site.printer.note(&format!(
            "service {name}: the containers that served it are gone; those that run now serve"
        ));
    }
    // Without containers there is nothing to make anew.
    if args.upgrade && site.loaded.project.services[name].scale > 0 {
        match site.renew(name, followers, begun).await? {
            Renewed::New(containers) => {
                plan.renewed.push(name.clone());
                return Ok(only(&containers));
            }
            Renewed::Kept(containers) => return Ok(Serving::all(addresses(&containers))),
            Renewed::Same => {}
        }
    }
    shrink::bring(site, name, &mut plan.excess).await
}

/// True where only who confirms an upgrade, or goes back, may change who serves.
fn goes_on(args: &Args, site: &Site<'_>, name: &ServiceName, left: &Unconfirmed) -> bool {
    match left.stage {
        Stage::Begun => !args.upgrade,
        Stage::Switched => true,
        // The old ones do not run: there is nothing to lose by a further one.
        Stage::Spent => !args.upgrade || is_wanted(site, name, left),
        Stage::Settled | Stage::Lost => false,
    }
}

fn is_wanted(site: &Site<'_>, name: &ServiceName, left: &Unconfirmed) -> bool {
    let wanted = site.recipe(name, &site.loaded.project.services[name]).hash();
    left.serving.iter().all(|one| one.hash() == Some(wanted.as_str()))
}

/// The command ends before its switch: these stand beside the ones that serve.
fn say_what_is_left(site: &Site<'_>, renewed: &[ServiceName]) {
    for name in renewed {
        site.printer.note(&format!(
            "service {name}: its new containers run and do not serve; run up -d --upgrade again, or up -d --rollback"
        ));
    }
}

/// What serves goes on serving, until somebody says how the upgrade ends.
async fn unconfirmed(
    args: &Args,
    site: &Site<'_>,
    name: &ServiceName,
    left: &Unconfirmed,
) -> Result<Serving, ApiError> {
    if args.upgrade && !is_wanted(site, name, left) {
        let text = format!(
            "service {name} was upgraded and nobody has confirmed it; first run: switcher compose up -d --confirm-upgrade (or --rollback)"
        );
        return Err(ApiError::new(ErrorCode::Refused, text));
    }
    let (running, stopped) = (left.others.len(), left.stopped.len());
    let and = if stopped > 0 {
        format!(", {stopped} are stopped")
    } else {
        String::new()
    };
    if left.is_switched() {
        site.printer.note(&format!(
            "service {name}: the upgrade is not confirmed yet; {running} old container(s) run{and}: up -d --confirm-upgrade removes them"
        ));
    } else {
        site.printer.note(&format!(
            "service {name}: an upgrade never got to its switch; {running} new container(s) run{and} and do not serve: run up -d --upgrade again, or --rollback"
        ));
    }
    for silent in &left.silent {
        let started = site.engine.start_again(&silent.id, &silent.name).await;
        started.map_err(super::bring::refused)?;
        site.done.did(container_text(&silent.name), Deed::Started);
        site.printer.note(&format!("container {}: started", silent.name));
    }
    if left.silent.is_empty() {
        return Ok(only(&left.serving));
    }
    // They have other addresses now.
    let now = site.unconfirmed_serving(name, left).await?;
    site.wait_ready(name, &now, &site.targets(name)?).await?;
    Ok(only(&now))
}

/// The document of a command that changed nothing, for those that read it.
pub(super) async fn nothing_changed(site: &Site<'_>, why: &str) -> End {
    let status: StatusDocument = site.client.get("/v1/status").await?;
    site.printer.note(why);
    site.printer.document_of(&ChangesDocument::nothing(status.epoch));
    Ok(0)
}

pub(super) async fn apply(args: &Args, site: &Site<'_>, running: &Running) -> End {
    let mut request = stack::request(&site.loaded.name, &site.loaded.project, running)?;
    (request.force, request.take_over) = (args.force, args.force);
    if request.spec.aliases.is_empty() {
        return nothing_changed(site, "the files name no alias: nothing is switched").await;
    }
    let answer = site
        .client
        .change::<ChangesDocument>(Method::POST, "/v1/apply", &request, site.left())
        .await?;
    if !answer.changes.is_empty() {
        site.done.did("the files", Deed::Applied);
    }
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
