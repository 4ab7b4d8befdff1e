//! The store, used off the agent's own task: its calls wait for the disk.

use std::sync::{Arc, Mutex, PoisonError};

use crate::api::{ApiError, ErrorCode};
use crate::store::{Store, StoreError};

/// The store behind a lock.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Mutex<Store>>);

impl Disk {
    pub(super) fn new(store: Store) -> Self {
        Self(Arc::new(Mutex::new(store)))
    }

    /// Runs the work on a thread for blocking work.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, ApiError> {
        let store = Arc::clone(&self.0);
        let task = tokio::task::spawn_blocking(move || work(&mut store.lock().unwrap_or_else(PoisonError::into_inner)));
        match task.await {
            Ok(result) => Ok(result?),
            Err(error) => Err(ApiError::new(
                ErrorCode::StoreFailed,
                format!("a write did not end: {error}"),
            )),
        }
    }
}
