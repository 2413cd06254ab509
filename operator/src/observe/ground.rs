//! What pods and volumes stand on: machines, volumes and their classes. None of it is in a namespace, so the operator may have
//! been refused the right to read it; then it does without, and says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use futures::{StreamExt as _, stream};
use k8s_openapi::api::{
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim},
    storage::v1::StorageClass,
};
use kube::{Api, Client, api::ListParams};
use serde::de::DeserializeOwned;

use super::{ObserveError, workload};
use crate::{
    model::{ClaimView, NodeView, PodState, PodView},
    objects::Identity,
    status::Limit,
};

/// Objects that are asked for at once: all of one cluster, and none that others put there.
const ASKED_AT_ONCE: usize = 16;

/// All that was asked for.
#[derive(Default)]
pub(super) struct Ground {
    /// The machines of the pods and volumes; `None` when they may not be read.
    nodes: Option<Vec<Node>>,
    /// By the name of a claim, the label of the machine that its volume is pinned to.
    pinned: BTreeMap<String, String>,
    /// Whether volumes of a class grow; `None` when classes may not be read: then the API server judges.
    classes: Option<BTreeMap<String, bool>>,
    /// What may not be read.
    pub(super) limits: Vec<Limit>,
}

impl Ground {
    /// Asks for what these pods and claims stand on.
    pub(super) async fn survey(
        client: &Client,
        identity: &Identity,
        pods: &[PodView],
        claims: &[PersistentVolumeClaim],
    ) -> Result<Self, ObserveError> {
        let mut ground = Self { nodes: Some(Vec::new()), classes: classes(client, claims).await?, ..Self::default() };
        match pinned(client, identity, pods, claims).await? {
            Some(pinned) => ground.pinned = pinned,
            None => ground.limits.push(limit("VolumesReadable", false, "volumes: where they are is not known")),
        }
        let named: BTreeSet<String> = pods.iter().filter_map(|pod| pod.machine.clone()).collect();
        let labelled: BTreeSet<String> = ground.pinned.values().cloned().collect();
        if named.is_empty() && labelled.is_empty() {
            return Ok(ground);
        }
        ground.nodes = nodes(client, &named, &labelled).await?;
        let readable = ground.nodes.is_some();
        let what = "nodes: there are no zones, and lost machines are not repaired";
        ground.limits.push(limit("NodesReadable", readable, what));
        Ok(ground)
    }

    /// The machines, for the planner.
    pub(super) fn machines(&self) -> Option<Vec<NodeView>> {
        Some(self.nodes.as_ref()?.iter().filter_map(workload::node).collect())
    }

    /// A claim, for the planner.
    pub(super) fn claim(&self, claim: &PersistentVolumeClaim, identity: &Identity) -> Option<ClaimView> {
        let growable = match (&self.classes, class_of(claim)) {
            (None, _) => true,
            (Some(classes), class) => class.and_then(|class| classes.get(class).copied()).unwrap_or(false),
        };
        let host = claim.metadata.name.as_ref().and_then(|name| self.pinned.get(name)).cloned();
        let machine = host.map(|host| workload::machine_of(host, self.nodes.as_deref()));
        workload::claim(claim, &identity.main(), &identity.uid, growable, machine)
    }
}

fn limit(kind: &str, status: bool, what: &str) -> Limit {
    let (reason, message) = if status {
        ("Readable", "the operator may read them".to_owned())
    } else {
        ("Forbidden", format!("the operator may not read {what}"))
    };
    Limit { kind: kind.to_owned(), status, reason: reason.to_owned(), message }
}

fn class_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.storage_class_name.as_deref().filter(|class| !class.is_empty())
}

async fn classes(
    client: &Client,
    claims: &[PersistentVolumeClaim],
) -> Result<Option<BTreeMap<String, bool>>, ObserveError> {
    let wanted = claims.iter().filter_map(class_of).map(str::to_owned).collect();
    let classes = each::<StorageClass>(&Api::all(client.clone()), &wanted, "storage classes").await?;
    let grows = |class: StorageClass| Some((class.metadata.name?, class.allow_volume_expansion == Some(true)));
    Ok(classes.map(|classes| classes.into_iter().filter_map(grows).collect()))
}

