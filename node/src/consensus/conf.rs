//! Changes of a group's configuration, as they stand in the log (PROTOCOL 12).
//!
//! The whole change is in the entry's context, in our own encoding; what raft-rs puts into the entry's data is never
//! parsed. The state machine checks the version before the change takes effect; [`check_step`] says, from the
//! configuration alone and so alike on every replica, whether it can.

use std::collections::BTreeSet;

use bytes::Bytes;
use crema_api::v1::log as pb;
use prost::Message;
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState};

use crate::{
    checkpoint::{self, Peer},
    machine::codec::{self, DecodeError},
    types::{MigrationId, ReplicaId},
};

/// One change of who votes and who learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfChange {
    /// The migration that wants it; 0 is none.
    pub migration: MigrationId,
    /// The conf version that it builds on; applied to any other, it changes nothing.
    pub expected_version: u64,
    /// What changes.
    pub step: ConfStep,
    /// Where the replicas live that it adds.
    pub peers: Vec<Peer>,
}

/// What a [`ConfChange`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfStep {
    /// A replica follows and does not vote.
    AddLearner(ReplicaId),
    /// A learner is no more.
    RemoveLearner(ReplicaId),
    /// A joint configuration begins: in the incoming half `add` votes and `remove` does not.
    EnterJoint {
        /// A learner that is to vote.
        add: Option<ReplicaId>,
        /// A voter that is to go.
        remove: Option<ReplicaId>,
    },
    /// The joint configuration ends; only its incoming half is left.
    LeaveJoint,
    /// A voter stays what it is: only the version of the configuration grows. No change that was wanted of the one before
    /// can begin any more.
    Renew(ReplicaId),
}

/// `Log.ConfChange.step`.
const ADD_LEARNER: u32 = 0;
const REMOVE_LEARNER: u32 = 1;
const ENTER_JOINT: u32 = 2;
const LEAVE_JOINT: u32 = 3;
const RENEW: u32 = 4;

impl ConfChange {
    /// The change as the context of its entry.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Self { migration, expected_version, step, peers } = self;
        let id = |replica: Option<ReplicaId>| replica.map_or(0, |replica| replica.0);
        let (step, add, remove) = match *step {
            ConfStep::AddLearner(replica) => (ADD_LEARNER, replica.0, 0),
            ConfStep::RemoveLearner(replica) => (REMOVE_LEARNER, 0, replica.0),
            ConfStep::EnterJoint { add, remove } => (ENTER_JOINT, id(add), id(remove)),
            ConfStep::LeaveJoint => (LEAVE_JOINT, 0, 0),
            ConfStep::Renew(replica) => (RENEW, replica.0, 0),
        };
        let change = pb::ConfChange {
            migration: migration.0,
            expected_version: *expected_version,
            step,
            add,
            remove,
            peers: peers.iter().map(checkpoint::peer_to_pb).collect(),
        };
        Bytes::from(change.encode_to_vec())
    }

    /// Reads [`Self::encode`].
    ///
    /// # Errors
    /// On anything that this build would not have written.
    pub fn decode(context: &[u8]) -> Result<Self, DecodeError> {
        let unknown = |what| DecodeError::Unknown { what };
        let change: pb::ConfChange = codec::parse("a conf change", Bytes::copy_from_slice(context))?;
        let pb::ConfChange { migration, expected_version, step, add, remove, peers } = change;
        let some = |id: u64| (id != 0).then_some(ReplicaId(id));
        let step = match (step, some(add), some(remove)) {
            (ADD_LEARNER, Some(replica), None) => ConfStep::AddLearner(replica),
            (REMOVE_LEARNER, None, Some(replica)) => ConfStep::RemoveLearner(replica),
            (ENTER_JOINT, add, remove) if add.is_some() || remove.is_some() => ConfStep::EnterJoint { add, remove },
            (LEAVE_JOINT, None, None) => ConfStep::LeaveJoint,
            (RENEW, Some(replica), None) => ConfStep::Renew(replica),
            _ => return Err(unknown("a step of a conf change")),
        };
        let peers: Option<_> = peers.into_iter().map(checkpoint::peer_from_pb).collect();
        Ok(Self {
            migration: MigrationId(migration),
            expected_version,
            step,
            peers: peers.ok_or(unknown("a peer of a conf change"))?,
        })
    }
}

