//! The names that the operator uses itself, which a user's additions must leave alone.

/// The node's container.
pub const CONTAINER: &str = "crema";

/// The volume of the config file.
pub const CONFIG_VOLUME: &str = "config";
/// Where it is in the container.
pub const CONFIG_DIR: &str = "/etc/crema";
/// The volume in which the pod's zone appears.
pub const ZONE_VOLUME: &str = "zone";
/// Where it is in the container.
pub const ZONE_DIR: &str = "/etc/crema-zone";
/// The volume, or claim, of the data.
pub const DATA_VOLUME: &str = "data";
/// Where it is in the container.
pub const DATA_DIR: &str = "/var/lib/crema";

/// The port for other nodes, `crema.v1.Cache` and `crema.v1.Admin`: its name and number.
pub const PEER_PORT: (&str, u16) = ("peer", 7000);
/// The port for Redis clients.
pub const RESP_PORT: (&str, u16) = ("resp", 6379);
/// The port of metrics and probes.
pub const HTTP_PORT: (&str, u16) = ("http", 9090);
/// All ports of a node.
pub const PORTS: [(&str, u16); 3] = [PEER_PORT, RESP_PORT, HTTP_PORT];

/// What the names of the node's own variables begin with.
pub const ENV_PREFIX: &str = "CREMA_";
/// The variable that others are made of.
pub const POD_NAME_ENV: &str = "POD_NAME";

/// What labels and annotations of this operator begin with.
pub const KEY_PREFIX: &str = "crema.io/";

/// Labels that Kubernetes or the operator puts on objects.
pub const LABELS: [&str; 8] = [
    "app.kubernetes.io/component",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/name",
    "apps.kubernetes.io/pod-index",
    "controller-revision-hash",
    "pod-template-hash",
    "statefulset.kubernetes.io/pod-name",
];

/// Whether a label is not for users to set.
#[must_use]
pub fn is_label_of_ours(key: &str) -> bool {
    LABELS.contains(&key) || key.starts_with(KEY_PREFIX)
}
