//! What a command has changed so far: an error after that is no "nothing was changed".

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::api::{ApiError, ErrorCode};

/// As many things are named.
const NAMED_MAX: usize = 5;

/// What became of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Made,
    Started,
    Removed,
    /// Only these containers of a service serve, whatever others there are.
    Pinned,
    /// Told to get no new connection any more.
    Leaves,
    /// What the files ask for is what the kernel does.
    Applied,
}

impl Deed {
    const fn text(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Started => "started",
            Self::Removed => "removed",
            Self::Pinned => "pinned to its containers",
            Self::Leaves => "told to leave",
            Self::Applied => "applied",
        }
    }

    /// What was made beside the ones that serve, and stands there: no traffic was moved.
    const fn moves_nothing(self) -> bool {
        matches!(self, Self::Made | Self::Started | Self::Pinned)
    }
}

/// Deeds by thing; as many things as a project has containers and services.
#[derive(Debug, Default)]
pub(super) struct Done {
    deeds: Mutex<BTreeMap<String, Deed>>,
}

impl Done {
    fn deeds(&self) -> MutexGuard<'_, BTreeMap<String, Deed>> {
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn did(&self, thing: impl Into<String>, deed: Deed) {
        let _ = self.deeds().insert(thing.into(), deed);
    }

    /// It is as it was.
    pub(super) fn undid(&self, thing: &str) {
        let _ = self.deeds().remove(thing);
    }

    /// A container is gone: what this command made itself leaves nothing.
    pub(super) fn removed(&self, container: &str) {
        let thing = container_text(container);
        let mut deeds = self.deeds();
        if deeds.get(&thing) == Some(&Deed::Made) {
            let _ = deeds.remove(&thing);
        } else {
            let _ = deeds.insert(thing, Deed::Removed);
        }
    }

    /// The same error, as it is told after what was done. A refusal that moved no traffic stays one.
    pub(super) fn told(&self, error: ApiError) -> ApiError {
        let deeds = self.deeds();
        let moves_nothing = deeds.values().all(|deed| deed.moves_nothing());
        let refused = matches!(
            error.code,
            ErrorCode::Refused | ErrorCode::TimedOut | ErrorCode::Invalid | ErrorCode::UnknownAlias
        );
        if deeds.is_empty() || (refused && moves_nothing) {
            return error;
        }
        let mut named: Vec<String> = deeds
            .iter()
            .take(NAMED_MAX)
            .map(|(thing, deed)| format!("{thing} {}", deed.text()))
            .collect();
        if deeds.len() > NAMED_MAX {
            named.push(format!("{} more", deeds.len() - NAMED_MAX));
        }
        // Of the last request only: earlier ones were carried out.
        let mut said = error.message.clone();
        for untrue in [": nothing was sent", "; nothing was changed", "; nothing was removed"] {
            said = said.replace(untrue, "");
        }
        let moved = if moves_nothing { "; no traffic was moved" } else { "" };
        let message = format!(
            "{said}; before that was done: {}{moved}; run: switcher status, and then the same command again",
            named.join(", ")
        );
        ApiError {
            code: ErrorCode::Unknown,
            message,
            ..error
        }
    }
}

pub(super) fn container_text(name: &str) -> String {
    format!("container {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: ErrorCode) -> ApiError {
        ApiError::new(code, "no agent answers at /s: nothing was sent; start it")
    }

    #[test]
    fn an_error_after_a_change_is_no_nothing_was_sent() {
        let done = Done::default();
        assert_eq!(done.told(error(ErrorCode::NoAgent)), error(ErrorCode::NoAgent));
        done.did(container_text("app-1"), Deed::Made);
        for code in [ErrorCode::NoAgent, ErrorCode::HostFailed, ErrorCode::Busy] {
            let told = done.told(error(code));
            assert_eq!(told.code.exit_code(), 7);
            assert_eq!(
                told.message,
                "no agent answers at /s; start it; before that was done: container app-1 made; no traffic was moved; \
                 run: switcher status, and then the same command again"
            );
        }
        // It never got ready, and stands beside what serves.
        assert_eq!(done.told(error(ErrorCode::TimedOut)).code.exit_code(), 1);
        done.did("the files", Deed::Applied);
        assert_eq!(done.told(error(ErrorCode::TimedOut)).code.exit_code(), 7);
    }

    #[test]
    fn what_was_undone_was_not_done() {
        let done = Done::default();
        done.did(container_text("app-2"), Deed::Made);
        done.did("service app", Deed::Pinned);
        done.removed("app-2");
        done.undid("service app");
        assert_eq!(done.told(error(ErrorCode::NoAgent)).code.exit_code(), 5);
        done.removed("app-1");
        let told = done.told(error(ErrorCode::Refused));
        assert_eq!(told.code.exit_code(), 7);
        assert!(told.message.contains("container app-1 removed"), "{told}");
    }
}
