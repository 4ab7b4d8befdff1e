//! Each command's answer.

use std::ops::ControlFlow;

use super::owner::{Left, Owner};
use super::port::{Host, Kernel};
use crate::api::{
    AliasSummary, AliasesDocument, ApiError, Command, DetachedDocument, Envelope, ErrorCode, ReceiptSummary,
    ReceiptsDocument, Reply, SCHEMA,
};
use crate::model::{AliasName, Caller, Receipt};

/// Most receipts in a list.
const RECEIPTS_LISTED_MAX: usize = 100;

/// Who asks, and the time it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) caller: Caller,
    pub(super) started: std::time::Instant,
    pub(super) deadline: std::time::Instant,
}

impl<K: Kernel, H: Host> Owner<K, H> {
    /// Answers a command. Breaks when the agent is to end.
    pub(super) async fn answer(&mut self, envelope: Envelope) -> ControlFlow<Left> {
        let Envelope {
            command,
            caller,
            started,
            deadline,
            reply,
        } = envelope;
        let asked = Asked {
            caller,
            started,
            deadline,
        };
        let detaches = command == Command::Detach;
        let answer = match command {
            Command::Status(alias) => {
                self.status(alias, reply);
                return ControlFlow::Continue(());
            }
            Command::Flows(request) => {
                self.flows(request, reply);
                return ControlFlow::Continue(());
            }
            Command::Forecast(request) => {
                self.forecast(request, asked, reply).await;
                return ControlFlow::Continue(());
            }
            Command::Containers(query) => self.containers(query.as_ref()),
            Command::Leave(request) => self.leave(&request.ids).await,
            Command::Stay(request) => self.stay(&request.ids).await,
            Command::Apply(request) => self.apply(*request, asked).await,
            Command::AliasPut(alias, put) => self.alias_put(&alias, &put, asked).await,
            Command::AliasRm(alias) => self.alias_rm(&alias, asked).await,
            Command::AliasLs => Ok(Reply::Aliases(self.alias_ls())),
            Command::SetPut(alias, set, put) => self.set_put(&alias, &set, &put, asked).await,
            Command::SetRm(alias, set) => self.set_rm(&alias, &set, asked).await,
            Command::Split(alias, request) => self.split(&alias, &request, asked).await,
            Command::Upgrade(request) => self.upgrade(request, asked).await,
            Command::Hold(alias, request) => self.hold(&alias, request, asked).await,
            Command::Release(alias) => self.release(&alias, asked).await,
            Command::Rollback(alias) => self.rollback(&alias, asked).await,
            Command::Confirm(alias) => self.confirm(&alias).await,
            Command::Receipts => self.receipts().await,
            Command::Receipt(id) => self
                .disk
                .run(move |store| store.receipt(id))
                .await
                .map(|receipt| Reply::Receipt(Box::new(receipt))),
            Command::Detach => self.detach().await,
        };
        let left = if answer.is_ok() { Left::Nothing } else { Left::Parts };
        // Whoever asked may be gone; what was done is done.
        let _ = reply.send(answer);
        // Without a data path there is nothing more to do, however the detaching went.
        if detaches && self.kernel.is_taken() {
            ControlFlow::Break(left)
        } else {
            ControlFlow::Continue(())
        }
    }

    fn alias_ls(&self) -> AliasesDocument {
        let aliases = self.desired.aliases.iter().map(|(name, alias)| AliasSummary {
            name: name.clone(),
            stack: alias.stack.clone(),
            listen: alias.listen.clone(),
            path: alias.path,
            split: alias.split.weights.clone(),
            sets: alias.sets.keys().cloned().collect(),
        });
        AliasesDocument {
            schema: SCHEMA,
            aliases: aliases.collect(),
        }
    }

    async fn receipts(&self) -> Result<Reply, ApiError> {
        let newest = self
            .disk
            .run(|store| Ok(store.newest_receipts(RECEIPTS_LISTED_MAX)))
            .await?;
        let receipts = newest.into_iter().filter_map(summary).collect();
        Ok(Reply::Receipts(ReceiptsDocument {
            schema: SCHEMA,
            receipts,
        }))
    }

    async fn detach(&mut self) -> Result<Reply, ApiError> {
        if let Some(running) = self.running.first() {
            return Err(running.busy());
        }
        self.keep_epoch().await;
        let kernel = self.kernel.clone();
        let task = tokio::task::spawn_blocking(move || kernel.take().map(Kernel::detach));
        let gone = || ApiError::new(ErrorCode::HostFailed, "the data path was detached before");
        let removed = task.await.map_err(|_| gone())?.ok_or_else(gone)?;
        let removed = removed.map_err(|error| {
            let text =
                format!("{error}; parts of the data path may be left and the agent ends; run again: switcher detach");
            ApiError::new(ErrorCode::Unknown, text)
        })?;
        let addresses = self.remove_all_addresses().await;
        let addresses = addresses.map_err(|error| {
            let text = format!(
                "{}; the data path was detached and the agent ends, but addresses that it added may be left; run again: switcher detach",
                error.message
            );
            ApiError::new(ErrorCode::Unknown, text)
        })?;
        Ok(Reply::Detached(DetachedDocument {
            schema: SCHEMA,
            removed: removed.into_iter().chain(addresses).collect(),
        }))
    }

    /// Refuses where an upgrade of one of these runs.
    pub(super) fn refuse_busy<'a>(&self, aliases: impl IntoIterator<Item = &'a AliasName>) -> Result<(), ApiError> {
        for alias in aliases {
            if let Some(running) = self.running.iter().find(|running| running.concerns(alias)) {
                return Err(running.busy());
            }
        }
        Ok(())
    }
}

fn summary(receipt: Receipt) -> Option<ReceiptSummary> {
    Some(ReceiptSummary {
        id: receipt.id?,
        action: receipt.action,
        outcome: receipt.outcome,
        started_at: receipt.started_at,
        aliases: receipt.aliases.into_iter().map(|change| change.alias).collect(),
        message: receipt.message,
    })
}
