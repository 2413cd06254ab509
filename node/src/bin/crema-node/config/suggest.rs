//! What may have been meant by a key that there is not.

use std::collections::BTreeSet;

use super::catalogue::Key;

/// Less alike than this, two names have nothing to do with each other.
const ALIKE: f64 = 0.8;

/// The same key in its right table, else the nearest one, else where all of them are told.
pub(super) fn suggest(path: &str, keys: &[Key]) -> String {
    let name = path.rsplit('.').next().unwrap_or(path);
    if let Some(key) = keys.iter().find(|key| key.name == name) {
        return format!("{name} belongs in [{}]", key.table);
    }
    let tables: BTreeSet<&str> = keys.iter().map(|key| key.table.as_str()).collect();
    let beside = tables.into_iter().filter(|table| parent(table) == parent(path));
    let by_table = beside.map(|table| (strsim::jaro_winkler(path, table), table.to_owned()));
    let by_name = keys.iter().map(|key| (strsim::jaro_winkler(name, &key.name), key.path()));
    let nearest = by_name.chain(by_table).filter(|(alike, _)| *alike >= ALIKE);
    match nearest.max_by(|(one, _), (other, _)| one.total_cmp(other)) {
        Some((_, meant)) => format!("is {meant} meant?"),
        None => "crema-node start --help lists all".to_owned(),
    }
}

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('.').map(|(parent, _)| parent)
}

#[test]
fn what_is_near_is_found() {
    let keys = super::catalogue::catalogue();
    for (path, say) in [
        ("linger", "linger belongs in [node]"),
        ("node.shards", "shards belongs in [cluster]"),
        ("storage.checkpoint_rate", "checkpoint_rate belongs in [storage.checkpoints]"),
        ("node.liner", "is node.linger meant?"),
        ("storage.data-dir", "is storage.data_dir meant?"),
        ("sotrage", "is storage meant?"),
        ("storage.chekpoints", "is storage.checkpoints meant?"),
        ("node.xyzzy", "crema-node start --help lists all"),
    ] {
        assert_eq!(suggest(path, &keys), say, "{path}");
    }
}