/// Where the volumes are of pods that are not ready: only of them it matters whether the machine is gone.
async fn pinned(
    client: &Client,
    identity: &Identity,
    pods: &[PodView],
    claims: &[PersistentVolumeClaim],
) -> Result<Option<BTreeMap<String, String>>, ObserveError> {
    let ready = pods.iter().filter(|pod| pod.state == PodState::Ready);
    let settled: BTreeSet<String> = ready.map(|pod| identity.claim(pod.ordinal.0)).collect();
    let bound: BTreeMap<&str, &str> = claims
        .iter()
        .filter_map(|claim| Some((claim.spec.as_ref()?.volume_name.as_deref()?, claim.metadata.name.as_deref()?)))
        .filter(|(volume, claim)| !volume.is_empty() && !settled.contains(*claim))
        .collect();
    let wanted = bound.keys().map(|volume| (*volume).to_owned()).collect();
    let volumes = each::<PersistentVolume>(&Api::all(client.clone()), &wanted, "volumes").await?;
    let place = |volume: PersistentVolume| {
        let claim = bound.get(volume.metadata.name.as_deref()?)?;
        Some(((*claim).to_owned(), workload::pinned_to(&volume)?))
    };
    Ok(volumes.map(|volumes| volumes.into_iter().filter_map(place).collect()))
}

/// Machines by their names, and by the label that volumes know them by. One that is not among them is gone.
async fn nodes(
    client: &Client,
    named: &BTreeSet<String>,
    labelled: &BTreeSet<String>,
) -> Result<Option<Vec<Node>>, ObserveError> {
    let api: Api<Node> = Api::all(client.clone());
    let Some(mut nodes) = each(&api, named, "nodes").await? else { return Ok(None) };
    for host in labelled {
        let selected = ListParams::default().labels(&format!("{}={host}", workload::HOSTNAME));
        let Some(list) = allowed(api.list(&selected).await, "nodes")? else { return Ok(None) };
        nodes.extend(list.items);
    }
    nodes.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
    nodes.dedup_by(|one, other| one.metadata.name == other.metadata.name);
    Ok(Some(nodes))
}

/// Those of these names that are there; `None` when they may not be read.
async fn each<K>(api: &Api<K>, names: &BTreeSet<String>, what: &'static str) -> Result<Option<Vec<K>>, ObserveError>
where
    K: Clone + Debug + DeserializeOwned,
{
    let questions: Vec<_> = names.iter().map(|name| api.get_opt(name)).collect();
    let answers: Vec<Result<Option<K>, kube::Error>> =
        stream::iter(questions).buffer_unordered(ASKED_AT_ONCE).collect().await;
    allowed(answers.into_iter().filter_map(Result::transpose).collect(), what)
}

/// `None` when that may not be read.
fn allowed<T>(result: Result<T, kube::Error>, what: &'static str) -> Result<Option<T>, ObserveError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(None),
        Err(source) => Err(ObserveError::of(what, source)),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn claim(class: Option<&str>) -> PersistentVolumeClaim {
        let spec = json!({"storageClassName": class, "volumeName": "v1"});
        let meta = json!({"name": "data-cart-1", "uid": "u1", "resourceVersion": "3"});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).expect("a claim")
    }

    fn identity() -> Identity {
        let text = |text: &str| text.to_owned();
        Identity { name: text("cart"), namespace: text("shop"), uid: text("c"), revision: String::new() }
    }

    #[test]
    fn a_claim_grows_where_its_class_says_so_or_nobody_can_tell() {
        let known = Ground { classes: Some(BTreeMap::from([("ssd".to_owned(), true)])), ..Ground::default() };
        let unknown = Ground::default();
        let grows = |ground: &Ground, class| ground.claim(&claim(class), &identity()).expect("a claim").growable;
        assert!(grows(&known, Some("ssd")));
        assert!(!grows(&known, Some("gone")) && !grows(&known, None));
        assert!(grows(&unknown, Some("ssd")), "the API server judges");
    }

    #[test]
    fn a_volume_is_on_the_machine_that_has_the_label() {
        let labels = json!({"kubernetes.io/hostname": "h1"});
        let machine: Node =
            serde_json::from_value(json!({"metadata": {"name": "n1", "labels": labels}})).expect("one");
        let pinned = BTreeMap::from([("data-cart-1".to_owned(), "h1".to_owned())]);
        let ground = Ground { nodes: Some(vec![machine]), pinned, ..Ground::default() };
        let view = ground.claim(&claim(None), &identity()).expect("a claim");
        assert_eq!(view.pinned_to.as_deref(), Some("n1"));
        assert_eq!(ground.machines().map(|machines| machines.len()), Some(1));
        assert_eq!(Ground::default().machines(), None);
    }

    #[test]
    fn what_is_forbidden_is_left_out() {
        let refused = |reason: &str| Err::<(), _>(kube::Error::Api(Status::failure("no", reason).boxed()));
        assert!(matches!(allowed(refused("Forbidden"), "nodes"), Ok(None)));
        assert!(allowed(refused("InternalError"), "nodes").is_err());
        assert!(matches!(allowed(Ok(7), "nodes"), Ok(Some(7))));
    }
}
