//! What the tier above the map holds is what the map holds: a stale value there would be served for good (PROTOCOL 7).

use bytes::Bytes;

use super::Verdict;
use crate::{
    machine::{model::ModelStore, store::EntryStore},
    testing::net::Place,
    types::ShardId,
};

/// Checks one key, after readers' traces have taken effect.
///
/// # Errors
/// The tier has another entry than the map.
pub fn check(place: Place, shard: ShardId, key: &Bytes, store: &ModelStore) -> Verdict {
    let Some(held) = store.tier_get(key) else { return Ok(()) };
    let map = store.get(key);
    if map.as_ref() == Some(&held) {
        return Ok(());
    }
    let reason = format!("shard {shard} at place {place}: the tier has {held:?} and the map has {map:?}");
    Err(("the tier follows the map", reason))
}
