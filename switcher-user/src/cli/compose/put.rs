//! The set of a service at an alias.

use hyper::Method;

use super::bring::{Site, addresses};
use super::stack::{self, KernelAlias, Serving};
use crate::api::{ApiError, ChangesDocument, SetPut, StatusDocument};
use crate::compose::ServiceName;
use crate::discovery::Container;
use crate::model::{AliasName, SetName, SetSpec};

impl Site<'_> {
    /// Gives an alias the set of a service, without a share, before an upgrade gives it one. `status`: what there is now.
    pub(super) async fn put_set(
        &self,
        alias: &KernelAlias<'_>,
        service: &ServiceName,
        containers: &[Container],
        status: &StatusDocument,
    ) -> Result<(), ApiError> {
        let serving = Serving::all(addresses(containers));
        let spec = stack::set(&self.loaded.name, service, &serving, alias.target);
        // While the same upgrade runs, which this one is to join, nothing else may change.
        if is_so(status, &alias.name, service, &spec) {
            return Ok(());
        }
        self.put(&alias.name, service, spec).await
    }

    /// Gives an alias a set that follows containers. Compose files know no health of a set: what it has stays.
    pub(super) async fn put(&self, alias: &AliasName, set: &SetName, spec: SetSpec) -> Result<(), ApiError> {
        let put = SetPut {
            backends: spec.backends,
            health: None,
            containers: spec.containers,
        };
        let path = format!("/v1/aliases/{alias}/sets/{set}");
        let _: ChangesDocument = self.client.change(Method::PUT, &path, &put, self.left()).await?;
        Ok(())
    }
}

/// Whether the set follows these containers, and has them.
fn is_so(status: &StatusDocument, alias: &AliasName, set: &SetName, wanted: &SetSpec) -> bool {
    let alias = status.aliases.iter().find(|one| one.name == *alias);
    let Some(set) = alias.and_then(|one| one.sets.iter().find(|one| one.name == *set)) else {
        return false;
    };
    let has = |address| set.backends.iter().any(|one| one.address.address == address);
    set.containers == wanted.containers && wanted.backends.iter().all(|one| has(one.address))
}
