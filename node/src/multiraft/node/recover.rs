//! A node that goes on from its disk after a restart, in the same life (PROTOCOL 17, 19).
//!
//! Three things say what is here: the disk, the tombstones on it, and the newest map that it had, which may be older than
//! the disk's replicas. A replica with an id that the map has not given out yet is newer than the map, and stays; one
//! that the map has placed elsewhere since goes. One that is placed here, and was here, and is not on the disk any
//! more has lost what it promised.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    MakeStore, NodeConfig,
    checkpoints::Checkpoints,
    conf::{conf_to_wire, peer_of},
    group::{Group, State, founders},
    membership::{create, placed},
    meta::Meta,
    out::Out,
};
use crate::{
    checkpoint,
    cluster::map::ClusterMap,
    consensus::{DiskLog, FIRST_INDEX, FIRST_TERM, Origin, Recovered, SnapshotPoint},
    machine::{Machine, store::EntryStore},
    types::{GroupId, LogIndex, ReplicaId},
};

/// What a disk has of a node's life.
pub struct Restart<S> {
    /// The map with which this life began to take part: the first replicas of its groups begin with it.
    pub birth: Arc<ClusterMap>,
    /// The replicas, by group.
    pub groups: BTreeMap<GroupId, RestartedGroup<S>>,
    /// The highest replica that was ever here, by group: those on the disk and those with a tombstone.
    pub held: BTreeMap<GroupId, ReplicaId>,
}

impl<S> Restart<S> {
    /// Nothing yet: this life begins with the map.
    #[must_use]
    pub fn fresh(map: Arc<ClusterMap>) -> Self {
        Self { birth: map, groups: BTreeMap::new(), held: BTreeMap::new() }
    }
}

/// One replica as a disk has it.
pub struct RestartedGroup<S> {
    /// Its id.
    pub replica: ReplicaId,
    /// The generation of its group that it belongs to; 0 when that can't be read.
    pub generation: u64,
    /// What is left of it.
    pub found: Found<S>,
}

/// The state in a checkpoint.
pub struct Restored<S> {
    /// What it says beside the entries.
    pub head: checkpoint::Head,
    /// The machine restored from the entries; none for the meta group.
    pub machine: Option<Box<Machine<S>>>,
}

/// What is left of a replica.
pub enum Found<S> {
    /// A log, and the newest whole checkpoint from which it goes on without a gap, if there is one.
    Sound {
        /// The log.
        log: DiskLog,
        /// That checkpoint.
        checkpoint: Option<Box<Restored<S>>>,
    },
    /// It can't be read as it was written, and why.
    Damaged(String),
}

/// What a group begins with.
pub(super) struct Start<S> {
    pub(super) state: State<S>,
    pub(super) origin: Origin,
    pub(super) conf_version: u64,
    pub(super) peers: Vec<checkpoint::Peer>,
    pub(super) checkpoints: Checkpoints,
    /// Why it takes no part.
    pub(super) unfit: Option<String>,
}

/// A replica at the beginning of its life.
pub(super) fn begin<S: EntryStore>(map: &Arc<ClusterMap>, id: GroupId, replica: ReplicaId, store: S) -> Start<S> {
    let Some(founders) = founders(map, id, replica) else { return empty(map, id, store, None) };
    let ids = |learner| founders.iter().filter(move |at| at.learner == learner).map(|at| at.replica);
    Start {
        state: first_state(map, id, store),
        origin: Origin::First { voters: ids(false).collect(), learners: ids(true).collect() },
        conf_version: 0,
        peers: founders.iter().filter_map(|at| peer_of(map, at)).collect(),
        checkpoints: Checkpoints::new(FIRST_INDEX, FIRST_INDEX),
        unfit: None,
    }
}

