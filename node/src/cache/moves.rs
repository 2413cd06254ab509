//! From the cluster map to the metrics of migrations: what began, what ended, and how long it took.
//!
//! Every node follows the map; only the meta leader counts, so that a sum over the nodes is right.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio_util::sync::CancellationToken;

use super::view::NodeView;
use crate::{
    cluster::map::{ClusterMap, Migration},
    metrics::NodeMetrics,
    multiraft::{
        govern::Govern as _,
        introspect::{Governing, Introspect as _},
    },
    types::MigrationId,
};

/// Far finer than the shortest migration, which takes several commits of the meta group.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is known of the migrations under way.
#[derive(Default)]
struct Moves {
    version: u64,
    under_way: BTreeMap<MigrationId, Move>,
}

struct Move {
    migration: Migration,
    /// The size of the group when its leader last reported.
    bytes: u64,
}

/// A migration that is over.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    migration: Migration,
    bytes: u64,
    took: Duration,
}

/// Follows the map until `stop`.
pub(super) async fn run(view: NodeView, metrics: NodeMetrics, stop: CancellationToken) {
    let mut moves = Moves::default();
    let mut interval = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let Some(map) = view.map().filter(|map| moves.is_news(map)) else { continue };
        let governing = view.governing();
        for ended in moves.look(&map, governing.as_deref(), wall_ms()) {
            let Ended { migration, bytes, took } = ended;
            let outcome = if migration.cancelled { "cancelled" } else { "done" };
            tracing::info!(id = %migration.id, group = %migration.group, reason = migration.reason.name(), outcome, ?took, "migration over");
            if governing.is_some() {
                let copied = if migration.incoming.is_some() && !migration.cancelled { bytes } else { 0 };
                metrics.migrated(migration.reason.name(), outcome, took, copied);
            }
        }
    }
}

impl Moves {
    /// While something is under way its size is followed, too.
    fn is_news(&self, map: &ClusterMap) -> bool {
        map.version != self.version || !self.under_way.is_empty()
    }

    /// Takes a map in; gives what has ended since the last one.
    fn look(&mut self, map: &ClusterMap, governing: Option<&Governing>, now_ms: u64) -> Vec<Ended> {
        self.version = map.version;
        let over: Vec<_> = self.under_way.extract_if(.., |id, _| !map.migrations.contains_key(id)).collect();
        for (id, migration) in &map.migrations {
            let size = governing.and_then(|governing| governing.health.groups.get(&migration.group));
            let entry = self.under_way.entry(*id).or_insert(Move { migration: *migration, bytes: 0 });
            entry.migration = *migration;
            entry.bytes = size.map_or(entry.bytes, |group| group.bytes);
        }
        let ended = |(_, Move { migration, bytes }): (MigrationId, Move)| Ended {
            migration,
            bytes,
            took: Duration::from_millis(now_ms.saturating_sub(migration.started_ms)),
        };
        over.into_iter().map(ended).collect()
    }
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::command::{self, Incoming, MetaCommand},
        cluster::map::Reason,
        door_fixture::govern::{healthy, map},
        types::{GroupId, NodeId},
    };

    #[test]
    fn a_migration_that_is_gone_is_over() {
        let mut map = map(4, 2, 3);
        let governing = healthy(&map);
        let mut moves = Moves::default();
        assert!(moves.is_news(&map));
        assert_eq!(moves.look(&map, Some(&governing), 1_000), []);
        assert!(!moves.is_news(&map), "an idle cluster costs nothing");
        let start = MetaCommand::StartMigration {
            group: GroupId(1),
            incoming: Incoming::New(NodeId(4)),
            outgoing: None,
            learner: false,
            reason: Reason::Repair,
        };
        command::apply(&mut map, 5_000, None, &start).expect("a sound migration");
        assert_eq!(moves.look(&map, Some(&governing), 5_100), []);
        let migration = map.migrations.pop_first().expect("it was begun").1;
        map.version += 1;
        let ended = Ended { migration, bytes: 1_000, took: Duration::from_secs(3) };
        assert_eq!(moves.look(&map, None, 8_000), [ended]);
        assert_eq!(moves.look(&map, None, 9_000), []);
    }
}
