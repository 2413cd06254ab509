//! The words of scripts about conf changes, and what their state machine would do with one.

use super::*;
use crate::{
    checkpoint,
    types::{MigrationId, NodeId},
};

/// `learner N`, `unlearn N`, `joint +N -M`, `leave`; on a conf version.
pub(super) fn change(version: &str, step: &[&str]) -> ConfChange {
    let sign =
        |words: &[&str], sign: char| words.iter().find_map(|word| Some(ReplicaId(number(word.strip_prefix(sign)?))));
    let step = match step {
        ["learner", id] => ConfStep::AddLearner(ReplicaId(number(id))),
        ["unlearn", id] => ConfStep::RemoveLearner(ReplicaId(number(id))),
        ["joint", words @ ..] => ConfStep::EnterJoint { add: sign(words, '+'), remove: sign(words, '-') },
        ["leave"] => ConfStep::LeaveJoint,
        ["renew", id] => ConfStep::Renew(ReplicaId(number(id))),
        _ => panic!("unknown step {step:?}"),
    };
    let peer = |replica: ReplicaId| checkpoint::Peer {
        replica,
        node: NodeId(replica.0),
        incarnation: Incarnation(u128::from(replica.0)),
        address: format!("n{replica}:1"),
    };
    let peers = match step {
        ConfStep::AddLearner(replica) => vec![peer(replica)],
        ConfStep::RemoveLearner(_) | ConfStep::EnterJoint { .. } | ConfStep::LeaveJoint | ConfStep::Renew(_) => {
            Vec::new()
        }
    };
    ConfChange { migration: MigrationId(1), expected_version: number(version), step, peers }
}

pub(super) fn progress(replica: &Replica<u64>) -> String {
    let show = |(id, PeerProgress { matched, snapshot, active }): &(ReplicaId, PeerProgress)| {
        let snapshot = if *snapshot { ", snapshot" } else { "" };
        let silent = if *active { "" } else { ", silent" };
        format!("{id} at {matched}{snapshot}{silent}")
    };
    replica.progress().iter().map(show).collect::<Vec<_>>().join("; ")
}

impl Script {
    /// A replica that begins with nothing.
    pub(super) fn spare(&mut self, id: u64) {
        let config = ReplicaConfig { origin: Origin::Empty, ..config(id, 1, 0, self.seed) };
        self.peers.insert(id, Peer::new(id, config));
    }

    /// A replica and all it knew are gone.
    pub(super) fn kill(&mut self, id: u64) {
        self.peers.remove(&id);
        self.queue.retain(|message| message.to != id);
    }

    /// What a state machine does: look at the version first (PROTOCOL 12).
    pub(super) fn apply_conf(&mut self, id: u64, index: LogIndex, context: &[u8]) {
        let ConfChange { expected_version, step, .. } = ConfChange::decode(context).expect("our own");
        let peer = self.peers.get_mut(&id).expect("a replica");
        if expected_version != peer.conf_version {
            let version = peer.conf_version;
            return self
                .say(format_args!("{id} applies {index}: {step:?} ignored, {expected_version} is not {version}"));
        }
        match peer.replica.apply_conf(&step) {
            Ok(()) => {
                peer.conf_version += 1;
                let state = (peer.conf_version, peer.replica.conf());
                let first = self.confs.entry(index).or_insert_with(|| state.clone());
                assert_eq!(*first, state, "{id} gets another configuration at {index}");
                self.say(format_args!("{id} applies {index}: {step:?}, {}", show_conf(&state.1)));
            }
            Err(reason) => self.say(format_args!("{id} applies {index}: {step:?} rejected: {reason}")),
        }
    }

    pub(super) fn members(&mut self) {
        for id in self.ids() {
            let conf = show_conf(&self.peers[&id].replica.conf());
            let version = self.peers[&id].conf_version;
            self.say(format_args!("{id}: {conf}, version {version}"));
        }
    }
}

fn show_conf(conf: &v1::ConfState) -> String {
    let v1::ConfState { voters, learners, voters_outgoing, .. } = conf;
    let outgoing = if voters_outgoing.is_empty() { String::new() } else { format!(" from {voters_outgoing:?}") };
    format!("voters {voters:?}{outgoing} learners {learners:?}")
}
