//! What a migration needs next (pure): of the group's own leader, and of the meta group's.
//!
//! [`wanted_step`] is asked by each group's leader, with its copy of the map and the ConfState it has applied;
//! [`next_step`] by the meta leader, with what the groups' leaders have reported. Both look at what is, never at what
//! they once proposed: asked again after any loss or change of leader they give the same answer, and a copy of the map
//! that is behind gives none that could do harm (PROTOCOL 12, 13).

use crate::{
    checkpoint::{ConfState, Peer},
    cluster::command::{MetaCommand, following},
    cluster::map::{ClusterMap, Left, Migration, Phase, ReplicaAt, ReplicaSet},
    consensus::ConfStep,
    placement::{GroupHealth, Health},
    types::{GroupId, NodeId, ReplicaId},
};

/// A learner has caught up when it is no further behind the leader's last entry: it keeps pace from there.
pub const CAUGHT_UP_ENTRIES: u64 = 256;
/// A node that has been silent for so long is not waited for: what it was to get is rolled back, and what it is to
/// destroy it destroys when it comes back and sees the map.
pub const SILENT_MS: u64 = 10_000;

/// What the leader of a group must do now for the map to come true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing; perhaps the map has to move first.
    Nothing,
    /// Propose this change, with where the replicas live that it adds.
    Propose(ConfStep, Vec<Peer>),
    /// Hand leadership to a level voter that stays: one of `ConfState::voters`, and not this one.
    TransferAway,
}

/// A configuration that a leader has applied, and its version.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    /// Who votes and who follows.
    pub conf: &'a ConfState,
    /// How often it has changed.
    pub version: u64,
}

/// What the leader `own` of a group must do, given the configuration that it has applied.
#[must_use]
pub fn wanted_step(map: &ClusterMap, group: GroupId, applied: Applied<'_>, own: ReplicaId) -> Wanted {
    let Some(set) = map.groups.get(&group) else { return Wanted::Nothing };
    let (migration, conf) = (map.migration_of(group), applied.conf);
    if is_joint(conf) {
        return wanted_when_joint(migration, conf, own);
    }
    match migration.map_or(Wanted::Nothing, |migration| wanted_by(map, set, migration, applied, own)) {
        Wanted::Nothing => stray_learner(map, set, conf),
        wanted @ (Wanted::Propose(..) | Wanted::TransferAway) => wanted,
    }
}

fn wanted_when_joint(migration: Option<&Migration>, conf: &ConfState, own: ReplicaId) -> Wanted {
    // Leaving would remove it, and a removed leader does not step down by itself.
    if !conf.voters.contains(&own) {
        return Wanted::TransferAway;
    }
    match migration.map(|migration| migration.phase) {
        None | Some(Phase::LeaveJoint | Phase::Cleanup) => Wanted::Propose(ConfStep::LeaveJoint, Vec::new()),
        Some(Phase::AddLearner | Phase::CatchUp | Phase::JointSwap) => Wanted::Nothing,
    }
}

fn wanted_by(
    map: &ClusterMap,
    set: &ReplicaSet,
    migration: &Migration,
    applied: Applied<'_>,
    own: ReplicaId,
) -> Wanted {
    let Applied { conf, version } = applied;
    let incoming = migration.incoming.and_then(|replica| set.get(replica));
    if migration.cancelled {
        return wanted_back(set, migration, applied, own);
    }
    match (migration.phase, incoming) {
        (Phase::AddLearner, Some(at)) if !has(conf, at.replica) && !map.settings.migrations_paused => {
            Wanted::Propose(ConfStep::AddLearner(at.replica), vec![peer(map, at)])
        }
        // Of a newer configuration the map has to hear first: perhaps it was made to keep this swap from beginning.
        (Phase::JointSwap, _) if version != set.conf_version => Wanted::Nothing,
        (Phase::JointSwap, incoming) => wanted_swap(map, migration, incoming, conf, own),
        (Phase::AddLearner | Phase::CatchUp | Phase::LeaveJoint | Phase::Cleanup, _) => Wanted::Nothing,
    }
}

