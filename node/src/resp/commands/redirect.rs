//! Cluster mode, before a command is planned: `CROSSSLOT`, `MOVED`, or nothing.

use super::{
    super::{
        cluster::{Whereabouts, elsewhere},
        session::Reads,
    },
    Args, Ctx, Reply, Session, Spec, errors,
};
use crate::{partitioning::ShardMap, types::ShardId};

/// The reply that keeps a command from being planned here, if there is one. A read after `READONLY` stays where there is a
/// replica, as in Redis.
pub(super) fn check(spec: &Spec, session: &Session, map: &ShardMap, args: &Args) -> Option<Reply> {
    let known = session.server.config.mode.whereabouts(map)?;
    let mut slots = spec.keys.places(args.len()).map(|place| map.slot_of(args.word(place)));
    let slot = slots.next()?;
    if slots.any(|other| other != slot) {
        return Some(errors::cross_slot());
    }
    let shard = map.owner(slot);
    let reads_here = match session.reads {
        Reads::Local => spec.flags.contains(&"readonly") && known.has_replica(shard),
        Reads::Linearizable => false,
    };
    let address = if reads_here { None } else { elsewhere(known, shard) };
    address.map(|address| Reply::error_from(format!("MOVED {slot} {address}")))
}

impl Ctx<'_> {
    /// Who knows where shards are, in cluster mode.
    pub(super) fn whereabouts(&self) -> Option<&dyn Whereabouts> {
        self.session.server.config.mode.whereabouts(self.map)
    }

    /// `cluster` or `standalone`, as `HELLO` and `INFO` say it.
    pub(super) fn mode(&self) -> &'static str {
        if self.whereabouts().is_some() { "cluster" } else { "standalone" }
    }

    /// The shards that `DBSIZE`, `SCAN` and their like look at: all of them; in cluster mode those that this node is shown to
    /// lead, since clients ask every master and add up.
    pub(super) fn own_shards(&self) -> Vec<ShardId> {
        match self.whereabouts() {
            Some(known) => super::super::cluster::own_shards(known),
            None => (0..self.map.num_shards()).collect(),
        }
    }
}
