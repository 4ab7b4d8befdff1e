//! The set of a service at an alias, before an upgrade gives it a share.

use hyper::Method;

use super::bring::{Site, addresses};
use super::stack::{self, KernelAlias, Serving};
use crate::api::{ApiError, ChangesDocument, SetPut, StatusDocument};
use crate::compose::ServiceName;
use crate::discovery::Container;
use crate::model::{AliasName, SetName, SetSpec};

impl Site<'_> {
    /// Gives an alias the set of a service, without a share.
    pub(super) async fn put_set(
        &self,
        alias: &KernelAlias<'_>,
        service: &ServiceName,
        containers: &[Container],
    ) -> Result<(), ApiError> {
        let serving = Serving {
            addresses: addresses(containers),
            hashes: Vec::new(),
        };
        let spec = stack::set(&self.loaded.name, service, &serving, alias.target);
        // While the same upgrade runs, which this one is to join, nothing else may change.
        let status: StatusDocument = self.client.get("/v1/status").await?;
        if is_so(&status, &alias.name, service, &spec) {
            return Ok(());
        }
        let put = SetPut {
            backends: spec.backends,
            health: None,
            containers: spec.containers,
        };
        let path = format!("/v1/aliases/{}/sets/{service}", alias.name);
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
