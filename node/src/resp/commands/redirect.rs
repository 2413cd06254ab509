//! Cluster mode, before a command is planned: `CROSSSLOT`, `MOVED`, or nothing.

use super::{
    super::{
        cluster::{Whereabouts, elsewhere},
        session::Reads,
    },
    Args, Ctx, Reply, Session, Spec,
};
use crate::{partitioning::ShardMap, types::ShardId};

const CROSS_SLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";

/// The reply that keeps a command from being planned here, if there is one. A read after `READONLY` stays where there is a
/// replica, as in Redis.
pub(super) fn check(spec: &Spec, session: &Session, map: &ShardMap, args: &Args) -> Option<Reply> {
    let known = session.server.config.mode.whereabouts(map)?;
    let mut slots = keys(spec, args.len()).map(|place| map.slot_of(args.word(place)));
    let slot = slots.next()?;
    if slots.any(|other| other != slot) {
        return Some(Reply::error(CROSS_SLOT));
    }
    let shard = map.owner(slot);
    let reads_here = match session.reads {
        Reads::Local => spec.flags.contains(&"readonly") && known.has_replica(shard),
        Reads::Linearizable => false,
    };
    let address = if reads_here { None } else { elsewhere(known, shard) };
    address.map(|address| Reply::error_from(format!("MOVED {slot} {address}")))
}

/// The places of the keys among so many words.
fn keys(spec: &Spec, words: usize) -> impl Iterator<Item = usize> + use<> {
    let (first, last, step) = spec.keys.positions();
    let place = |number: i32| usize::try_from(number).unwrap_or(0);
    let end = if last < 0 { words.saturating_sub(place(-last - 1)) } else { place(last) + 1 };
    let range = if first == 0 { 0..0 } else { place(first)..end.min(words) };
    range.step_by(place(step).max(1))
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
