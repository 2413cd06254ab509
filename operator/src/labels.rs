//! The labels and annotations by which objects are found and told apart. Used by `objects`, which writes them, and by all
//! that reads objects.

/// Label: the cluster that an object belongs to.
pub const CLUSTER: &str = "app.kubernetes.io/instance";
/// Selects everything of every cluster. Volume claims, whose labels are the same for life, are among it.
pub const MANAGED_SELECTOR: &str = "app.kubernetes.io/name=crema,app.kubernetes.io/component=cache";

/// Label: what a ConfigMap or service of the operator is for. Its values are the constants below.
pub const ROLE: &str = "crema.io/role";
/// [`ROLE`] of the process settings: one ConfigMap for each set of them.
pub const ROLE_SETTINGS: &str = "settings";
/// [`ROLE`] of the last accepted spec.
pub const ROLE_ACCEPTED: &str = "accepted-spec";
/// [`ROLE`] of the zones of machines.
pub const ROLE_ZONES: &str = "zones";
/// [`ROLE`] of the headless service.
pub const ROLE_NODES: &str = "nodes";
/// [`ROLE`] of the service for clients.
pub const ROLE_CLIENTS: &str = "clients";

/// Annotation of every object: the hash of what was applied.
pub const HASH: &str = "crema.io/applied";
/// Annotation of pods and their template: the revision that they were made from.
pub const REVISION: &str = "crema.io/revision";
