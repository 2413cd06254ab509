//! What a client needs to send each key to its leader.

use crema_api::v1::{KeyHash, NodeAddress, ShardLeader, TopologyRequest, TopologyResponse};

use crate::{
    multiraft::introspect::Introspect,
    partitioning::{SLOTS, ShardMap, SlotHash},
};

/// The answer to a request: the map unless the caller has it, and who leads as far as this node knows.
pub(super) fn describe(request: TopologyRequest, map: &ShardMap, node: &impl Introspect) -> TopologyResponse {
    let status = node.status();
    let this = NodeAddress { node: status.node, address: status.address };
    let others = status.peers.into_iter().map(|p| NodeAddress { node: p.node, address: p.address });
    let leaders = (0..map.num_shards()).filter_map(|shard| {
        let leader = node.leader(shard)?;
        Some(ShardLeader { shard, node: leader.0 })
    });
    let slot_shards = match request.known_version == map.version() {
        true => Vec::new(),
        false => (0..SLOTS).map(|slot| map.owner(slot)).collect(),
    };
    TopologyResponse {
        version: map.version(),
        key_hash: key_hash(map.hash()).into(),
        num_shards: map.num_shards(),
        slot_shards,
        nodes: std::iter::once(this).chain(others).collect(),
        leaders: leaders.collect(),
    }
}

fn key_hash(hash: SlotHash) -> KeyHash {
    match hash {
        SlotHash::Crc16 => KeyHash::Crc16,
        SlotHash::XxHash64 => KeyHash::Xxhash64,
    }
}