/// The step in raft-rs's words. Never one that raft-rs would leave by itself (PROTOCOL 13).
pub(super) fn to_raft(step: ConfStep) -> ConfChangeV2 {
    use ConfChangeType::{AddLearnerNode, AddNode, RemoveNode};
    let single = |kind, replica: ReplicaId| {
        let mut single = ConfChangeSingle { node_id: replica.0, ..Default::default() };
        single.set_change_type(kind);
        single
    };
    let mut change = ConfChangeV2::default();
    match step {
        ConfStep::AddLearner(replica) => change.mut_changes().push(single(AddLearnerNode, replica)),
        ConfStep::RemoveLearner(replica) => change.mut_changes().push(single(RemoveNode, replica)),
        ConfStep::EnterJoint { add, remove } => {
            change.set_transition(ConfChangeTransition::Explicit);
            change.mut_changes().extend(add.map(|replica| single(AddNode, replica)));
            change.mut_changes().extend(remove.map(|replica| single(RemoveNode, replica)));
        }
        // An empty change is how raft-rs says it.
        ConfStep::LeaveJoint => {}
        ConfStep::Renew(replica) => change.mut_changes().push(single(AddNode, replica)),
    }
    change
}

/// Whether a step can be taken from a configuration, and why not. raft-rs takes some that make no sense.
pub(super) fn check_step(conf: &ConfState, step: ConfStep) -> Result<(), String> {
    let joint = !conf.voters_outgoing.is_empty();
    let votes = |replica: ReplicaId| conf.voters.contains(&replica.0);
    let learns = |replica: ReplicaId| conf.learners.contains(&replica.0);
    match step {
        ConfStep::LeaveJoint if !joint => Err("the configuration is not joint".to_owned()),
        ConfStep::LeaveJoint => Ok(()),
        _ if joint => Err("the joint configuration must be left first".to_owned()),
        _ if conf.voters.is_empty() => Err("there is no configuration yet".to_owned()),
        ConfStep::AddLearner(replica) if replica.0 == 0 => Err("replica 0 is none".to_owned()),
        ConfStep::AddLearner(replica) if votes(replica) || learns(replica) => {
            Err(format!("replica {replica} is there already"))
        }
        ConfStep::AddLearner(_) => Ok(()),
        ConfStep::RemoveLearner(replica) if !learns(replica) => Err(format!("replica {replica} is no learner")),
        ConfStep::RemoveLearner(_) => Ok(()),
        ConfStep::EnterJoint { add: None, remove: None } => Err("a joint step that changes nothing".to_owned()),
        ConfStep::EnterJoint { add: Some(add), .. } if !learns(add) => Err(format!("replica {add} is no learner")),
        ConfStep::EnterJoint { remove: Some(remove), .. } if !votes(remove) => {
            Err(format!("replica {remove} is no voter"))
        }
        ConfStep::EnterJoint { add: None, remove: Some(_) } if conf.voters.len() == 1 => {
            Err("the last voter can't go".to_owned())
        }
        ConfStep::EnterJoint { .. } => Ok(()),
        ConfStep::Renew(replica) if !votes(replica) => Err(format!("replica {replica} is no voter")),
        ConfStep::Renew(_) => Ok(()),
    }
}

