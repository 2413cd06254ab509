//! Objects of Kubernetes as the planner sees them. Pure: each function reads one.

use std::collections::BTreeMap;

use crema_crds::{Amount, names, spec::UpdateKind};
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, StatefulSet},
        core::v1::{ContainerStatus, Node, PersistentVolume, PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time},
};
use kube::api::ObjectMeta;

use crate::{
    model::{ClaimView, Control, Live, NodeView, Ordinal, PodState, PodView, StatefulSetView},
    objects,
};

/// The label that says which machine a volume is on.
pub(super) const HOSTNAME: &str = "kubernetes.io/hostname";
/// The labels that say which zone a machine is in, the older one last.
const ZONES: [&str; 2] = ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"];

/// What changes of an object are bound to; `None` for what the API server never gives.
pub(super) fn live(meta: &ObjectMeta) -> Option<Live> {
    Some(Live { name: meta.name.clone()?, uid: meta.uid.clone()?, resource_version: meta.resource_version.clone()? })
}

/// Who controls an object, where this uid is us.
pub(super) fn control(meta: &ObjectMeta, ours: Option<&str>) -> Control {
    let mut owners = meta.owner_references.iter().flatten();
    match owners.find(|owner| owner.controller == Some(true)) {
        None => Control::Nobody,
        Some(owner) if Some(owner.uid.as_str()) == ours => Control::Ours,
        Some(owner) => Control::Other(owner.uid.clone()),
    }
}

/// The number behind a prefix, written without leading zeros as Kubernetes does.
pub(super) fn ordinal(name: &str, prefix: &str) -> Option<Ordinal> {
    let digits = name.strip_prefix(prefix)?;
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(Ordinal(number))
}

/// The StatefulSet, of which these are the revisions that are kept.
pub(super) fn stateful_set(
    sts: &StatefulSet,
    revisions: &[ControllerRevision],
    cluster_uid: &str,
) -> Option<StatefulSetView> {
    let spec = &sts.spec;
    let rolling = spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let template = spec.template.metadata.as_ref().and_then(|meta| meta.annotations.as_ref());
    let claim = spec.volume_claim_templates.iter().flatten().find_map(|claim| claim.spec.as_ref());
    let requested = claim.and_then(|claim| claim.resources.as_ref()?.requests.as_ref()?.get("storage"));
    Some(StatefulSetView {
        live: live(&sts.metadata)?,
        control: control(&sts.metadata, Some(cluster_uid)),
        deleting: sts.metadata.deletion_timestamp.is_some(),
        replicas: count(spec.replicas.unwrap_or(1)),
        update: update_kind(spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref())),
        partition: count(rolling.and_then(|rolling| rolling.partition).unwrap_or(0)),
        revision: annotation(template, objects::REVISION),
        current: current(sts, revisions),
        settled: is_settled(sts),
        claim_bytes: requested.map(bytes),
    })
}

fn update_kind(strategy: Option<&str>) -> UpdateKind {
    match strategy {
        Some("OnDelete") => UpdateKind::Manual,
        Some(_) | None => UpdateKind::Rolling,
    }
}

/// Our revision of what its controller calls the current one.
fn current(sts: &StatefulSet, revisions: &[ControllerRevision]) -> Option<String> {
    let name = sts.status.as_ref()?.current_revision.as_deref()?;
    let kept = revisions.iter().find(|revision| revision.metadata.name.as_deref() == Some(name))?;
    let annotations = kept.data.0.pointer("/spec/template/metadata/annotations")?;
    Some(annotations.get(objects::REVISION)?.as_str()?.to_owned())
}

/// Its controller has seen this generation, and makes every pod from this template.
fn is_settled(sts: &StatefulSet) -> bool {
    let Some(status) = &sts.status else { return false };
    let seen = status.observed_generation >= sts.metadata.generation;
    seen && status.update_revision.is_some() && status.current_revision == status.update_revision
}

/// A pod of the StatefulSet of this name; `None` if it isn't one by its name.
pub(super) fn pod(pod: &Pod, sts_name: &str, sts_uid: Option<&str>) -> Option<PodView> {
    let live = live(&pod.metadata)?;
    let ordinal = ordinal(&live.name, &format!("{sts_name}-"))?;
    let spec = pod.spec.as_ref();
    let config = spec
        .and_then(|spec| spec.volumes.as_ref())
        .and_then(|volumes| volumes.iter().find(|volume| volume.name == names::CONFIG_VOLUME))
        .and_then(|volume| volume.config_map.as_ref())
        .map(|config| config.name.clone());
    Some(PodView {
        live,
        control: control(&pod.metadata, sts_uid),
        ordinal,
        state: pod_state(pod),
        since_ms: since_ms(pod),
        machine: spec.and_then(|spec| spec.node_name.clone()).filter(|name| !name.is_empty()),
        revision: annotation(pod.metadata.annotations.as_ref(), objects::REVISION),
        config,
    })
}

