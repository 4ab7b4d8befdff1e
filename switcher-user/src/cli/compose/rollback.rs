//! `up --rollback`: the containers from before an upgrade serve again, and those that it made go.

use super::bring::{Site, addresses};
use super::renew::{Follower, Followers, only};
use super::stack::{Running, Serving};
use super::stage::{Stage, Unconfirmed};
use super::up::{Args, FLOWS_LEFT, apply, nothing_changed};
use crate::api::{ApiError, ErrorCode};
use crate::cli::End;
use crate::compose::ServiceName;
use crate::discovery::Container;

/// What becomes of the containers of one service.
struct Back {
    serving: Serving,
    stay: Vec<Container>,
    go: Vec<Container>,
}

/// Old containers serve again, by one change for all; then the new ones go. Where an upgrade never got to its switch, the old
/// ones serve as it is.
pub(super) async fn run(args: &Args, site: &Site<'_>, followers: &Followers) -> End {
    let mut running = Running::new();
    let mut back = Vec::new();
    for name in site.loaded.project.services.keys() {
        let own: &[Follower] = followers.get(name).map_or(&[][..], Vec::as_slice);
        let Some(left) = site.unconfirmed(name, own).await? else {
            let all = site.running_of(name).await?;
            running.insert(name.clone(), Serving::all(addresses(&all)));
            continue;
        };
        let one = way_back(site, name, left).await?;
        running.insert(name.clone(), one.serving.clone());
        back.push((name, own, one));
    }
    if back.is_empty() {
        return nothing_changed(site, "nothing to do: no upgrade waits to be confirmed").await;
    }
    apply(args, site, &running).await?;
    let mut settled = true;
    for (name, own, one) in &back {
        site.pin_others(name, own, &one.serving).await?;
    }
    for (name, own, one) in back {
        settled &= site.settle(name, own, &one.stay, &one.go).await?;
    }
    Ok(if settled { 0 } else { FLOWS_LEFT })
}

async fn way_back(site: &Site<'_>, name: &ServiceName, left: Unconfirmed) -> Result<Back, ApiError> {
    let pinned = |stay: Vec<Container>, go: Vec<Container>| Back {
        serving: only(&stay),
        stay,
        go,
    };
    match left.stage {
        Stage::Begun | Stage::Settled => {
            if left.serving.is_empty() {
                return Err(none_runs(name, "what served before", &left.silent));
            }
            let go = left.all_others();
            Ok(pinned(left.serving, go))
        }
        Stage::Switched => {
            let ready = site.wait_ready_ones(name, &left.others).await?;
            if ready.len() < left.serving.len() {
                let (old, new) = (ready.len(), left.serving.len());
                site.printer.note(&format!(
                    "warning: service {name}: {old} old container(s) are left to take over from {new}"
                ));
            }
            let go = left.serving.into_iter().chain(left.silent).collect();
            Ok(pinned(ready, go))
        }
        Stage::Spent => Err(none_runs(name, "the containers from before the upgrade", &left.stopped)),
        Stage::Lost => {
            if left.others.is_empty() {
                return Err(none_runs(name, "its containers", &left.stopped));
            }
            let ready = site.wait_ready_ones(name, &left.others).await?;
            Ok(Back {
                serving: Serving::all(addresses(&ready)),
                stay: ready,
                go: Vec::new(),
            })
        }
    }
}

fn none_runs(name: &ServiceName, what: &str, stopped: &[Container]) -> ApiError {
    let names: Vec<&str> = stopped.iter().map(|one| one.name.as_str()).collect();
    let remedy = if names.is_empty() {
        "run: switcher compose up -d".to_owned()
    } else {
        format!("start them with: docker start {}, and run it again", names.join(" "))
    };
    let text = format!("service {name}: {what} do not run; nothing was changed: {remedy}");
    ApiError::new(ErrorCode::Refused, text)
}
