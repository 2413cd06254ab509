//! One look at a CremaCluster and all that belongs to it, read anew from the API server and the cache's own nodes.
//!
//! Called by the controller at the beginning of a pass, and once more before anything that disturbs somebody: nothing here
//! comes from a cache. It changes nothing and judges nothing: what is there is put into the planner's words. What the operator
//! may not read is left out and told as a [`Limit`]; anything else that can't be read fails the look.

use std::{collections::BTreeSet, fmt::Debug};

use crema_crds::{names, validate::Accepted};
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, StatefulSet},
        core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret},
    },
    jiff::Timestamp,
};
use kube::{Api, Client, Resource, api::ListParams, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;

use crate::{
    admin::{Door, Look, Nodes},
    kinds::Kinds,
    model::{ClaimView, ClusterUid, Control, Live, Memory, NodeView, Observed, PodState, PodView},
    objects::{Identity, NO_ZONE, TOKEN_KEY, ZONE},
    status::Limit,
};

mod ground;
mod kept;
mod owned;
mod subject;
mod workload;

use ground::Ground;
pub use subject::Subject;

/// What could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read {what}")]
pub struct ObserveError {
    what: &'static str,
    source: Box<kube::Error>,
}

impl ObserveError {
    fn of(what: &'static str, source: kube::Error) -> Self {
        Self { what, source: Box::new(source) }
    }
}

/// What a look gives.
pub struct Sight {
    /// The object itself.
    pub subject: Subject,
    /// For the planner.
    pub seen: Observed,
    /// For changes that only the cache's nodes can make.
    pub nodes: Nodes,
    /// The versions that the nodes say they run.
    pub versions: BTreeSet<String>,
    /// Pods that don't say yet which zone they are in, with that zone.
    pub zones: Vec<(Live, String)>,
    /// Whether there is a secret with the token of `Admin`.
    pub has_token: bool,
    /// What can't be seen here.
    pub limits: Vec<Limit>,
}

/// Looks at all that belongs to an object.
///
/// # Errors
/// Something could not be read, though the operator may.
pub async fn observe(client: &Client, kinds: &Kinds, subject: Subject) -> Result<Sight, ObserveError> {
    let identity = subject.identity(String::new());
    let raw = Raw::read(client, &identity).await?;
    let (sts_uid, uid) = (raw.sts.as_ref().and_then(|sts| sts.metadata.uid.clone()), identity.uid.as_str());
    let named = |pod: &Pod| Some((workload::pod(pod, &identity.main(), sts_uid.as_deref())?, pod.clone()));
    let pods: Vec<(PodView, Pod)> = raw.pods.iter().filter_map(named).collect();
    let views: Vec<PodView> = pods.iter().map(|(view, _)| view.clone()).collect();
    let ground = Ground::survey(client, &identity, &views, &raw.claims).await?;
    let owned = owned::owned(client, kinds, &identity, &referred(&raw, &views)).await?;
    let doors = pods.iter().filter_map(|(view, pod)| door(view, pod)).collect();
    let token = raw.token.as_ref().and_then(|secret| token(secret, uid));
    let has_token = token.is_some();
    let nodes = Nodes::new(doors, token);
    let Look { view: cluster, versions } = nodes.look().await;
    let claims: Vec<ClaimView> = raw.claims.iter().filter_map(|claim| ground.claim(claim, &identity)).collect();
    let machines = ground.machines();
    let zones = pods.iter().filter_map(|(view, pod)| zone(view, pod, machines.as_deref())).collect();
    let accepted = kept::accepted(&raw, uid, &claims, cluster.map.as_ref());
    let seen = Observed {
        object: subject.view.clone(),
        accepted: Some(accepted).filter(|accepted| *accepted != Accepted::default()),
        sts: raw.sts.as_ref().and_then(|sts| workload::stateful_set(sts, &raw.revisions, uid)),
        pods: views,
        claims,
        k8s_nodes: machines,
        cluster,
        owned,
        now_ms: u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0),
        draw: draw(),
        status: subject.status.clone(),
        memory: Memory::read(&subject.status),
    };
    Ok(Sight { subject, seen, nodes, versions, zones, has_token, limits: ground.limits })
}

/// Objects as the API server gives them.
struct Raw {
    sts: Option<StatefulSet>,
    pods: Vec<Pod>,
    claims: Vec<PersistentVolumeClaim>,
    revisions: Vec<ControllerRevision>,
    accepted: Option<ConfigMap>,
    token: Option<Secret>,
}

