//! A change of an alias that is running: the agent would refuse the switch, after containers were made or taken out for it.

use super::bring::Site;
use super::renew::Followers;
use super::stack;
use crate::api::{AliasStatus, ApiError, ErrorCode, StatusDocument};
use crate::model::AliasName;

/// Before anything changes.
pub(super) fn refuse(site: &Site<'_>, status: &StatusDocument, followers: &Followers) -> Result<(), ApiError> {
    let of_files = stack::kernel_aliases(&site.loaded.project)?;
    let of_files = of_files.iter().map(|one| &one.name);
    let all: Vec<&AliasName> = of_files
        .chain(followers.values().flatten().map(|one| &one.alias))
        .collect();
    match status.aliases.iter().find_map(|one| running(one, &all)) {
        Some((alias, what)) => {
            let text = format!(
                "alias '{alias}': {what} is running; nothing was changed: wait until it has ended, then try again"
            );
            Err(ApiError::new(ErrorCode::Busy, text))
        }
        None => Ok(()),
    }
}

fn running<'s>(status: &'s AliasStatus, asked: &[&AliasName]) -> Option<(&'s AliasName, &'s str)> {
    let what = status.running.as_deref()?;
    asked.contains(&&status.name).then_some((&status.name, what))
}
