//! The read halves of the shards that have a replica here. Workers put them up and take them down; reads look them up
//! without a lock.

use arc_swap::{ArcSwapOption, Guard};
use std::sync::Arc;

use super::store::{Reader, Store, StoreConfig, entry_store};
use crate::{
    multiraft::runtime::Stores,
    types::{GroupId, ShardId},
};

/// One place for each shard of the cluster.
pub(super) struct Readers {
    config: StoreConfig,
    places: Box<[ArcSwapOption<Reader>]>,
}

impl Readers {
    pub(super) fn new(num_shards: u32, config: StoreConfig) -> Self {
        Self { config, places: (0..num_shards).map(|_| ArcSwapOption::empty()).collect() }
    }

    /// The reader of a shard, if a replica is here.
    pub(super) fn of(&self, shard: ShardId) -> Option<Guard<Option<Arc<Reader>>>> {
        Some(self.places.get(shard as usize)?.load())
    }

    fn put(&self, group: GroupId, reader: Option<Arc<Reader>>) {
        if let Some(place) = group.shard().and_then(|shard| self.places.get(shard as usize)) {
            place.store(reader);
        }
    }
}

impl Stores for Readers {
    type Store = Store;

    fn make(&self, group: GroupId) -> Store {
        let (store, reader) = entry_store(self.config);
        self.put(group, Some(Arc::new(reader)));
        store
    }

    fn discard(&self, group: GroupId) {
        self.put(group, None);
    }
}
