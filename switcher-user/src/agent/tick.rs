//! Each second: look at the host again, follow what moved, and say that the interface indexes still hold.

use super::AgentError;
use super::owner::Owner;
use super::port::{Host, Kernel};
use crate::plan::Touched;

impl<K: Kernel, H: Host> Owner<K, H> {
    /// A tick that fails is a warning; the data path then lets new flows take the stack by itself.
    pub(super) async fn tick(&mut self) {
        self.save_again().await;
        if let Err(error) = self.follow_host().await {
            tracing::warn!("the host could not be followed: {error}");
        }
        if let Err(error) = self.ask_neighbours_again().await {
            tracing::warn!("neighbours could not be asked again: {error}");
        }
    }

    async fn follow_host(&mut self) -> Result<(), AgentError> {
        let observed = self.observe(&self.desired.backend_addresses()).await?;
        self.attach_edges(&observed).await?;
        self.follow_addresses(&observed).await;
        self.look_at_queues().await?;
        let mut resolved = self.desired.resolve(&self.with_hooks(&observed), &Touched::default())?;
        resolved.leave_out(&self.desired, &self.health.unusable(&self.desired, &self.desired));
        resolved.take_away(&self.foreign(&self.desired).into_keys().collect());
        resolved.image.epoch = self.epoch;
        if resolved != *self.resolved {
            self.attach_backends(&mut resolved, None).await?;
            if resolved.image == self.resolved.image {
                self.resolved = std::sync::Arc::new(resolved);
            } else {
                resolved.image.epoch = self.epoch + 1;
                self.flip(resolved).await?;
                tracing::info!("the host changed: epoch {}", self.epoch);
            }
        }
        Ok(self.refresh().await?)
    }
}
