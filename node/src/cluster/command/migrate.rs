//! Migrations begin, move on, end and are rolled back.
//!
//! The map never gets ahead of the group's ConfState (PROTOCOL 12): a set is edited when a migration starts (a learner
//! is added, which harms nobody) and when it enters Cleanup, which is proposed only once the ConfState shows the swap.

use super::{
    Incoming, Refused,
    done::{Done, refuse},
};
use crate::{
    cluster::map::{ClusterMap, Left, MAX_META_VOTERS, MemberState, Migration, Phase, Reason, ReplicaAt, ReplicaSet},
    types::{GroupId, MigrationId, NodeId, ReplicaId},
};

/// What a replica does in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Voter,
    Learner,
}

/// The phases of a migration by what comes and what goes; `None` for what is not done in one migration.
fn phases(comes: Option<(Part, bool)>, goes: Option<Part>) -> Option<&'static [Phase]> {
    use Part::{Learner, Voter};
    use Phase::{AddLearner, CatchUp, Cleanup, JointSwap, LeaveJoint};
    Some(match (comes, goes) {
        // (part, promoted)           goes
        (None, None) => return None,
        (None, Some(Learner)) => &[JointSwap, Cleanup],
        (None, Some(Voter)) => &[JointSwap, LeaveJoint, Cleanup],
        (Some((Learner, true)), _) => return None,
        (Some((Learner, false)), None) => &[AddLearner, CatchUp],
        (Some((Learner, false)), Some(Learner)) => &[AddLearner, CatchUp, JointSwap, Cleanup],
        (Some((Learner, false)), Some(Voter)) => &Phase::ALL,
        (Some((Voter, _)), Some(Learner)) => return None,
        (Some((Voter, true)), None | Some(Voter)) => &[CatchUp, JointSwap, LeaveJoint, Cleanup],
        (Some((Voter, false)), None | Some(Voter)) => &Phase::ALL,
    })
}

/// The phase after a migration's present one; `None` when it is over then.
#[must_use]
pub fn following(map: &ClusterMap, migration: &Migration) -> Option<Phase> {
    // In Cleanup the outgoing replica is no longer in the set; nothing follows anyway.
    if migration.cancelled || migration.phase == Phase::Cleanup {
        return None;
    }
    let set = map.groups.get(&migration.group)?;
    let comes = migration.incoming.map(|_| (part(migration.learner), migration.promoted));
    let goes = migration.outgoing.and_then(|replica| set.get(replica)).map(|at| part(at.learner));
    let chain = phases(comes, goes)?;
    let now = chain.iter().position(|phase| *phase == migration.phase)?;
    chain.get(now + 1).copied()
}

fn part(learner: bool) -> Part {
    if learner { Part::Learner } else { Part::Voter }
}

/// A [`StartMigration`](super::MetaCommand::StartMigration) without what comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) group: GroupId,
    pub(super) outgoing: Option<ReplicaId>,
    pub(super) learner: bool,
    pub(super) reason: Reason,
}

pub(super) fn start(map: &mut ClusterMap, now_ms: u64, incoming: Incoming, asked: Asked) -> Result<Done, Refused> {
    let Asked { group, outgoing, learner, reason } = asked;
    if let Some(other) = map.migration_of(group) {
        return refuse(format!("{group}: migration {} is under way", other.id));
    }
    let Some(set) = map.groups.get(&group) else { return refuse(format!("there is no {group}")) };
    let goes = match outgoing {
        None => None,
        Some(replica) => match set.get(replica) {
            None => return refuse(format!("{group} has no replica {replica} to remove")),
            Some(at) => Some(*at),
        },
    };
    let comes = comes(map, set, incoming, asked)?;
    let promoted = matches!(incoming, Incoming::Promote(_));
    let chain = phases(comes.map(|_| (part(learner), promoted)), goes.map(|at| part(at.learner)));
    let Some([phase, ..]) = chain else {
        return refuse(format!("{group}: nothing would change, or it takes two migrations"));
    };
    check_votes(map, set, asked, comes, goes)?;

    let (id, phase) = (map.next_migration, *phase);
    let incoming = comes.map(|at| at.replica);
    map.next_migration.0 += 1;
    if let (Some(at), false) = (comes, promoted) {
        map.next_replica.0 += 1;
        map.groups.entry(group).or_default().replicas.push(at);
    }
    map.groups.entry(group).or_default().changes += 1;
    let migration = Migration {
        id,
        group,
        incoming,
        outgoing,
        learner,
        promoted,
        phase,
        reason,
        cancelled: false,
        started_ms: now_ms,
        left: None,
    };
    map.migrations.insert(id, migration);
    Ok(Done::Changed)
}

/// The replica that comes, as the set lists it until it votes.
fn comes(map: &ClusterMap, set: &ReplicaSet, incoming: Incoming, asked: Asked) -> Result<Option<ReplicaAt>, Refused> {
    let Asked { group, outgoing, learner, .. } = asked;
    match incoming {
        Incoming::None if learner => refuse(format!("{group}: a learner is wanted, but nothing comes")),
        Incoming::None => Ok(None),
        Incoming::New(node) => new_replica(map, set, node, asked).map(Some),
        Incoming::Promote(replica) => match set.get(replica) {
            None => refuse(format!("{group} has no replica {replica} to promote")),
            Some(at) if !at.learner => refuse(format!("{group}: replica {replica} is a voter already")),
            Some(at) if !map.is_alive(at) => refuse(format!("{group}: replica {replica} is dead")),
            Some(_) if learner => refuse(format!("{group}: who is promoted can't stay a learner")),
            Some(_) if outgoing == Some(replica) => refuse(format!("{group}: replica {replica} can't come and go")),
            Some(at) => Ok(Some(*at)),
        },
    }
}

