//! Which kinds the API server serves, found out when they are needed.
//!
//! Used by `observe` and `apply`. What exists is chosen by discovery, never by the server's version: the policy group has
//! changed its version, and monitors are there only where somebody installed them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::{
    Client,
    api::{ApiResource, GroupVersionKind},
    discovery,
};
use tokio::time::Instant;

use crate::objects::Kind;

/// How long an answer is believed: somebody may install a kind, or take it away.
const BELIEVED: Duration = Duration::from_secs(60);

/// What is known of the server's kinds. One for each process.
pub struct Kinds {
    client: Client,
    known: Mutex<HashMap<Kind, Known>>,
}

#[derive(Clone)]
struct Known {
    /// `None`: it is not served.
    resource: Option<ApiResource>,
    since: Instant,
}

impl Kinds {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// How a kind is served, by the best version that there is; `None` when it isn't.
    ///
    /// # Errors
    /// The server could not be asked.
    pub async fn resolve(&self, kind: Kind) -> Result<Option<ApiResource>, kube::Error> {
        if let Some(resource) = always(kind) {
            return Ok(Some(resource));
        }
        let known = self.lock().get(&kind).cloned();
        if let Some(known) = known.filter(|known| known.since.elapsed() < BELIEVED) {
            return Ok(known.resource);
        }
        let mut resource = None;
        for version in kind.versions() {
            if resource.is_none() {
                resource = self.ask(&named(kind, version)).await?;
            }
        }
        self.lock().insert(kind, Known { resource: resource.clone(), since: Instant::now() });
        Ok(resource)
    }

    async fn ask(&self, gvk: &GroupVersionKind) -> Result<Option<ApiResource>, kube::Error> {
        match discovery::pinned_kind(&self.client, gvk).await {
            Ok((resource, _)) => Ok(Some(resource)),
            // The group is there, the kind is not.
            Err(kube::Error::Discovery(_)) => Ok(None),
            // No such group: that answer is no object of Kubernetes, and has only its code.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Kind, Known>> {
        // A panic can't leave it half changed: every change is one insert.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Kinds that every server has, in the version that they are rendered in.
fn always(kind: Kind) -> Option<ApiResource> {
    match kind {
        Kind::ServiceAccount | Kind::ConfigMap | Kind::Service | Kind::StatefulSet => {
            let version = kind.versions().first()?;
            Some(ApiResource::from_gvk_with_plural(&named(kind, version), kind.plural()))
        }
        Kind::PodDisruptionBudget | Kind::ServiceMonitor => None,
    }
}

fn named(kind: Kind, version: &str) -> GroupVersionKind {
    GroupVersionKind::gvk(kind.group(), version, kind.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_missing_is_asked_for() {
        let asked: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| always(*kind).is_none()).collect();
        assert_eq!(asked, [Kind::PodDisruptionBudget, Kind::ServiceMonitor]);
        let sets = always(Kind::StatefulSet).expect("a StatefulSet");
        assert_eq!((sets.api_version.as_str(), sets.plural.as_str()), ("apps/v1", "statefulsets"));
        let maps = always(Kind::ConfigMap).expect("a ConfigMap");
        assert_eq!((maps.api_version.as_str(), maps.plural.as_str()), ("v1", "configmaps"));
    }
}
