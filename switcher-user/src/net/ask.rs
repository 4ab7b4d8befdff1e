//! Questions to the kernel: bounded in time, and failures named.

use std::future::Future;
use std::time::Duration;

use super::NetError;

/// The kernel answers at once; more than this means that netlink is broken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits for `answer`, but not for ever.
pub(super) async fn bounded<T>(what: &str, answer: impl Future<Output = Result<T, NetError>>) -> Result<T, NetError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(result) => result,
        Err(_) => Err(failed(what, format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))),
    }
}

/// The question for `what` failed because of `cause`.
pub(super) fn failed(what: &str, cause: impl ToString) -> NetError {
    NetError::Ask {
        what: what.to_owned(),
        cause: cause.to_string(),
    }
}

/// What rtnetlink says about the question for `what`.
pub(super) fn refused(what: &str, error: &rtnetlink::Error) -> NetError {
    match error {
        rtnetlink::Error::NetlinkError(message) => failed(what, message.to_io()),
        other => failed(what, other),
    }
}
