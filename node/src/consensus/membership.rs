//! Who belongs to the group: conf changes as they are proposed and applied, and what the leader knows of its peers.
//!
//! raft-rs keeps less watch than the group needs: it takes any change that is not joint upon joint, appends an empty
//! entry in the place of one that it refuses, and lets a leader lead on that has left (PROTOCOL 12, 13). So every step
//! is checked here twice, before it is proposed and before it takes effect.

use crema_api::v1;
use raft::{StateRole, eraftpb::ConfState};

use super::{
    conf::{ConfChange, ConfStep, check_step, to_raft},
    convert,
    replica::{Dropped, Replica},
};
use crate::{
    faults::Fault,
    types::{LogIndex, ReplicaId, Term},
};

/// What a leader knows of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// Its log matches the leader's up to here.
    pub matched: LogIndex,
    /// It needs a snapshot, or one is on its way to it.
    pub snapshot: bool,
    /// It was heard of since the leader last counted who is there.
    pub active: bool,
}

impl<R> Replica<R> {
    /// The present configuration, with its ids in order.
    #[must_use]
    pub fn conf(&self) -> v1::ConfState {
        convert::conf_to_wire(&self.conf_state())
    }

    pub(super) fn conf_state(&self) -> ConfState {
        in_order(self.raw.raft.prs().conf().to_conf_state())
    }

    /// Whether two configurations decide together.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.raw.raft.prs().conf().to_conf_state().voters_outgoing.is_empty()
    }

    /// Whether a replica votes and, in a joint configuration, goes on voting when that ends.
    #[must_use]
    pub fn is_voter(&self, replica: ReplicaId) -> bool {
        self.raw.raft.prs().conf().to_conf_state().voters.contains(&replica.0)
    }

    /// Whether a replica follows without a vote.
    #[must_use]
    pub fn is_learner(&self, replica: ReplicaId) -> bool {
        self.raw.raft.prs().conf().learners().contains(&replica.0)
    }

    /// Whether a conf change may be in the log that is not applied yet; on the leader. A new leader says so until it
    /// has applied what it found in its log.
    #[must_use]
    pub fn has_pending_conf(&self) -> bool {
        self.raw.raft.has_pending_conf()
    }

    /// How far each replica is, itself included; on the leader.
    #[must_use]
    pub fn progress(&self) -> Vec<(ReplicaId, PeerProgress)> {
        let raft = &self.raw.raft;
        let base = self.truncated_to();
        let mut all: Vec<_> = raft
            .prs()
            .iter()
            .map(|(id, progress)| {
                let matched = LogIndex(progress.matched);
                let snapshot = progress.state == raft::ProgressState::Snapshot || matched < base;
                (ReplicaId(*id), PeerProgress { matched, snapshot, active: progress.recent_active })
            })
            .collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    /// Appends a conf change to the leader's log and says where. Refused while another may be pending, when the present
    /// configuration does not allow it, and when it would leave the group without this leader while it leads: it hands
    /// the leadership over first. Only a group's single voter may be replaced by itself, for nobody else can lead then.
    pub fn propose_conf(&mut self, change: &ConfChange) -> Result<(LogIndex, Term), Dropped> {
        let legal = check_step(&self.conf_state(), change.step).is_ok();
        if !self.takes_proposals() || self.has_pending_conf() || !legal || self.would_lose_leader(change.step) {
            return Err(Dropped);
        }
        self.raw.propose_conf_change(change.encode().to_vec(), to_raft(change.step)).map_err(|_| Dropped)?;
        self.settle();
        match self.raw.raft.pending_conf_index == self.standing.last.0 {
            true => Ok((self.standing.last, self.standing.term)),
            // An empty entry took its place.
            false => Err(Dropped),
        }
    }

    fn would_lose_leader(&self, step: ConfStep) -> bool {
        let own = self.config.replica;
        match step {
            ConfStep::AddLearner(_) | ConfStep::RemoveLearner(_) | ConfStep::Renew(_) => false,
            ConfStep::EnterJoint { remove, .. } => remove == Some(own) && !self.is_sole_voter(),
            ConfStep::LeaveJoint => !self.is_voter(own),
        }
    }

    /// A committed change takes effect; called for each replica alike, between [`Replica::poll`] and
    /// [`Replica::applied`], once its version was found to fit.
    ///
    /// # Errors
    /// Why the configuration does not allow it, the same on every replica: then nothing was changed.
    pub fn apply_conf(&mut self, step: &ConfStep) -> Result<(), String> {
        check_step(&self.conf_state(), *step)?;
        let after = self.raw.apply_conf_change(&to_raft(*step)).map_err(|error| error.to_string())?;
        let after = if self.faults.has(Fault::TwoVotersRemoved) { self.hurry(*step, after)? } else { after };
        self.raw.mut_store().set_conf(in_order(after));
        let raft = &mut self.raw.raft;
        // raft-rs lets a removed leader go on, and fails at its next commit. The change may have been another leader's,
        // so it happens although none proposes its own end.
        if raft.state != StateRole::Follower && !raft.promotable() {
            raft.become_follower(raft.term, raft::INVALID_ID);
        }
        self.settle();
        Ok(())
    }
}

impl<R> Replica<R> {
    /// The planted bug: where one voter is to go another goes with it, and the old voters are not asked.
    fn hurry(&mut self, step: ConfStep, after: ConfState) -> Result<ConfState, String> {
        let ConfStep::EnterJoint { remove: Some(_), .. } = step else { return Ok(after) };
        let left = self.raw.apply_conf_change(&to_raft(ConfStep::LeaveJoint)).map_err(|error| error.to_string())?;
        let second = left.voters.iter().copied().min().filter(|_| left.voters.len() > 1);
        let Some(second) = second else { return Ok(left) };
        let remove = Some(ReplicaId(second));
        for step in [ConfStep::EnterJoint { add: None, remove }, ConfStep::LeaveJoint] {
            self.raw.apply_conf_change(&to_raft(step)).map_err(|error| error.to_string())?;
        }
        Ok(self.conf_state())
    }
}

/// raft-rs keeps sets; what is compared and stored has an order.
fn in_order(mut conf: ConfState) -> ConfState {
    for ids in [&mut conf.voters, &mut conf.learners, &mut conf.voters_outgoing, &mut conf.learners_next] {
        ids.sort_unstable();
    }
    conf
}