/// The learner goes. While the swap may still begin, by a leader with an older map, another version of the configuration
/// keeps it from that; what there is to do after that one follows from what it shows.
fn wanted_back(set: &ReplicaSet, migration: &Migration, applied: Applied<'_>, own: ReplicaId) -> Wanted {
    let Applied { conf, version } = applied;
    let may_swap = migration.phase == Phase::JointSwap;
    if may_swap && version != set.conf_version {
        return Wanted::Nothing;
    }
    let learner = migration.incoming.filter(|replica| !migration.promoted && conf.learners.contains(replica));
    match learner {
        Some(replica) => Wanted::Propose(ConfStep::RemoveLearner(replica), Vec::new()),
        None if may_swap => Wanted::Propose(ConfStep::Renew(own), Vec::new()),
        None => Wanted::Nothing,
    }
}

/// Only what the ConfState still lacks: a replica that comes must be a learner by now, one that goes must be there.
fn wanted_swap(
    map: &ClusterMap,
    migration: &Migration,
    incoming: Option<&ReplicaAt>,
    conf: &ConfState,
    own: ReplicaId,
) -> Wanted {
    if let Some(replica) = migration.outgoing.filter(|replica| conf.learners.contains(replica)) {
        return Wanted::Propose(ConfStep::RemoveLearner(replica), Vec::new());
    }
    let add = incoming.filter(|at| !migration.learner && conf.learners.contains(&at.replica));
    let remove = migration.outgoing.filter(|replica| conf.voters.contains(replica));
    if add.is_none() && remove.is_none() {
        return Wanted::Nothing;
    }
    // Alone it can't: there is nobody to lead before the joint configuration.
    if remove == Some(own) && conf.voters.len() > 1 {
        return Wanted::TransferAway;
    }
    let step = ConfStep::EnterJoint { add: add.map(|at| at.replica), remove };
    Wanted::Propose(step, add.map(|at| peer(map, at)).into_iter().collect())
}

/// A learner that this map has given out and dropped: a leader whose copy of the map was behind added it after its
/// migration was rolled back. An id beyond this map is somebody's newer migration.
fn stray_learner(map: &ClusterMap, set: &ReplicaSet, conf: &ConfState) -> Wanted {
    let stray = conf.learners.iter().find(|replica| **replica < map.next_replica && set.get(**replica).is_none());
    stray.map_or(Wanted::Nothing, |replica| Wanted::Propose(ConfStep::RemoveLearner(*replica), Vec::new()))
}

fn peer(map: &ClusterMap, at: &ReplicaAt) -> Peer {
    let ReplicaAt { replica, node, incarnation, learner: _ } = *at;
    let address = map.members.get(&node).map(|member| member.address.clone()).unwrap_or_default();
    Peer { replica, node, incarnation, address }
}

fn is_joint(conf: &ConfState) -> bool {
    !conf.voters_outgoing.is_empty()
}

fn has(conf: &ConfState, replica: ReplicaId) -> bool {
    let ConfState { voters, learners, voters_outgoing, learners_next, auto_leave: _ } = conf;
    [voters, learners, voters_outgoing, learners_next].iter().any(|ids| ids.contains(&replica))
}

/// What the meta leader commits next for a migration; `None` while its phase is not done.
#[must_use]
pub fn next_step(map: &ClusterMap, migration: &Migration, health: &Health) -> Option<MetaCommand> {
    if migration.phase == Phase::Cleanup {
        return is_cleaned_up(map, migration.left, health).then(|| advance(map, migration, 0));
    }
    if !migration.cancelled && migration.phase < Phase::JointSwap && !can_arrive(map, migration, health) {
        return Some(MetaCommand::CancelMigration(migration.id));
    }
    let set = map.groups.get(&migration.group)?;
    // Of an earlier configuration than the last step was based on: what it lacks now it may have had to get first.
    let group = health.groups.get(&migration.group).filter(|group| group.conf_version >= set.conf_version)?;
    if migration.phase == Phase::JointSwap {
        return next_of_swap(map, set, migration, group, health);
    }
    is_done(set, migration, group).then(|| advance(map, migration, group.conf_version))
}

/// A swap begins from the very version of the configuration that the map names, or never; so it can be called off.
fn next_of_swap(
    map: &ClusterMap,
    set: &ReplicaSet,
    migration: &Migration,
    group: &GroupHealth,
    health: &Health,
) -> Option<MetaCommand> {
    let to = |to| MetaCommand::AdvanceMigration {
        migration: migration.id,
        from: Phase::JointSwap,
        to,
        conf_version: group.conf_version,
    };
    let is_new = group.conf_version > set.conf_version;
    if is_done(set, migration, group) {
        return Some(to(if migration.cancelled { Some(Phase::LeaveJoint) } else { following(map, migration) }));
    }
    if migration.cancelled {
        return is_new.then(|| to(None));
    }
    if is_new {
        return Some(to(Some(Phase::JointSwap)));
    }
    let stuck = following(map, migration) == Some(Phase::LeaveJoint) && !could_decide(map, set, migration, health);
    stuck.then_some(MetaCommand::CancelMigration(migration.id))
}

