//! The small objects: who the pods are, how many may be missing, and what Prometheus is told.

use crema_crds::{names, validated::Monitoring};
use serde_json::{Value, json};

use super::{Identity, Kind, ROLE, ROLE_NODES, Rendered};

/// The account of the pods. They ask nothing of the API server, so they get no token for it.
pub(super) fn service_account(identity: &Identity) -> Rendered {
    let body = json!({ "automountServiceAccountToken": false });
    Rendered::new(Kind::ServiceAccount, identity.main(), identity, &json!({}), body)
}

/// The budget at rest: one node may be missing.
pub(super) fn disruption_budget(identity: &Identity) -> Rendered {
    let body = json!({ "spec": { "maxUnavailable": 1, "selector": { "matchLabels": identity.selector() } } });
    Rendered::new(Kind::PodDisruptionBudget, identity.main(), identity, &json!({}), body)
}

/// What Prometheus's operator is told: to ask every node, ready or not, through the headless service.
pub(super) fn service_monitor(monitoring: &Monitoring, identity: &Identity) -> Rendered {
    let Monitoring { interval, labels } = monitoring;
    let mut endpoint = json!({ "port": names::HTTP_PORT.0, "path": "/metrics" });
    if let Some(interval) = interval {
        endpoint["interval"] = format!("{}ms", interval.as_millis()).into();
    }
    let mut services = identity.selector();
    services[ROLE] = ROLE_NODES.into();
    let body = json!({ "spec": { "selector": { "matchLabels": services }, "endpoints": [endpoint] } });
    let metadata: Value = json!({ "labels": labels });
    Rendered::new(Kind::ServiceMonitor, identity.main(), identity, &metadata, body)
}