/// A replica that waits for its first snapshot, or takes no part at all.
pub(super) fn empty<S: EntryStore>(map: &Arc<ClusterMap>, id: GroupId, store: S, unfit: Option<String>) -> Start<S> {
    Start {
        state: blank(map, id, store),
        origin: Origin::Empty,
        conf_version: 0,
        peers: Vec::new(),
        checkpoints: Checkpoints::default(),
        unfit,
    }
}

fn blank<S: EntryStore>(map: &Arc<ClusterMap>, id: GroupId, store: S) -> State<S> {
    match id.shard() {
        Some(_) => {
            let generation = map.groups.get(&id).map_or(1, |set| set.generation);
            State::Shard(Box::new(Machine::of_generation(store, generation)))
        }
        None => State::Meta(Box::new(Meta::new(map.clone()))),
    }
}

/// The state at [`FIRST_INDEX`].
fn first_state<S: EntryStore>(map: &Arc<ClusterMap>, id: GroupId, store: S) -> State<S> {
    let mut state = blank(map, id, store);
    (1..=FIRST_INDEX.0).for_each(|index| state.apply_empty(LogIndex(index)));
    state
}

/// The maps by which replicas go on.
#[derive(Clone, Copy)]
pub(super) struct Maps<'a> {
    /// With which this life began.
    pub(super) birth: &'a Arc<ClusterMap>,
    /// The newest.
    pub(super) now: &'a Arc<ClusterMap>,
}

/// A replica as the disk has it. What does not fit together takes no part any more.
pub(super) fn resume<S: EntryStore>(
    config: &NodeConfig,
    maps: Maps<'_>,
    id: GroupId,
    on_disk: RestartedGroup<S>,
    mut store: impl FnMut() -> S,
) -> Start<S> {
    let RestartedGroup { replica, generation: _, found } = on_disk;
    let birth = maps.birth;
    let resumed = match found {
        Found::Sound { log, checkpoint: Some(state) } => from_checkpoint(birth, id, log, *state),
        Found::Sound { log, checkpoint: None } => from_beginning(maps, id, replica, log, store()),
        Found::Damaged(reason) => Err(reason),
    };
    resumed.unwrap_or_else(|reason| {
        tracing::error!(group = %id, node = %config.node, reason, "a replica on the disk is damaged; it takes no part");
        empty(birth, id, store(), Some(format!("its data on the disk is damaged: {reason}")))
    })
}

fn from_checkpoint<S: EntryStore>(
    birth: &Arc<ClusterMap>,
    id: GroupId,
    log: DiskLog,
    state: Restored<S>,
) -> Result<Start<S>, String> {
    let Restored { head, machine } = state;
    if (head.cluster, head.group) != (birth.uid, id) {
        return Err(format!("its checkpoint is of {} of cluster {}", head.group, head.cluster));
    }
    let point = SnapshotPoint { index: head.index().0, term: head.term.0 };
    let state = match (machine, head.map, id.shard()) {
        (Some(machine), None, Some(_)) => State::Shard(machine),
        (None, Some(map), None) => {
            let map = ClusterMap::try_from(map).map_err(|error| error.to_string())?;
            let mut meta = Meta::new(birth.clone());
            meta.restore(LogIndex(point.index), head.machine.log_time, map);
            State::Meta(Box::new(meta))
        }
        (_, _, shard) => {
            return Err(format!("its checkpoint is not one of {}", shard.map_or("the meta group", |_| "a shard")));
        }
    };
    let base = LogIndex(log.base.index);
    let recovered = Recovered::new(log, point, conf_to_wire(&head.conf)).map_err(|why| why.to_string())?;
    Ok(Start {
        state,
        origin: Origin::Recovered(recovered),
        conf_version: head.conf_version,
        peers: head.peers,
        checkpoints: Checkpoints::new(base.min(head.machine.applied), head.machine.applied),
        unfit: None,
    })
}

