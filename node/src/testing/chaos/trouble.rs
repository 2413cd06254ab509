//! What may happen to a [`ChaosCluster`](super::ChaosCluster), by the numbers of its nodes.

use std::{collections::BTreeSet, time::Duration};

use super::{ChaosError, LONGEST, invalid, micros};
use crate::{
    testing::{
        net::{Looseness, Place},
        plan::{Incident, Wish},
    },
    types::{GroupId, ShardId},
};

/// Trouble, or a wish of an operator. Nodes have the numbers from 1 on; spare ones follow the first ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A node is cut off from all others.
    Isolate(u64),
    /// These nodes hear one another, the others hear one another, and nothing gets across.
    Split(Vec<u64>),
    /// Nothing gets from one node to another; the way back is open.
    OneWay {
        /// Who is not heard.
        from: u64,
        /// By whom.
        to: u64,
    },
    /// The stream between two nodes breaks, and may be opened again.
    Cut(u64, u64),
    /// All that passes between two nodes takes longer.
    Slow {
        /// Between this node
        a: u64,
        /// and this one.
        b: u64,
        /// By so much at most.
        by: Duration,
    },
    /// Raft's messages get lost, are doubled or come late, in so many cases of a thousand each.
    Unreliable {
        /// Never arrive.
        lost: u64,
        /// Arrive twice.
        doubled: u64,
        /// Arrive later than their followers.
        late: u64,
    },
    /// The network is whole, quick and reliable again.
    HealNetwork,
    /// A process dies with all that is not on its disk. Left out where a majority's memory would be gone.
    Crash(u64),
    /// A process starts where none lives: it goes on from its disk, or joins as a new life.
    Restart(u64),
    /// A process dies, and its disk with it; needs disks. Left out where a majority would be gone, or while another node is
    /// away.
    LoseDisk(u64),
    /// A disk takes nothing any more, under a running process; needs disks, and is left out like a lost one.
    FailDisk(u64),
    /// A process stands still for a while, and then goes on as if nothing had been.
    Pause(u64, Duration),
    /// A node's wall clock jumps by so many milliseconds. Only one node of a run may have such a clock: two of three
    /// would be the majority.
    ClockJump(u64, i64),
    /// Another node is to lead a shard.
    TransferLeader {
        /// The shard.
        shard: ShardId,
        /// Who is to lead it.
        to: u64,
    },
    /// A voter of a shard moves to another node.
    MoveReplica {
        /// The shard.
        shard: ShardId,
        /// Where to.
        to: u64,
    },
    /// Everything moves off a node.
    Drain(u64),
    /// A node that is being drained stays after all.
    Undrain(u64),
    /// A node that holds nothing any more leaves for good.
    Remove(u64),
}

impl Trouble {
    pub(super) fn needs_disks(&self) -> bool {
        matches!(self, Self::LoseDisk(_) | Self::FailDisk(_))
    }

    /// The same by places. `places` counts all nodes, spare ones included.
    pub(super) fn incident(&self, places: usize, shards: u32) -> Result<Incident, ChaosError> {
        let place = |node: u64| match node.checked_sub(1).and_then(|at| Place::try_from(at).ok()) {
            Some(place) if place < places => Ok(place),
            _ => Err(invalid("at", format!("node {node}; there are nodes 1 to {places}"))),
        };
        let two = |a: u64, b: u64| match (place(a)?, place(b)?) {
            (a, b) if a != b => Ok((a, b)),
            _ => Err(invalid("at", format!("node {a} and itself; it takes two"))),
        };
        let group = |shard: ShardId| match shard {
            _ if shard < shards => Ok(GroupId::of_shard(shard).0),
            _ => Err(invalid("at", format!("shard {shard}; there are shards 0 to {}", shards - 1))),
        };
        Ok(match *self {
            Self::Isolate(node) => split(places, &[place(node)?]),
            Self::Split(ref side) => {
                let side: Result<Vec<Place>, _> = side.iter().map(|node| place(*node)).collect();
                split(places, &side?)
            }
            Self::OneWay { from, to } => {
                let (from, to) = two(from, to)?;
                Incident::OneWay { from, to }
            }
            Self::Cut(a, b) => {
                let (a, b) = two(a, b)?;
                Incident::Cut(a, b)
            }
            Self::Slow { a, b, by } => {
                let (a, b) = two(a, b)?;
                Incident::Slow(a, b, micros(no_longer(by)?))
            }
            Self::Unreliable { lost, doubled, late } => {
                if let Some(more) = [lost, doubled, late].into_iter().find(|share| *share > 1_000) {
                    return Err(invalid("at", format!("{more} of a thousand messages")));
                }
                Incident::Loose(Looseness { lost, doubled, late })
            }
            Self::HealNetwork => Incident::HealNet,
            Self::Crash(node) => Incident::Crash(place(node)?),
            Self::Restart(node) => Incident::Restart(place(node)?),
            Self::LoseDisk(node) => Incident::Wipe(place(node)?),
            Self::FailDisk(node) => Incident::FailDisk(place(node)?),
            Self::Pause(node, by) => Incident::Pause(place(node)?, micros(no_longer(by)?)),
            Self::ClockJump(node, ms) => Incident::Jump(place(node)?, far(ms)?),
            Self::TransferLeader { shard, to } => Incident::Transfer { group: group(shard)?, to: place(to)? },
            Self::MoveReplica { shard, to } => {
                Incident::Wish(Wish::Move { group: group(shard)?, voter: 0, to: place(to)? })
            }
            Self::Drain(node) => Incident::Wish(Wish::Drain(place(node)?)),
            Self::Undrain(node) => Incident::Wish(Wish::Undrain(place(node)?)),
            Self::Remove(node) => Incident::Wish(Wish::Remove(place(node)?)),
        })
    }
}

fn split(places: usize, side: &[Place]) -> Incident {
    Incident::Split { side: (0..places).map(|place| side.contains(&place)).collect() }
}

fn no_longer(by: Duration) -> Result<Duration, ChaosError> {
    if by > LONGEST { Err(invalid("at", format!("{by:?}; {LONGEST:?} at most"))) } else { Ok(by) }
}

/// The first moment of virtual time is years after the epoch, so an hour back is well within.
fn far(ms: i64) -> Result<i64, ChaosError> {
    const HOUR_MS: u64 = 3_600_000;
    if ms.unsigned_abs() > HOUR_MS { Err(invalid("at", format!("{ms} ms; an hour at most"))) } else { Ok(ms) }
}

/// At most one node's clock may be bad.
pub(super) fn check_clocks<'a>(troubles: impl Iterator<Item = &'a Trouble>) -> Result<(), ChaosError> {
    let jumping = |trouble: &Trouble| match trouble {
        Trouble::ClockJump(node, _) => Some(*node),
        _ => None,
    };
    let bad: BTreeSet<u64> = troubles.filter_map(jumping).collect();
    if bad.len() > 1 {
        return Err(invalid("at", format!("the clocks of nodes {bad:?} jump; only one node's may")));
    }
    Ok(())
}