impl Raw {
    async fn read(client: &Client, identity: &Identity) -> Result<Self, ObserveError> {
        let (main, accepted, token) = (identity.main(), identity.accepted(), identity.token_secret());
        let (sts, pods, claims, revisions, accepted, token) = tokio::try_join!(
            one::<StatefulSet>(client, identity, &main, "the StatefulSet"),
            all::<Pod>(client, identity, "the pods"),
            all::<PersistentVolumeClaim>(client, identity, "the volume claims"),
            all::<ControllerRevision>(client, identity, "the revisions of the StatefulSet"),
            one::<ConfigMap>(client, identity, &accepted, "the last accepted spec"),
            one::<Secret>(client, identity, &token, "the secret with the token"),
        )?;
        Ok(Self { sts, pods, claims, revisions, accepted, token })
    }
}

async fn one<K>(
    client: &Client,
    identity: &Identity,
    name: &str,
    what: &'static str,
) -> Result<Option<K>, ObserveError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), &identity.namespace);
    api.get_opt(name).await.map_err(|source| ObserveError::of(what, source))
}

/// Those that the StatefulSet's selector selects.
async fn all<K>(client: &Client, identity: &Identity, what: &'static str) -> Result<Vec<K>, ObserveError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), &identity.namespace);
    let selected = ListParams::default().labels(&identity.selector_text());
    let list = api.list(&selected).await.map_err(|source| ObserveError::of(what, source))?;
    Ok(list.items)
}

/// Process settings that a pod, the template or a revision of it refers to: a pod may be made from each of them.
fn referred(raw: &Raw, pods: &[PodView]) -> BTreeSet<String> {
    let volumes = raw.sts.iter().filter_map(|sts| sts.spec.template.spec.as_ref()?.volumes.as_ref()).flatten();
    let template = volumes.filter(|volume| volume.name == names::CONFIG_VOLUME);
    let template = template.filter_map(|volume| Some(volume.config_map.as_ref()?.name.clone()));
    let revisions = raw.revisions.iter().filter_map(|revision| {
        let volumes = revision.data.0.pointer("/spec/template/spec/volumes")?.as_array()?;
        let config = volumes.iter().find(|volume| volume["name"] == names::CONFIG_VOLUME)?;
        Some(config["configMap"]["name"].as_str()?.to_owned())
    });
    pods.iter().filter_map(|pod| pod.config.clone()).chain(template).chain(revisions).collect()
}

/// Where a pod's node is to be asked. One that has ended may run again, and Kubernetes may have yet to hear of it.
fn door(view: &PodView, pod: &Pod) -> Option<Door> {
    let runs = match view.state {
        PodState::Starting | PodState::Ready | PodState::Terminating | PodState::Stopped(_) => true,
        PodState::Pending(_) => false,
    };
    let ours = match view.control {
        Control::Ours | Control::Nobody => true,
        Control::Other(_) => false,
    };
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).filter(|ip| runs && !ip.is_empty());
    let at = |ip: &str| {
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        format!("{host}:{}", names::PEER_PORT.1)
    };
    ours.then(|| Door { node: view.ordinal.node(), address: ip.map(at) })
}

/// The zone of a pod's machine, or that there is none, if the pod doesn't say it.
fn zone(view: &PodView, pod: &Pod, machines: Option<&[NodeView]>) -> Option<(Live, String)> {
    let chosen = view.machine.as_ref()?;
    let zone = match machines {
        Some(machines) => machines.iter().find(|machine| machine.name == *chosen)?.zone.clone(),
        None => None,
    };
    let zone = zone.unwrap_or_else(|| NO_ZONE.to_owned());
    let says = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ZONE));
    (says != Some(&zone) && view.control == Control::Ours).then(|| (view.live.clone(), zone))
}

/// Not that of a namesake which lived before: it goes with its owner.
fn token(secret: &Secret, uid: &str) -> Option<String> {
    match workload::control(&secret.metadata, Some(uid)) {
        Control::Ours | Control::Nobody => {}
        Control::Other(_) => return None,
    }
    let bytes = secret.data.as_ref()?.get(TOKEN_KEY)?;
    String::from_utf8(bytes.0.clone()).ok().filter(|token| !token.is_empty())
}

/// An identity that no cluster has.
fn draw() -> ClusterUid {
    // All zeros would say that there is none.
    ClusterUid(format!("{:032x}", rand::random::<u128>().max(1)))
}

#[cfg(test)]
mod tests;
