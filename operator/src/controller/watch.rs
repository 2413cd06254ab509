//! What wakes a cluster: changes of the object and of what belongs to it, in every watched namespace.
//!
//! Only metadata is read, and nothing is kept but a fingerprint of each object: a pass reads what it needs anew. Each
//! namespace and kind has a watch of its own, so that one that is forbidden does not stop the others.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    pin::pin,
};

use crema_crds::CremaCluster;
use futures::StreamExt as _;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service},
};
use kube::{
    Api, Client, Resource,
    api::{ObjectMeta, PartialObjectMeta},
    core::NamespaceResourceScope,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet};

use super::queue::Key;
use crate::{chain, labels, metrics::Metrics};

/// Where a watch looks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scope {
    All,
    Namespace(String),
}

/// What of an object counts: a change of the status alone, such as the operator's own, wakes nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fingerprint {
    uid: Option<String>,
    generation: Option<i64>,
    deleting: bool,
    annotations: Option<BTreeMap<String, String>>,
}

/// One watch, but for its kind.
#[derive(Clone)]
struct Watch {
    client: Client,
    scope: Scope,
    wake: mpsc::Sender<Key>,
    metrics: Metrics,
}

/// Begins all watches; they end when the set is dropped.
pub(super) fn start(
    client: &Client,
    namespaces: &[String],
    wake: &mpsc::Sender<Key>,
    metrics: &Metrics,
) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    let scopes = match namespaces {
        [] => vec![Scope::All],
        names => names.iter().cloned().map(Scope::Namespace).collect(),
    };
    for scope in scopes {
        let watch = Watch { client: client.clone(), scope, wake: wake.clone(), metrics: metrics.clone() };
        watches.spawn(watch.clone().objects());
        watches.spawn(watch.clone().parts::<PartialObjectMeta<StatefulSet>>("StatefulSet"));
        watches.spawn(watch.clone().parts::<PartialObjectMeta<Pod>>("Pod"));
        watches.spawn(watch.clone().parts::<PartialObjectMeta<PersistentVolumeClaim>>("PersistentVolumeClaim"));
        watches.spawn(watch.clone().parts::<PartialObjectMeta<Service>>("Service"));
        watches.spawn(watch.parts::<PartialObjectMeta<ConfigMap>>("ConfigMap"));
    }
    watches
}

impl Watch {
    /// The CremaClusters themselves.
    async fn objects(self) {
        let mut known: HashMap<Key, Fingerprint> = HashMap::new();
        let api: Api<PartialObjectMeta<CremaCluster>> = self.api();
        let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
        while let Some(event) = events.next().await {
            let key = match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => {
                    let Some(key) = named(object.meta()) else { continue };
                    let fingerprint = fingerprint(object.meta());
                    if known.insert(key.clone(), fingerprint.clone()) == Some(fingerprint) {
                        continue;
                    }
                    key
                }
                Ok(Event::Delete(object)) => {
                    let Some(key) = named(object.meta()) else { continue };
                    known.remove(&key);
                    key
                }
                Ok(Event::Init | Event::InitDone) => continue,
                Err(error) => {
                    self.failed("CremaCluster", &error);
                    continue;
                }
            };
            if self.wake.send(key).await.is_err() {
                return;
            }
        }
    }

    /// What belongs to clusters, by its label.
    async fn parts<M>(self, kind: &'static str)
    where
        M: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let config = watcher::Config::default().labels(labels::SELECTOR);
        let mut events = pin!(watcher(self.api::<M>(), config).default_backoff());
        while let Some(event) = events.next().await {
            let key = match event {
                Ok(Event::Apply(object) | Event::InitApply(object) | Event::Delete(object)) => owner(object.meta()),
                Ok(Event::Init | Event::InitDone) => None,
                Err(error) => {
                    self.failed(kind, &error);
                    None
                }
            };
            if let Some(key) = key
                && self.wake.send(key).await.is_err()
            {
                return;
            }
        }
    }

    fn api<M>(&self) -> Api<M>
    where
        M: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.scope {
            Scope::All => Api::all(self.client.clone()),
            Scope::Namespace(namespace) => Api::namespaced(self.client.clone(), namespace),
        }
    }

    /// The stream begins anew by itself, after a pause that grows.
    fn failed(&self, kind: &'static str, error: &watcher::Error) {
        let namespace = match &self.scope {
            Scope::All => "",
            Scope::Namespace(namespace) => namespace,
        };
        self.metrics.watch_failed(namespace, kind);
        tracing::warn!(namespace, kind, error = chain(error), "watch");
    }
}

fn fingerprint(meta: &ObjectMeta) -> Fingerprint {
    Fingerprint {
        uid: meta.uid.clone(),
        generation: meta.generation,
        deleting: meta.deletion_timestamp.is_some(),
        annotations: meta.annotations.clone(),
    }
}

fn named(meta: &ObjectMeta) -> Option<Key> {
    Some(Key { namespace: meta.namespace.clone()?, name: meta.name.clone()? })
}

/// The cluster that an object says it belongs to.
fn owner(meta: &ObjectMeta) -> Option<Key> {
    let name = meta.labels.as_ref()?.get(labels::CLUSTER)?.clone();
    Some(Key { namespace: meta.namespace.clone()?, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> ObjectMeta {
        ObjectMeta {
            name: Some("cart-0".to_owned()),
            namespace: Some("shop".to_owned()),
            resource_version: Some("1".to_owned()),
            generation: Some(1),
            labels: Some(BTreeMap::from([(labels::CLUSTER.to_owned(), "cart".to_owned())])),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn parts_name_their_cluster() {
        let key = |name: &str| Some(Key { namespace: "shop".to_owned(), name: name.to_owned() });
        assert_eq!(owner(&meta()), key("cart"));
        assert_eq!(named(&meta()), key("cart-0"));
        assert_eq!(owner(&ObjectMeta { labels: None, ..meta() }), None);
    }

    #[test]
    fn a_written_status_changes_no_fingerprint() {
        let later = ObjectMeta { resource_version: Some("2".to_owned()), ..meta() };
        assert_eq!(fingerprint(&later), fingerprint(&meta()));
        let edited = ObjectMeta { generation: Some(2), ..meta() };
        assert_ne!(fingerprint(&edited), fingerprint(&meta()));
        let restarted = BTreeMap::from([("crema.io/restartedAt".to_owned(), "now".to_owned())]);
        assert_ne!(fingerprint(&ObjectMeta { annotations: Some(restarted), ..meta() }), fingerprint(&meta()));
    }
}
