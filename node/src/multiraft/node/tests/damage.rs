//! A replica whose memory is damaged among few.

use super::*;
use crate::{machine::store::Entry, types::LogIndex};

const INTERVAL: u64 = 8;

/// Two nodes with one key, and the one of them that does not lead the shard.
fn two() -> (Cluster, NodeId) {
    let limits = Limits { hash_interval: INTERVAL, ..Limits::default() };
    let mut cluster = Cluster::new(2, limits, SharedSettings::default());
    cluster.run(1, vec![put("k", "0")]).expect("write");
    cluster.run_ms(500);
    let follower = NodeId(3 - cluster.leader().0);
    (cluster, follower)
}

impl Cluster {
    /// One bit flips; the next write to the key makes the hash differ.
    pub(super) fn damage(&mut self, node: NodeId) {
        let group = self.nodes.get_mut(&node).and_then(|node| node.groups.get_mut(&SHARD)).expect("a replica");
        let machine = group.machine_mut().expect("a shard's machine");
        let entry = machine.store().get(b"k").expect("the key");
        let mut value = entry.value().to_vec();
        value[0] ^= 1;
        let damaged = Entry::new(entry.key(), &value, entry.version(), entry.expires_at());
        machine.store_mut().insert(damaged.into());
    }
}

#[test]
fn two_that_differ_both_stop_and_say_so() {
    let (mut cluster, follower) = two();
    cluster.damage(follower);
    for i in 0..2 * INTERVAL {
        cluster.submit(1, vec![put("k", &i.to_string())]);
    }
    cluster.run_ms(500);
    for node in 1..=2 {
        let health = cluster.status(node).health;
        assert!(matches!(&health, Health::Stopped { reason } if reason.contains(NO_MAJORITY)), "{node}: {health:?}");
        let read = cluster.run(node, vec![get("k")]);
        assert!(matches!(read, Err(Error::Unavailable { .. })), "{node}: {read:?}");
    }
}

#[test]
fn who_knows_that_it_is_corrupt_does_not_stop_the_other() {
    let (mut cluster, follower) = two();
    cluster.damage(follower);
    let now = cluster.now;
    let node = cluster.nodes.get_mut(&follower).expect("node");
    // As after a capture that was not what its hash said.
    node.with_group(now, SHARD, |group, env| group.note_corrupt(LogIndex(1), env)).expect("a replica");
    for i in 0..2 * INTERVAL {
        cluster.run(1, vec![put("k", &i.to_string())]).expect("write");
    }
    cluster.run_ms(500);
    let last = (2 * INTERVAL - 1).to_string();
    for node in 1..=2 {
        let read = cluster.run(node, vec![get("k")]).expect("read");
        assert_eq!(value(&read[0]), Some(last.clone()), "through node {node}");
    }
    let sound = cluster.leader();
    assert_ne!(sound, follower);
    assert_eq!(cluster.status(sound.0).health, Health::Serving);
    assert!(matches!(cluster.status(follower.0).health, Health::Corrupt { .. }));
    assert_ne!(cluster.status(1).state_hash, cluster.status(2).state_hash, "it was damaged indeed");
}