/// Whether a majority of the voters that a swap makes is there, with a state among them that is good, and who comes is.
fn could_decide(map: &ClusterMap, set: &ReplicaSet, migration: &Migration, health: &Health) -> bool {
    let comes = |at: &&ReplicaAt| Some(at.replica) == migration.incoming && !migration.learner;
    let stays = |at: &&ReplicaAt| !at.learner && Some(at.replica) != migration.outgoing;
    let voters: Vec<_> = set.replicas.iter().filter(|at| comes(at) || stays(at)).collect();
    let is_there =
        |at: &&&ReplicaAt| map.is_alive(at) && !health.is_stopped(at.replica) && !is_silent(health, at.node);
    let there: Vec<_> = voters.iter().filter(is_there).collect();
    let is_sound = |replica| !health.unfit.contains_key(&replica);
    let sound = there.iter().any(|at| is_sound(at.replica)) && migration.incoming.is_none_or(is_sound);
    sound && there.len() * 2 > voters.len()
}

fn advance(map: &ClusterMap, migration: &Migration, conf_version: u64) -> MetaCommand {
    MetaCommand::AdvanceMigration {
        migration: migration.id,
        from: migration.phase,
        to: following(map, migration),
        conf_version,
    }
}

/// Whether the replica that comes has a place to come to.
fn can_arrive(map: &ClusterMap, migration: &Migration, health: &Health) -> bool {
    let at = migration.incoming.and_then(|replica| map.groups.get(&migration.group)?.get(replica));
    at.is_none_or(|at| map.is_alive(at) && !is_silent(health, at.node))
}

/// Nobody who was never heard of is silent: a new meta leader has to listen first.
fn is_silent(health: &Health, node: NodeId) -> bool {
    health.nodes.get(&node).is_some_and(|node| node.silent_ms > SILENT_MS)
}

fn is_cleaned_up(map: &ClusterMap, left: Option<Left>, health: &Health) -> bool {
    let Some(Left { node, incarnation, version }) = left else { return true };
    map.incarnation_of(node) != Some(incarnation)
        || is_silent(health, node)
        || health.nodes.get(&node).is_some_and(|node| node.map_version >= version)
}

/// Whether the ConfState that the group's leader has applied shows the present phase done.
fn is_done(set: &ReplicaSet, migration: &Migration, group: &GroupHealth) -> bool {
    let conf = &group.conf;
    if migration.cancelled && migration.phase < Phase::JointSwap {
        return migration.incoming.is_none_or(|replica| !has(conf, replica));
    }
    match migration.phase {
        Phase::AddLearner => migration.incoming.is_some_and(|replica| has(conf, replica)),
        Phase::CatchUp => migration.incoming.is_some_and(|replica| has_caught_up(group, replica)),
        Phase::JointSwap => match migration.outgoing.and_then(|replica| set.get(replica)) {
            Some(at) if at.learner => !has(conf, at.replica),
            Some(_) | None => is_swapped(migration, conf),
        },
        Phase::LeaveJoint => !is_joint(conf) && is_swapped(migration, conf),
        Phase::Cleanup => false,
    }
}

/// A learner that has not answered yet has matched nothing, however short the log is.
fn has_caught_up(group: &GroupHealth, replica: ReplicaId) -> bool {
    has(&group.conf, replica)
        && group.peers.get(&replica).is_some_and(|peer| {
            peer.matched > 0 && !peer.snapshot && peer.matched.saturating_add(CAUGHT_UP_ENTRIES) >= group.last
        })
}

/// Whether the incoming half of the configuration is what the migration wants.
fn is_swapped(migration: &Migration, conf: &ConfState) -> bool {
    let came = |replica| migration.learner || conf.voters.contains(&replica);
    migration.incoming.is_none_or(came) && migration.outgoing.is_none_or(|replica| !conf.voters.contains(&replica))
}

#[cfg(test)]
mod tests;