fn pod_state(pod: &Pod) -> PodState {
    if pod.metadata.deletion_timestamp.is_some() {
        return PodState::Terminating;
    }
    let Some(status) = &pod.status else { return PodState::Pending("it was just created".to_owned()) };
    if let Some(phase @ ("Failed" | "Succeeded")) = status.phase.as_deref() {
        let why = status.reason.clone().or_else(|| status.message.clone());
        return PodState::Stopped(why.unwrap_or_else(|| format!("its phase is {phase}")));
    }
    let node = status.container_statuses.iter().flatten().find(|container| container.name == names::CONTAINER);
    match node {
        Some(container) => container_state(container, is_ready(pod)),
        None => PodState::Pending(unscheduled(pod).unwrap_or_else(|| "its containers are not created".to_owned())),
    }
}

/// A process that ran once and runs no more has stopped, whatever the container waits for now.
fn container_state(container: &ContainerStatus, ready: bool) -> PodState {
    let words = |reason: &Option<String>, message: &Option<String>| {
        let parts: Vec<&str> = [reason, message].into_iter().filter_map(|text| text.as_deref()).collect();
        if parts.is_empty() { "no reason is given".to_owned() } else { parts.join(": ") }
    };
    let ran =
        container.restart_count > 0 || container.last_state.as_ref().is_some_and(|last| last.terminated.is_some());
    match &container.state {
        Some(state) if state.running.is_some() => {
            if ready {
                PodState::Ready
            } else {
                PodState::Starting
            }
        }
        Some(state) => match (&state.terminated, &state.waiting) {
            (Some(ended), _) => {
                PodState::Stopped(format!("exit code {} ({})", ended.exit_code, words(&ended.reason, &ended.message)))
            }
            (None, Some(waiting)) if ran => PodState::Stopped(words(&waiting.reason, &waiting.message)),
            (None, Some(waiting)) => PodState::Pending(words(&waiting.reason, &waiting.message)),
            (None, None) => PodState::Pending("its container waits".to_owned()),
        },
        None => PodState::Pending("its container waits".to_owned()),
    }
}

fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Since when it is ready or not; else since it is there.
fn since_ms(pod: &Pod) -> u64 {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.find(|condition| condition.type_ == "Ready");
    let changed = ready.and_then(|condition| condition.last_transition_time.as_ref());
    changed.or(pod.metadata.creation_timestamp.as_ref()).map_or(0, millis)
}

fn unscheduled(pod: &Pod) -> Option<String> {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let found = conditions.find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    found.message.clone().or_else(|| found.reason.clone())
}

/// A claim of the StatefulSet of this name; `None` if it isn't one by its name. What is not of the claim is given along.
pub(super) fn claim(
    claim: &PersistentVolumeClaim,
    sts_name: &str,
    cluster_uid: &str,
    growable: bool,
    pinned_to: Option<String>,
) -> Option<ClaimView> {
    let live = live(&claim.metadata)?;
    let ordinal = ordinal(&live.name, &format!("{}-{sts_name}-", names::DATA_VOLUME))?;
    let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    let capacity = claim.status.as_ref().and_then(|status| status.capacity.as_ref());
    let storage = |amounts: Option<&BTreeMap<String, Quantity>>| {
        amounts.and_then(|amounts| amounts.get("storage")).map_or(0, bytes)
    };
    let mut owners = claim.metadata.owner_references.iter().flatten();
    Some(ClaimView {
        live,
        ordinal,
        owned: owners.any(|owner| owner.uid == cluster_uid),
        terminating: claim.metadata.deletion_timestamp.is_some(),
        requested_bytes: storage(requests),
        capacity_bytes: storage(capacity),
        growable,
        pinned_to,
    })
}

/// The one machine that a volume can be used on, by its node affinity.
pub(super) fn pinned_to(volume: &PersistentVolume) -> Option<String> {
    let affinity = volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()?;
    let [term] = affinity.node_selector_terms.as_slice() else { return None };
    let hosts =
        term.match_expressions.iter().flatten().find(|needs| needs.key == HOSTNAME && needs.operator == "In")?;
    match hosts.values.as_deref()? {
        [one] => Some(one.clone()),
        _ => None,
    }
}

/// A machine. Its host name is what volumes are pinned to, so it counts as its name where the two differ.
pub(super) fn node(node: &Node) -> Option<NodeView> {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.find(|condition| condition.type_ == "Ready");
    let labels = node.metadata.labels.as_ref();
    let since = ready.and_then(|condition| condition.last_transition_time.as_ref());
    Some(NodeView {
        name: node.metadata.name.clone()?,
        ready: ready.is_some_and(|condition| condition.status == "True"),
        since_ms: since.or(node.metadata.creation_timestamp.as_ref()).map_or(0, millis),
        zone: ZONES.iter().find_map(|zone| labels?.get(*zone).cloned()),
    })
}

/// The machine's name for what a volume says of its host.
pub(super) fn machine_of(host: String, nodes: Option<&[Node]>) -> String {
    let named = |node: &&Node| node.metadata.labels.as_ref().and_then(|labels| labels.get(HOSTNAME)) == Some(&host);
    nodes.into_iter().flatten().find(named).and_then(|node| node.metadata.name.clone()).unwrap_or(host)
}

fn annotation(annotations: Option<&BTreeMap<String, String>>, key: &str) -> String {
    annotations.and_then(|annotations| annotations.get(key)).cloned().unwrap_or_default()
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// 0 for what can't be read: the API server lets nothing of that kind in.
fn bytes(quantity: &Quantity) -> u64 {
    Amount(quantity.0.clone()).bytes().unwrap_or(0)
}

fn millis(time: &Time) -> u64 {
    u64::try_from(time.0.as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
