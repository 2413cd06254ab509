//! What is in ConfigMaps: the process settings of the nodes, and the last accepted spec.
//!
//! Process settings are what a node reads once, at its start. Settings that all replicas agree on are not among them: they
//! live in the cluster map and change without a restart, so a change of them must not make another ConfigMap.

use std::{fmt::Write as _, time::Duration};

use crema_crds::{
    CremaClusterSpec, Validated, names,
    spec::{ReadLevel, RespMode},
    validated::{Raft, Storage},
};
use serde_json::json;

use super::{Identity, Kind, ROLE, ROLE_ACCEPTED, ROLE_SETTINGS, Rendered, rendered};

/// The name of the config file in its ConfigMap.
pub const CONFIG_FILE: &str = "crema.toml";

/// The key of the last accepted spec in its ConfigMap.
pub const ACCEPTED_KEY: &str = "spec.json";

/// After SIGTERM a node serves on for so long: proxies and clients take a while to learn that it leaves.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// After SIGTERM a node ends within this time.
pub(super) const SHUTDOWN: Duration = Duration::from_secs(60);

/// What `crema-node` does when nobody says: a table that says the same is left out.
const RAFT_DEFAULTS: Raft = Raft { tick: Duration::from_millis(50), election_ticks: 10, heartbeat_ticks: 2 };

/// The process settings, in a ConfigMap that is never changed: other settings are in another one.
pub(super) fn settings(spec: &Validated, identity: &Identity) -> Rendered {
    let text = toml(spec, identity);
    let name = format!("{}-config-{}", identity.name, &rendered::hash(&text)[..10]);
    let body = json!({ "immutable": true, "data": { CONFIG_FILE: text } });
    Rendered::new(Kind::ConfigMap, name, identity, &json!({ "labels": { ROLE: ROLE_SETTINGS } }), body)
}

/// The last accepted spec.
pub(super) fn accepted(spec: &Validated, identity: &Identity) -> Rendered {
    // A map whose keys are texts is the one thing that JSON asks for.
    let text = serde_json::to_string(&spec.written).unwrap_or_default();
    let body = json!({ "data": { ACCEPTED_KEY: text } });
    Rendered::new(Kind::ConfigMap, identity.accepted(), identity, &json!({ "labels": { ROLE: ROLE_ACCEPTED } }), body)
}

/// Reads what [`ACCEPTED_KEY`] holds.
///
/// # Errors
/// When it is no spec: somebody else has written it, or a much newer operator.
pub fn read_accepted(text: &str) -> serde_json::Result<CremaClusterSpec> {
    serde_json::from_str(text)
}

/// The config file of `crema-node start`.
fn toml(spec: &Validated, identity: &Identity) -> String {
    let (_, peer) = names::PEER_PORT;
    let mut node = format!("linger = \"{}\"\nshutdown_timeout = \"{}\"\n", time(LINGER), time(SHUTDOWN));
    if let Some(bytes) = spec.cache.max_memory_bytes {
        node += &format!("max_memory = {bytes}\n");
    }
    let tables = [
        ("node", node),
        ("cluster", format!("discovery = \"dns:{}:{peer}\"\nshards = {}\n", identity.domain(), spec.shards)),
        ("doors", doors(spec.read_level, spec.resp_mode)),
        ("raft", raft(spec.raft)),
        ("storage", storage(&spec.storage)),
        ("log", format!("log = \"{}\"\nlog_format = \"json\"\n", spec.log_level)),
    ];
    let filled = tables.into_iter().filter(|(_, lines)| !lines.is_empty());
    filled.map(|(name, lines)| format!("[{name}]\n{lines}")).collect::<Vec<_>>().join("\n")
}

/// Clients are sent to the host that other nodes reach a node by: the pod's name in the headless service.
fn doors(reads: ReadLevel, mode: RespMode) -> String {
    let door = |name: &str, (_, port): (&str, u16)| format!("{name} = \"0.0.0.0:{port}\"\n");
    let ports = [("peer_addr", names::PEER_PORT), ("resp_addr", names::RESP_PORT), ("http_addr", names::HTTP_PORT)];
    let mut lines: String = ports.into_iter().map(|(name, port)| door(name, port)).collect();
    match reads {
        ReadLevel::Linearizable => {}
        ReadLevel::Local => lines += "read_level = \"local\"\n",
    }
    match mode {
        RespMode::Proxy => {}
        RespMode::Cluster => lines += "resp_mode = \"cluster\"\n",
    }
    lines
}

/// Only what differs from the node's own defaults.
fn raft(wanted: Raft) -> String {
    let Raft { tick, election_ticks, heartbeat_ticks } = wanted;
    let mut lines = String::new();
    // Writing into a String can't fail.
    if tick != RAFT_DEFAULTS.tick {
        let _ = writeln!(lines, "tick = \"{}\"", time(tick));
    }
    if election_ticks != RAFT_DEFAULTS.election_ticks {
        let _ = writeln!(lines, "election_ticks = {election_ticks}");
    }
    if heartbeat_ticks != RAFT_DEFAULTS.heartbeat_ticks {
        let _ = writeln!(lines, "heartbeat_ticks = {heartbeat_ticks}");
    }
    lines
}

fn storage(storage: &Storage) -> String {
    match storage {
        Storage::Memory => String::new(),
        // A folder in the volume: its root may hold what the file system put there.
        Storage::RocksDb(_) => format!("storage = \"rocksdb\"\ndata_dir = \"{}/node\"\n", names::DATA_DIR),
    }
}

/// As `crema-node` reads it.
fn time(time: Duration) -> String {
    let ms = time.as_millis();
    if ms.is_multiple_of(1_000) { format!("{}s", ms / 1_000) } else { format!("{ms}ms") }
}
