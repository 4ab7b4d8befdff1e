//! `up --confirm-upgrade`: the containers from before an upgrade go.

use super::bring::Site;
use super::renew::Followers;
use super::stage::{Stage, Unconfirmed};
use super::up::{FLOWS_LEFT, nothing_changed};
use crate::api::{ApiError, ErrorCode};
use crate::cli::End;
use crate::compose::ServiceName;

pub(super) async fn run(site: &Site<'_>, followers: &Followers) -> End {
    let mut all = Vec::new();
    for (name, own) in followers {
        let Some(left) = site.unconfirmed(name, own).await? else {
            continue;
        };
        may_be(site, name, &left).await?;
        all.push((name, own, left));
    }
    if all.is_empty() {
        return nothing_changed(site, "nothing to do: no upgrade waits to be confirmed").await;
    }
    let mut settled = true;
    for (name, own, left) in all {
        settled &= site.settle(name, own, &left.serving, &left.all_others()).await?;
    }
    Ok(if settled { 0 } else { FLOWS_LEFT })
}

/// The old containers are the way back: they go only where what serves is sound.
async fn may_be(site: &Site<'_>, name: &ServiceName, left: &Unconfirmed) -> Result<(), ApiError> {
    let refuse = |text: String| {
        let text = format!("service {name}: {text}; nothing was removed");
        Err(ApiError::new(ErrorCode::Refused, text))
    };
    if left.stage == Stage::Begun {
        return refuse(
            "its upgrade never got to its switch; run up -d --upgrade again, or go back with --rollback".to_owned(),
        );
    }
    if left.stage == Stage::Lost {
        return refuse(
            "the containers of the new version are gone; let those that run serve with: switcher compose up -d --rollback"
                .to_owned(),
        );
    }
    if left.serving.is_empty() {
        return refuse(
            "no container of the new version runs; go back with: switcher compose up -d --rollback".to_owned(),
        );
    }
    if let Some((container, why)) = site.not_ready(name, &left.serving).await?.into_iter().next() {
        return refuse(format!(
            "container {container}: {why}; wait for it, or go back with: switcher compose up -d --rollback"
        ));
    }
    Ok(())
}