/// Whether raft-rs can begin from a configuration; it panics on one that contradicts itself.
pub(super) fn check_conf(conf: &ConfState) -> Result<(), String> {
    let set = |ids: &[u64]| -> Result<BTreeSet<u64>, String> {
        let set: BTreeSet<u64> = ids.iter().copied().collect();
        match set.len() == ids.len() && !set.contains(&0) {
            true => Ok(set),
            false => Err(format!("a configuration with the replicas {ids:?}")),
        }
    };
    let (voters, outgoing) = (set(&conf.voters)?, set(&conf.voters_outgoing)?);
    let (learners, next) = (set(&conf.learners)?, set(&conf.learners_next)?);
    let learners_vote = learners.iter().any(|id| voters.contains(id) || outgoing.contains(id));
    let next_stay = next.iter().any(|id| voters.contains(id) || !outgoing.contains(id));
    if voters.is_empty() || learners_vote || next_stay || conf.auto_leave {
        return Err(format!("a configuration that contradicts itself: {conf:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Incarnation, NodeId};

    fn change(step: ConfStep) -> ConfChange {
        let peer = Peer {
            replica: ReplicaId(7),
            node: NodeId(3),
            incarnation: Incarnation(9),
            address: "node-3:7000".to_owned(),
        };
        ConfChange { migration: MigrationId(4), expected_version: 11, step, peers: vec![peer] }
    }

    #[test]
    fn changes_are_read_as_they_were_written() {
        let [a, b] = [ReplicaId(7), ReplicaId(2)];
        for step in [
            ConfStep::AddLearner(a),
            ConfStep::RemoveLearner(b),
            ConfStep::EnterJoint { add: Some(a), remove: Some(b) },
            ConfStep::EnterJoint { add: None, remove: Some(b) },
            ConfStep::EnterJoint { add: Some(a), remove: None },
            ConfStep::LeaveJoint,
            ConfStep::Renew(a),
        ] {
            let change = change(step);
            assert_eq!(ConfChange::decode(&change.encode()), Ok(change));
        }
    }

    #[test]
    fn what_this_build_would_not_write_is_refused() {
        let bad = |change: pb::ConfChange| {
            let read = ConfChange::decode(&change.encode_to_vec());
            assert!(matches!(read, Err(DecodeError::Unknown { .. })), "{change:?}: {read:?}");
        };
        bad(pb::ConfChange { step: 5, ..Default::default() });
        bad(pb::ConfChange { step: RENEW, ..Default::default() });
        bad(pb::ConfChange { step: ADD_LEARNER, ..Default::default() });
        bad(pb::ConfChange { step: ADD_LEARNER, add: 1, remove: 2, ..Default::default() });
        bad(pb::ConfChange { step: REMOVE_LEARNER, add: 1, ..Default::default() });
        bad(pb::ConfChange { step: ENTER_JOINT, ..Default::default() });
        bad(pb::ConfChange { step: LEAVE_JOINT, remove: 1, ..Default::default() });
        let peer = crema_api::v1::checkpoint::Peer { replica: 1, ..Default::default() };
        bad(pb::ConfChange { step: LEAVE_JOINT, peers: vec![peer], ..Default::default() });
        // A field that this build does not know.
        let mut bytes = change(ConfStep::LeaveJoint).encode().to_vec();
        bytes.extend([0x78, 1]);
        assert_eq!(ConfChange::decode(&bytes), Err(DecodeError::Unknown { what: "a field" }));
        assert!(matches!(ConfChange::decode(&[0xff]), Err(DecodeError::Malformed { .. })));
    }

    /// What [`check_step`] lets pass, raft-rs takes; so a replica never finds out in the middle.
    #[test]
    fn raft_takes_every_step_that_is_allowed() {
        use raft::{Config, RawNode, storage::MemStorage};
        let all: Vec<ReplicaId> = (1..=4).map(ReplicaId).collect();
        let maybe = || std::iter::once(None).chain((1..=4).map(|id| Some(ReplicaId(id))));
        let mut steps: Vec<ConfStep> = vec![ConfStep::LeaveJoint];
        let one = |id: &ReplicaId| [ConfStep::AddLearner(*id), ConfStep::RemoveLearner(*id), ConfStep::Renew(*id)];
        steps.extend(all.iter().flat_map(one));
        steps.extend(maybe().flat_map(|add| maybe().map(move |remove| ConfStep::EnterJoint { add, remove })));
        let mut allowed = 0;
        for (voters, learners, outgoing) in [
            (vec![1], vec![], vec![]),
            (vec![1], vec![2], vec![]),
            (vec![1, 2], vec![3], vec![]),
            (vec![1, 2, 3], vec![4], vec![]),
            (vec![2], vec![3], vec![1]),
            (vec![2, 3, 4], vec![], vec![1, 2, 3]),
        ] {
            let conf = ConfState { voters, learners, voters_outgoing: outgoing, ..Default::default() };
            check_conf(&conf).expect("sound");
            for step in &steps {
                let logger = super::super::logger::logger();
                let store = MemStorage::new_with_conf_state(conf.clone());
                let mut raw = RawNode::new(&Config::new(1), store, &logger).expect("a node");
                if check_step(&conf, *step).is_ok() {
                    let after = raw.apply_conf_change(&to_raft(*step)).unwrap_or_else(|e| panic!("{step:?}: {e}"));
                    check_conf(&after).expect("sound still");
                    allowed += 1;
                }
            }
        }
        assert_eq!(allowed, 32);
    }

    #[test]
    fn configurations_that_contradict_themselves_are_refused() {
        let conf = |voters: &[u64], learners: &[u64], outgoing: &[u64], next: &[u64]| ConfState {
            voters: voters.to_vec(),
            learners: learners.to_vec(),
            voters_outgoing: outgoing.to_vec(),
            learners_next: next.to_vec(),
            ..Default::default()
        };
        assert!(check_conf(&conf(&[1, 2], &[3], &[2, 4], &[4])).is_ok());
        for bad in [
            conf(&[], &[1], &[], &[]),
            conf(&[0], &[], &[], &[]),
            conf(&[1, 1], &[], &[], &[]),
            conf(&[1], &[1], &[], &[]),
            conf(&[1], &[2], &[2], &[]),
            conf(&[1], &[], &[2], &[1]),
            conf(&[1], &[], &[2], &[3]),
            ConfState { auto_leave: true, ..conf(&[1], &[], &[2], &[]) },
        ] {
            assert!(check_conf(&bad).is_err(), "{bad:?}");
        }
    }
}
