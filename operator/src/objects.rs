//! What a cluster is made of on Kubernetes: every object that the operator owns, rendered from a validated spec.
//!
//! Pure: the same spec and identity give the same bytes. Only fields that the operator decides are here, none that the API
//! server would fill in, and none that is younger than Kubernetes 1.20 unless the user wrote it; so server-side apply of an
//! unchanged object changes nothing. How many pods there are, how far a roll has come and how many may be missing is not for
//! a spec alone to say: the objects are rendered as they are at rest, and [`Rendered::with_scale`],
//! [`Rendered::with_claim_size`] and [`Rendered::with_budget`] say otherwise.

use crema_crds::Validated;

mod config;
mod extras;
mod identity;
mod pod;
mod rendered;
mod services;
mod workload;

pub use self::{
    config::{ACCEPTED_KEY, CONFIG_FILE, read_accepted},
    identity::Identity,
    rendered::{Kind, Rendered},
};

/// Label: what a ConfigMap or service of the operator is for. Its values are the constants below.
pub const ROLE: &str = "crema.io/role";
/// [`ROLE`] of the process settings: one ConfigMap for each set of them.
pub const ROLE_SETTINGS: &str = "settings";
/// [`ROLE`] of the last accepted spec.
pub const ROLE_ACCEPTED: &str = "accepted-spec";
/// [`ROLE`] of the headless service.
pub const ROLE_NODES: &str = "nodes";
/// [`ROLE`] of the service for clients.
pub const ROLE_CLIENTS: &str = "clients";

/// Annotation of every object: the hash of what was applied.
pub const HASH: &str = "crema.io/applied";
/// Annotation of pods and their template: the revision that they were made from.
pub const REVISION: &str = "crema.io/revision";
/// Annotation of a pod: the zone of its machine. It is written once the machine is chosen, and reaches the node as a file
/// that it waits for a little.
pub const ZONE: &str = "crema.io/zone";
/// [`ZONE`] of a pod whose machine has none, or none that may be read: its node need not wait.
pub const NO_ZONE: &str = "-";

/// The key in the secret [`Identity::token_secret`] that opens `Admin`.
pub const TOKEN_KEY: &str = "token";

/// Every object, in the order in which they are made: what others refer to comes first.
///
/// The secret with the token is not among them: it holds a random text.
#[must_use]
pub fn desired(spec: &Validated, identity: &Identity) -> Vec<Rendered> {
    let mut all = vec![
        extras::service_account(identity),
        config::accepted(spec, identity),
        config::settings(spec, identity),
        services::headless(identity),
        services::clients(spec, identity),
        stateful_set(spec, identity),
    ];
    all.extend(spec.pod_disruption_budget.then(|| extras::disruption_budget(identity)));
    all.extend(spec.monitoring.as_ref().map(|monitoring| extras::service_monitor(monitoring, identity)));
    all
}

/// The StatefulSet, with all pods and at rest.
#[must_use]
pub fn stateful_set(spec: &Validated, identity: &Identity) -> Rendered {
    workload::stateful_set(spec, identity)
}

/// The name of the ConfigMap with the process settings of a spec. It is needed from before the StatefulSet has the template
/// that names it; once the StatefulSet has the revision of the spec, only the one that its template names is: an operator
/// that would write other settings for the same spec makes no ConfigMap for nobody.
#[must_use]
pub fn settings_name(spec: &Validated, identity: &Identity) -> String {
    config::settings(spec, identity).name
}

#[cfg(test)]
mod tests;