fn new_replica(map: &ClusterMap, set: &ReplicaSet, node: NodeId, asked: Asked) -> Result<ReplicaAt, Refused> {
    let Some(member) = map.members.get(&node) else { return refuse(format!("node {node} is no member")) };
    match member.state {
        MemberState::Joining | MemberState::Up => {}
        // Until it has left, it has to follow the map.
        MemberState::Draining if asked.group == GroupId::META && asked.learner => {}
        MemberState::Draining | MemberState::Down | MemberState::Removed => {
            return refuse(format!("node {node} is {}: it takes no replica", member.state.name()));
        }
    }
    let incarnation = member.incarnation;
    if set.replicas.iter().any(|at| at.node == node && at.incarnation == incarnation) {
        return refuse(format!("{} has a replica on node {node} already", asked.group));
    }
    Ok(ReplicaAt { replica: map.next_replica, node, incarnation, learner: true })
}

/// What the voters will be must be able to go on: a majority lives, if one lives now.
fn check_votes(
    map: &ClusterMap,
    set: &ReplicaSet,
    asked: Asked,
    comes: Option<ReplicaAt>,
    goes: Option<ReplicaAt>,
) -> Result<(), Refused> {
    let group = asked.group;
    let now: Vec<ReplicaAt> = set.voters().copied().collect();
    let stays = now.iter().copied().filter(|at| goes.is_none_or(|goes| goes.replica != at.replica));
    let then: Vec<ReplicaAt> = stays.chain(comes.filter(|_| !asked.learner)).collect();
    let living = |voters: &[ReplicaAt]| voters.iter().filter(|at| map.is_alive(at)).count();
    let quorate = |voters: &[ReplicaAt]| living(voters) > voters.len() / 2;
    if living(&then) == 0 {
        return refuse(format!("{group}: no living voter would be left"));
    }
    if quorate(&now) && !quorate(&then) {
        let (living, all) = (living(&then), then.len());
        return refuse(format!("{group}: {living} of {all} voters would be alive, which is no majority"));
    }
    if group == GroupId::META && then.len() > MAX_META_VOTERS && then.len() > now.len() {
        return refuse(format!("{group}: it has at most {MAX_META_VOTERS} voters"));
    }
    Ok(())
}

pub(super) fn advance(
    map: &mut ClusterMap,
    id: MigrationId,
    from: Phase,
    to: Option<Phase>,
    conf_version: u64,
) -> Result<Done, Refused> {
    let Some(migration) = map.migrations.get(&id).copied() else {
        return refuse(format!("there is no migration {id}"));
    };
    if migration.phase != from {
        return refuse(format!("migration {id} is in phase {}, not {}", migration.phase.name(), from.name()));
    }
    let follows = match migration.cancelled && from == Phase::JointSwap {
        // The group had begun the swap before it knew: it goes on.
        true => to.is_none() || to == Some(Phase::LeaveJoint),
        // Again, from a newer configuration.
        false => to == following(map, &migration) || from == Phase::JointSwap && to == Some(from),
    };
    if !follows {
        let name = to.map_or("its end", Phase::name);
        return refuse(format!("migration {id}: {name} does not follow {}", from.name()));
    }
    let version = map.version + 1;
    let Some(set) = map.groups.get_mut(&migration.group) else {
        return refuse(format!("there is no {}", migration.group));
    };
    if to == Some(from) && conf_version <= set.conf_version {
        return Ok(Done::Already);
    }
    set.conf_version = set.conf_version.max(conf_version);
    if migration.cancelled && to.is_none() && !migration.promoted {
        set.replicas.retain(|at| Some(at.replica) != migration.incoming);
    }
    match to {
        None => {
            map.migrations.remove(&id);
        }
        Some(phase) => {
            let left = if phase == Phase::Cleanup { swap(set, &migration, version) } else { None };
            map.migrations.insert(id, Migration { phase, left, cancelled: false, ..migration });
        }
    }
    Ok(Done::Changed)
}

/// The set follows the ConfState: who came votes, who goes is gone.
fn swap(set: &mut ReplicaSet, migration: &Migration, version: u64) -> Option<Left> {
    let left = migration.outgoing.and_then(|replica| set.get(replica)).map(|at| Left {
        node: at.node,
        incarnation: at.incarnation,
        version,
    });
    set.replicas.retain(|at| Some(at.replica) != migration.outgoing);
    for at in set.replicas.iter_mut().filter(|at| Some(at.replica) == migration.incoming) {
        at.learner = migration.learner;
    }
    // The first one is where leadership should be, so voters come first.
    set.replicas.sort_by_key(|at| at.learner);
    left
}

pub(super) fn cancel(map: &mut ClusterMap, id: MigrationId) -> Result<Done, Refused> {
    let Some(migration) = map.migrations.get(&id) else {
        return refuse(format!("there is no migration {id}"));
    };
    if migration.cancelled {
        return Ok(Done::Already);
    }
    let decided = match migration.phase {
        Phase::AddLearner | Phase::CatchUp => false,
        Phase::JointSwap => following(map, migration) != Some(Phase::LeaveJoint),
        Phase::LeaveJoint | Phase::Cleanup => true,
    };
    if decided {
        return refuse(format!("migration {id} is in phase {}: it can only go on", migration.phase.name()));
    }
    if migration.promoted && migration.phase < Phase::JointSwap {
        map.migrations.remove(&id);
        return Ok(Done::Changed);
    }
    let cancelled = Migration { cancelled: true, ..*migration };
    map.migrations.insert(id, cancelled);
    Ok(Done::Changed)
}
