//! `hold` and `release`: new flows of an alias wait, none is refused.
//!
//! The deadline stands in the image, so that a hold ends without an agent. It changes no share, so it may be set and lifted
//! while an upgrade of the alias runs.

use std::time::Duration;

use super::answer::Asked;
use super::door::Look;
use super::owner::Owner;
use super::port::{Host, Kernel};
use crate::api::{ApiError, ErrorCode, HoldDocument, HoldRequest, Reply, SCHEMA};
use crate::model::{AliasName, HOLD_MAX};

impl<K: Kernel, H: Host> Owner<K, H> {
    pub(super) async fn hold(
        &mut self,
        alias: &AliasName,
        request: HoldRequest,
        asked: Asked,
    ) -> Result<Reply, ApiError> {
        let time = Duration::from_millis(request.for_ms);
        if time.is_zero() || time > HOLD_MAX {
            let most = HOLD_MAX.as_secs();
            return Err(ApiError::new(
                ErrorCode::Invalid,
                format!(
                    "new flows can be held for 1 ms to {most} s, not for {} ms",
                    request.for_ms
                ),
            ));
        }
        let until_ns = self.kernel.run(|kernel| Ok(kernel.now_ns())).await? + time.as_nanos() as u64;
        self.set_hold(alias, until_ns, asked).await?;
        let message = format!(
            "alias {alias}: new flows wait for {} ms at most; let them go with: switcher release {alias}",
            request.for_ms
        );
        Ok(self.hold_document(alias, Some(request.for_ms), message))
    }

    pub(super) async fn release(&mut self, alias: &AliasName, asked: Asked) -> Result<Reply, ApiError> {
        let now_ns = self.kernel.run(|kernel| Ok(kernel.now_ns())).await?;
        if self.desired.alias(alias)?.hold_until_ns <= now_ns {
            let message = format!("alias {alias}: nothing to do: its new flows do not wait");
            return Ok(self.hold_document(alias, None, message));
        }
        self.set_hold(alias, 0, asked).await?;
        let message =
            format!("alias {alias}: new flows go again; a client that waited sends its SYN again within seconds");
        Ok(self.hold_document(alias, None, message))
    }

    async fn set_hold(&mut self, alias: &AliasName, until_ns: u64, asked: Asked) -> Result<(), ApiError> {
        let mut next = (*self.desired).clone();
        next.hold(alias, until_ns)?;
        self.land(next, Look::Recent, asked.deadline).await?;
        Ok(())
    }

    fn hold_document(&self, alias: &AliasName, held_for_ms: Option<u64>, message: String) -> Reply {
        Reply::Hold(Box::new(HoldDocument {
            schema: SCHEMA,
            alias: alias.clone(),
            epoch: self.epoch,
            held_for_ms,
            message,
        }))
    }
}
