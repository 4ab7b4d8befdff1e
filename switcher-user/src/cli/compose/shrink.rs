//! Fewer containers of a service: those with the highest numbers leave, the others serve on.

use hyper::Method;

use super::bring::{Site, addresses};
use super::done::Deed;
use super::renew::Followers;
use super::retire::LAND_TIME;
use super::stack::Serving;
use crate::api::{ApiError, ChangesDocument, ErrorCode};
use crate::compose::{Project, ServiceName};
use crate::discovery::Container;

/// The containers that are too many, by service.
#[derive(Debug, Default)]
pub(super) struct Excess {
    /// They leave before anything else changes: others of their service serve.
    some: Vec<(ServiceName, Vec<Container>)>,
    /// The whole service goes, once no alias leads to it.
    all: Vec<(ServiceName, Vec<Container>)>,
}

impl Excess {
    fn services(&self) -> impl Iterator<Item = &(ServiceName, Vec<Container>)> {
        self.some.iter().chain(&self.all)
    }
}

fn leaving_text(name: &ServiceName) -> String {
    format!("what service {name} has too many of")
}

/// Those that stay, and those that are too many: of what `switcher compose` made, the ones with the highest numbers.
fn divide(running: Vec<Container>, scale: u32) -> (Vec<Container>, Vec<Container>) {
    let scale = usize::try_from(scale).unwrap_or(usize::MAX);
    let (mut own, mut stay): (Vec<Container>, Vec<Container>) = running.into_iter().partition(Container::is_ours);
    own.sort_by_key(Container::number);
    let go = own.split_off(scale.min(own.len()));
    stay.extend(own);
    (stay, go)
}

/// A service without containers cannot be what an alias leads to. Before anything changes.
pub(super) async fn refuse_none_linked(site: &Site<'_>) -> Result<(), ApiError> {
    let project: &Project = &site.loaded.project;
    for (name, _) in project.services.iter().filter(|(_, service)| service.scale == 0) {
        let Some((alias, _)) = project.aliases.iter().find(|(_, alias)| alias.links.contains(name)) else {
            continue;
        };
        if !site.running_of(name).await?.is_empty() {
            let text = format!(
                "service '{name}' has scale 0, and alias '{alias}' links it; nothing was changed: remove the link first, or give it a scale of 1"
            );
            return Err(ApiError::new(ErrorCode::Invalid, text));
        }
    }
    Ok(())
}

/// A service as the files ask for it, all containers that stay ready; those that are too many are noted.
pub(super) async fn bring(site: &Site<'_>, name: &ServiceName, excess: &mut Excess) -> Result<Serving, ApiError> {
    let scale = site.loaded.project.services[name].scale;
    let ran = site.running_of(name).await?;
    let (started, mut all) = site.grow(name, scale).await?;
    for stopped in all.iter().filter(|one| started == 0 && !one.running && one.is_ours()) {
        let container = &stopped.name;
        site.printer.note(&format!(
            "container {container} is stopped and not needed; remove it with: docker rm {container}"
        ));
    }
    all.retain(|one| one.running);
    let (mut stay, go) = divide(all, scale);
    let addresses = if site.is_waited_for(name) {
        site.leave_out_sick(name, &ran, &mut stay).await?;
        let addresses = site.wait_ready(name, &stay, &site.targets(name)?).await?;
        if started > 0 {
            site.all_live(name, scale, &|_| true).await?;
        }
        addresses
    } else {
        site.do_not_wait(name, started, &stay).await?;
        addresses(&stay)
    };
    if !go.is_empty() {
        let of = if stay.is_empty() {
            &mut excess.all
        } else {
            &mut excess.some
        };
        of.push((name.clone(), go));
    }
    Ok(Serving::all(addresses))
}

impl Site<'_> {
    /// They get no new connection any more.
    pub(super) async fn let_leave(&self, excess: &Excess) -> Result<(), ApiError> {
        for (name, go) in &excess.some {
            let held = match self.leave(go).await {
                Ok(held) => held,
                Err(error) => {
                    self.let_stay(excess).await;
                    return Err(error);
                }
            };
            self.done.did(leaving_text(name), Deed::Leaves);
            self.printer.note(&format!(
                "service {name}: {} container(s) fewer; {} connection(s) are waited for",
                go.len(),
                held.flows()
            ));
        }
        Ok(())
    }

    /// The change was refused: all is as it was.
    pub(super) async fn let_stay(&self, excess: &Excess) {
        for (name, go) in &excess.some {
            match self.stay(go).await {
                Ok(()) => self.done.undid(&leaving_text(name)),
                Err(error) => self.printer.note(&format!("warning: service {name}: {error}")),
            }
        }
    }

    /// Ends them, each once it holds no connection. False: some still do.
    pub(super) async fn shrink(&self, excess: &Excess, followers: &Followers) -> Result<bool, ApiError> {
        let mut ended = true;
        for (name, go) in excess.services() {
            ended &= self.retire(name, go, self.deadline).await.map_err(|error| {
                let text = format!(
                    "service {name}: the links are as the files ask, and containers that are too many could not be removed: {error}; run the same command again"
                );
                ApiError::new(ErrorCode::Unknown, text)
            })?;
        }
        for (name, _) in excess.all.iter().filter(|_| ended) {
            self.remove_sets(name, followers).await;
        }
        Ok(ended)
    }

    /// Sets of a service without containers lead nowhere. That one cannot be removed is no failure: it has no share.
    pub(super) async fn remove_sets(&self, name: &ServiceName, followers: &Followers) {
        for follower in followers.get(name).into_iter().flatten() {
            let path = format!("/v1/aliases/{}/sets/{name}", follower.alias);
            let removed: Result<ChangesDocument, ApiError> =
                self.client.change(Method::DELETE, &path, &(), LAND_TIME).await;
            if let Err(error) = removed {
                self.printer
                    .note(&format!("warning: set {}/{name}: {error}", follower.alias));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::tests::container;
    use super::*;

    #[test]
    fn the_highest_numbers_go_and_nothing_that_others_made() {
        let theirs = "0".repeat(64);
        let all: Vec<Container> = [(3, "a"), (1, "a"), (10, "a"), (11, &theirs), (2, "a")]
            .map(|(number, kind)| container(number, kind, true))
            .into();
        let of = |all: Vec<Container>| all.iter().filter_map(Container::number).collect::<Vec<_>>();
        let (stay, go) = divide(all.clone(), 2);
        assert_eq!((of(stay), of(go)), (vec![11, 1, 2], vec![3, 10]));
        let (stay, go) = divide(all.clone(), 9);
        assert_eq!((of(stay), of(go)), (vec![11, 1, 2, 3, 10], vec![]));
        let (stay, go) = divide(all, 0);
        assert_eq!((of(stay), of(go)), (vec![11], vec![1, 2, 3, 10]));
    }
}
