//! Aliases of the stack that no file has any more: they serve on, and keep their listeners, until somebody removes them.

use super::bring::Site;
use super::stack;
use crate::api::{ApiError, StatusDocument};
use crate::model::AliasName;

/// What the agent says of a listener that two aliases ask for.
const CLAIMED: &str = "claimed twice";

/// Those there are.
pub(super) fn aliases(site: &Site<'_>, status: &StatusDocument) -> Result<Vec<AliasName>, ApiError> {
    let in_files = stack::kernel_aliases(&site.loaded.project)?;
    let own = status
        .aliases
        .iter()
        .filter(|one| one.stack.as_ref() == Some(&site.loaded.name));
    let names = own.map(|one| &one.name);
    let forsaken = names.filter(|name| in_files.iter().all(|one| one.name != **name));
    Ok(forsaken.cloned().collect())
}

/// Says of each that it serves on.
pub(super) fn tell(site: &Site<'_>, forsaken: &[AliasName]) {
    for alias in forsaken {
        site.printer.note(&format!(
            "warning: alias {alias} is this project's and no file has it any more; it serves on: remove it with: switcher alias rm {alias}"
        ));
    }
}

/// A listener that one of them has is why an alias of the files cannot get it.
pub(super) fn explain(error: ApiError, forsaken: &[AliasName]) -> ApiError {
    let in_the_way = |alias: &&AliasName| error.message.contains(&format!("alias '{alias}'"));
    let Some(alias) = forsaken
        .iter()
        .find(in_the_way)
        .filter(|_| error.message.contains(CLAIMED))
    else {
        return error;
    };
    let message = format!(
        "{}; alias '{alias}' is this project's and no file has it any more: remove it with: switcher alias rm {alias}, and run the same command again",
        error.message
    );
    ApiError { message, ..error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ErrorCode;

    #[test]
    fn a_listener_of_an_alias_that_left_the_files_has_a_remedy() {
        let said =
            "listener 10.0.0.1:80/tcp is claimed twice, by alias 'old' and by alias 'new'; give it to one of them";
        let error = ApiError::new(ErrorCode::Invalid, said);
        let old: AliasName = "old".parse().unwrap();
        let other: AliasName = "other".parse().unwrap();
        assert_eq!(explain(error.clone(), std::slice::from_ref(&other)), error);
        let told = explain(error, &[other, old]).message;
        assert!(
            told.starts_with(said) && told.contains("switcher alias rm old"),
            "{told}"
        );
    }
}