/// No checkpoint yet: the log goes back to the group's beginning, or nothing has come yet.
fn from_beginning<S: EntryStore>(
    maps: Maps<'_>,
    id: GroupId,
    replica: ReplicaId,
    log: DiskLog,
    store: S,
) -> Result<Start<S>, String> {
    let first = SnapshotPoint { index: FIRST_INDEX.0, term: FIRST_TERM.0 };
    // A reset names its founders for good; of the first generation only the first map does.
    let founding = [maps.now, maps.birth].into_iter().find(|map| founders(map, id, replica).is_some());
    let (start, point) = match (log.base, founding) {
        (base, Some(map)) if base == first => (begin(map, id, replica, store), first),
        (base, _) if base == SnapshotPoint::default() => (empty(maps.birth, id, store, None), base),
        (base, _) => return Err(format!("its log begins behind entry {}, and it has no checkpoint", base.index)),
    };
    let conf = match &start.origin {
        Origin::First { voters, learners } => {
            checkpoint::ConfState { voters: voters.clone(), learners: learners.clone(), ..Default::default() }
        }
        Origin::Empty | Origin::Recovered(_) => checkpoint::ConfState::default(),
    };
    let recovered = Recovered::new(log, point, conf_to_wire(&conf)).map_err(|why| why.to_string())?;
    Ok(Start { origin: Origin::Recovered(recovered), ..start })
}

/// The replicas of a node at its start.
pub(super) struct Replicas<S> {
    pub(super) groups: BTreeMap<GroupId, Group<S>>,
    pub(super) held: BTreeMap<GroupId, ReplicaId>,
    /// Those of a generation that the map does not know yet: only a newer one says whom they began with.
    pub(super) early: BTreeMap<GroupId, RestartedGroup<S>>,
}

/// Brings the disk, the tombstones and the map together, for the lanes of this worker.
pub(super) fn replicas<S: EntryStore>(
    config: &NodeConfig,
    map: &Arc<ClusterMap>,
    restart: Restart<S>,
    make_store: &mut MakeStore<S>,
    out: &mut Out,
) -> Replicas<S> {
    let Restart { birth, groups: mut found, mut held } = restart;
    let maps = Maps { birth: &birth, now: map };
    let (mut groups, mut early) = (BTreeMap::new(), BTreeMap::new());
    for id in map.groups.keys().copied().filter(|id| config.lanes.owns(*id)) {
        let at = placed(config, map, id);
        let placed = at.map(|at| at.replica);
        if let Some(on_disk) = found.remove(&id) {
            let replica = on_disk.replica;
            held.entry(id).and_modify(|held| *held = replica.max(*held)).or_insert(replica);
            if on_disk.generation > map.groups[&id].generation {
                early.insert(id, on_disk);
                continue;
            }
            // One that the map has not given out yet is newer than the map.
            if placed == Some(replica) || replica >= map.next_replica {
                let start = resume(config, maps, id, on_disk, || make_store(id));
                groups.insert(id, Group::new(config, map, id, replica, start));
                continue;
            }
            tracing::info!(group = %id, %replica, "a replica on the disk has left this node meanwhile");
            out.writes.destroy(id, replica);
            // Its state was read, and must not be read from.
            out.destroyed(id);
        }
        let Some(at) = at else { continue };
        let group = match held.get(&id) {
            Some(held) if at.replica < *held => continue,
            Some(held) if at.replica == *held => {
                let lost = "it was here, and its data is gone".to_owned();
                Group::new(config, map, id, at.replica, empty(map, id, make_store(id), Some(lost)))
            }
            Some(_) | None => create(config, map, id, at, make_store),
        };
        held.insert(id, at.replica);
        groups.insert(id, group);
    }
    Replicas { groups, held, early }
}

impl<S: EntryStore> Group<S> {
    /// The log time of the state is the least that its next entry may have.
    pub(super) fn remember_stamp(&mut self) {
        let log_time = match &self.state {
            State::Shard(machine) => machine.log_time(),
            State::Meta(meta) => meta.log_time,
        };
        self.last_stamp = self.last_stamp.max(log_time);
    }
}
