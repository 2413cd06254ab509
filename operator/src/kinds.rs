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

/// How long a kind that was not served is believed to be missing: somebody may install it.
const MISSING: Duration = Duration::from_secs(60);

/// Older names of kinds, the same in all that the operator writes.
const OLDER: &[(&str, &str)] = &[("policy/v1", "policy/v1beta1")];

/// What is known of the server's kinds. One for each process.
pub struct Kinds {
    client: Client,
    known: Mutex<HashMap<(String, String), Known>>,
}

#[derive(Clone)]
enum Known {
    Served(ApiResource),
    Missing { since: Instant },
}

impl Kinds {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// How a kind is served, perhaps by an older version; `None` when it isn't.
    ///
    /// # Errors
    /// The server could not be asked.
    pub async fn resolve(&self, api_version: &str, kind: &str) -> Result<Option<ApiResource>, kube::Error> {
        let key = (api_version.to_owned(), kind.to_owned());
        let known = self.lock().get(&key).cloned();
        match known {
            Some(Known::Served(resource)) => return Ok(Some(resource)),
            Some(Known::Missing { since }) if since.elapsed() < MISSING => return Ok(None),
            Some(Known::Missing { .. }) | None => {}
        }
        let mut found = self.ask(api_version, kind).await?;
        for (_, older) in OLDER.iter().filter(|(newer, _)| *newer == api_version) {
            if found.is_none() {
                found = self.ask(older, kind).await?;
            }
        }
        let learned = match &found {
            Some(resource) => Known::Served(resource.clone()),
            None => Known::Missing { since: Instant::now() },
        };
        self.lock().insert(key, learned);
        Ok(found)
    }

    async fn ask(&self, api_version: &str, kind: &str) -> Result<Option<ApiResource>, kube::Error> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let gvk = GroupVersionKind::gvk(group, version, kind);
        match discovery::pinned_kind(&self.client, &gvk).await {
            Ok((resource, _)) => Ok(Some(resource)),
            // The group is there, the kind is not.
            Err(kube::Error::Discovery(_)) => Ok(None),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Known>> {
        // A panic can't leave it half changed: every change is one insert.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
