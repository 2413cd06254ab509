//! State hashes are compared (PROTOCOL 9): every replica tells every other its hash at the same indexes, and whoever
//! differs from a majority knows that it is the corrupt one, leader or not. From then on it says so in place of a
//! hash, and counts no more: it must not take the majority from those who are left.

use std::collections::{BTreeMap, BTreeSet};

use crema_api::v1;

use super::{
    group::{Env, Group},
    out::Event,
};
use crate::{
    faults::Fault,
    machine::store::EntryStore,
    types::{LogIndex, NodeId, ReplicaId},
};

/// Indexes for which reports are kept: replicas that are further apart don't compare.
const KEPT_INDEXES: usize = 8;

/// Why a replica stops that can't know whether it or another one is corrupt: all have reported, and no hash has a
/// majority. Of two voters one that is damaged is enough.
pub const NO_MAJORITY: &str = "no two replicas agree on the state";

/// Why a replica with a disk stops whose state differs from that of a majority.
pub const IN_THE_MINORITY: &str = "its state differs from that of a majority";

/// Whether a replica may be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Serving,
    /// Its state differs from that of a majority: it votes and replicates, but answers nothing from its state
    /// until it is replaced.
    Corrupt {
        /// Where the difference was seen.
        index: LogIndex,
    },
    /// It takes part no more.
    Stopped {
        /// Why.
        reason: String,
    },
}

impl Health {
    /// Its name in tables and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Corrupt { .. } => "corrupt",
            Self::Stopped { .. } => "stopped",
        }
    }

    pub(super) fn is_serving(&self) -> bool {
        *self == Self::Serving
    }

    pub(super) fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped { .. })
    }
}

/// What the replicas of a group reported.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    /// Those of both halves of a joint configuration.
    voters: BTreeSet<ReplicaId>,
    /// The halves; the outgoing one is empty in a simple configuration.
    halves: [BTreeSet<ReplicaId>; 2],
    /// Those that have said that they are corrupt. Without a disk none of them gets well: another replica takes its place,
    /// some day.
    corrupt: BTreeSet<ReplicaId>,
    reports: BTreeMap<LogIndex, BTreeMap<ReplicaId, u128>>,
}

/// What the reports at one index say of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Too few reports yet, or all is well.
    Open,
    Corrupt,
    /// Everyone has reported and nobody has a majority.
    NoMajority,
}

impl Hashes {
    /// Who is counted from now on; what those who stay have reported counts on.
    pub(super) fn set_voters(&mut self, incoming: BTreeSet<ReplicaId>, outgoing: BTreeSet<ReplicaId>) {
        self.voters = incoming.union(&outgoing).copied().collect();
        self.halves = [incoming, outgoing];
    }

    /// Whether another replica has said that it is corrupt.
    pub(super) fn is_corrupt(&self, replica: ReplicaId) -> bool {
        self.corrupt.contains(&replica)
    }

    fn note(&mut self, index: LogIndex, replica: ReplicaId, hash: u128) {
        self.reports.entry(index).or_default().insert(replica, hash);
        while self.reports.len() > KEPT_INDEXES {
            self.reports.pop_first();
        }
    }

    /// Whether the voters who are not known to be corrupt can decide without this one: a majority of each half.
    fn is_majority_without(&self, own: ReplicaId) -> bool {
        let left = |half: &BTreeSet<ReplicaId>| half.difference(&self.corrupt).filter(|voter| **voter != own).count();
        self.halves.iter().filter(|half| !half.is_empty()).all(|half| left(half) * 2 > half.len())
    }

    fn verdict(&self, index: LogIndex, own: ReplicaId) -> Verdict {
        let Some(reports) = self.reports.get(&index) else { return Verdict::Open };
        let Some(hash) = reports.get(&own) else { return Verdict::Open };
        // Only voters are counted: a learner's report decides nothing, nor does what a corrupt one once reported.
        let electors: BTreeSet<ReplicaId> = self.voters.difference(&self.corrupt).copied().collect();
        let votes: Vec<&u128> =
            reports.iter().filter(|(from, _)| electors.contains(from)).map(|(_, hash)| hash).collect();
        let count = |hash: &u128| votes.iter().filter(|other| **other == hash).count();
        let majority = votes.iter().copied().find(|hash| count(hash) * 2 > electors.len());
        match majority {
            Some(majority) if majority != hash => Verdict::Corrupt,
            None if votes.len() >= electors.len() && votes.len() > 1 => Verdict::NoMajority,
            Some(_) | None => Verdict::Open,
        }
    }
}

impl<S: EntryStore> Group<S> {
    /// After an apply: tells the others when it is time.
    pub(super) fn report_hash(&mut self, index: LogIndex, env: &mut Env<'_>) {
        if !index.0.is_multiple_of(env.config.limits.hash_interval) {
            return;
        }
        let Some(hash) = self.machine().map(|machine| machine.state_hash()) else { return };
        if !self.health.is_serving() {
            return self.tell_hash(index, None, env);
        }
        self.tell_hash(index, Some(hash), env);
        let own = self.own();
        self.hashes.note(index, own, hash);
        self.judge(index, env);
    }

    /// `None`: this replica knows that its state is wrong.
    fn tell_hash(&self, index: LogIndex, hash: Option<u128>, env: &mut Env<'_>) {
        let own = self.own();
        let hash = hash.map_or_else(Vec::new, |hash| hash.to_be_bytes().to_vec());
        for (_, node) in self.others() {
            if let Some(frame) = env.out.to(node, 64) {
                frame.hashes.push(v1::HashReport {
                    group: self.id.0,
                    generation: self.generation,
                    from: own.0,
                    index: index.0,
                    hash: hash.clone().into(),
                });
            }
        }
    }

    pub(super) fn on_hash_report(&mut self, node: NodeId, report: &v1::HashReport, env: &mut Env<'_>) {
        if report.generation != self.generation || self.nodes.get(&ReplicaId(report.from)) != Some(&node) {
            return;
        }
        let (index, from) = (LogIndex(report.index), ReplicaId(report.from));
        if report.hash.is_empty() {
            self.hashes.corrupt.insert(from);
        } else {
            let Ok(hash) = <[u8; 16]>::try_from(report.hash.as_ref()) else { return };
            // Its process has ended, and another one goes on from what its disk has.
            self.hashes.corrupt.remove(&from);
            self.hashes.note(index, from, u128::from_be_bytes(hash));
        }
        self.judge(index, env);
    }

    fn judge(&mut self, index: LogIndex, env: &mut Env<'_>) {
        if !self.health.is_serving() {
            return;
        }
        let verdict = match env.config.faults.has(Fault::LeaderHashTrusted) {
            true => self.verdict_by_leader(index),
            false => self.hashes.verdict(index, self.replica.config().replica),
        };
        match verdict {
            Verdict::Open => {}
            Verdict::Corrupt if env.config.durable && self.hashes.is_majority_without(self.own()) => {
                self.give_up(index, env);
            }
            Verdict::Corrupt => self.note_corrupt(index, env),
            Verdict::NoMajority => {
                let reason = format!("{}: {NO_MAJORITY} at entry {index}", self.id);
                self.stop(reason, env);
            }
        }
    }

    /// This replica's state is wrong since some entry up to `index`: it answers nothing from it any more, and the
    /// others need not wonder which of them it is.
    pub(super) fn note_corrupt(&mut self, index: LogIndex, env: &mut Env<'_>) {
        self.health = Health::Corrupt { index };
        env.out.event(Event::Health { group: self.id, health: self.health.clone() });
        self.tell_hash(index, None, env);
        self.abandon_checkpoint(env);
        self.offer_no_snapshot();
        self.hand_back_writes(env);
    }

    /// A replica with a disk may have published a checkpoint of its wrong state, and the next process would serve from
    /// that. So all that it has on the disk goes at once, as if it were lost; without its log it can't vote either. The
    /// others are a majority without it. (One whose capture shows its memory to be damaged has published nothing of that:
    /// it stays, and a restart heals it.)
    fn give_up(&mut self, index: LogIndex, env: &mut Env<'_>) {
        self.tell_hash(index, None, env);
        env.out.writes.destroy(self.id, self.own());
        self.stop(format!("{}: {IN_THE_MINORITY} at entry {index}", self.id), env);
    }

    /// The planted fault "the leader's hash trusted".
    fn verdict_by_leader(&self, index: LogIndex) -> Verdict {
        let Some(reports) = self.hashes.reports.get(&index) else { return Verdict::Open };
        let hash_of = |replica: ReplicaId| reports.get(&replica);
        match (self.replica.standing().leader.and_then(hash_of), hash_of(self.replica.config().replica)) {
            (Some(leader), Some(own)) if leader != own => Verdict::Corrupt,
            _ => Verdict::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: LogIndex = LogIndex(8);

    /// What each replica, counted from 1, concludes from the hashes of all of them.
    fn verdicts(hashes: &[u128], corrupt: &[u64]) -> Vec<Verdict> {
        let ids: Vec<ReplicaId> = (1..=hashes.len() as u64).map(ReplicaId).collect();
        let mut all = Hashes { corrupt: corrupt.iter().copied().map(ReplicaId).collect(), ..Hashes::default() };
        all.set_voters(ids.iter().copied().collect(), BTreeSet::new());
        ids.iter().zip(hashes).for_each(|(id, hash)| all.note(AT, *id, *hash));
        ids.iter().map(|id| all.verdict(AT, *id)).collect()
    }

    #[test]
    fn the_minority_is_corrupt() {
        use Verdict::{Corrupt, Open};
        assert_eq!(verdicts(&[7, 7], &[]), [Open, Open]);
        assert_eq!(verdicts(&[7, 7, 5], &[]), [Open, Open, Corrupt]);
        assert_eq!(verdicts(&[7, 5, 7, 7, 6], &[]), [Open, Corrupt, Open, Open, Corrupt]);
    }

    #[test]
    fn each_half_must_do_without_the_one_that_gives_up() {
        let without_first = |incoming: &[u64], outgoing: &[u64], corrupt: &[u64]| {
            let ids = |ids: &[u64]| ids.iter().copied().map(ReplicaId).collect::<BTreeSet<_>>();
            let mut hashes = Hashes { corrupt: ids(corrupt), ..Hashes::default() };
            hashes.set_voters(ids(incoming), ids(outgoing));
            hashes.is_majority_without(ReplicaId(1))
        };
        assert!(without_first(&[1, 2, 3], &[], &[]));
        assert!(!without_first(&[1, 2, 3], &[], &[3]));
        assert!(!without_first(&[1, 2], &[], &[]));
        assert!(without_first(&[1, 2, 3], &[1, 2, 4], &[]));
        assert!(!without_first(&[1, 3], &[1, 2], &[]), "of each half one is left, and that is no majority");
        assert!(!without_first(&[1, 2, 3], &[1, 2], &[]));
    }

    #[test]
    fn without_a_majority_nobody_goes_on() {
        for hashes in [&[7, 5][..], &[7, 5, 6], &[7, 7, 5, 5]] {
            assert!(verdicts(hashes, &[]).into_iter().all(|verdict| verdict == Verdict::NoMajority), "{hashes:?}");
        }
    }

    #[test]
    fn who_has_not_reported_may_still_decide() {
        let mut hashes = Hashes::default();
        hashes.set_voters([1, 2, 3].map(ReplicaId).into(), BTreeSet::new());
        hashes.note(AT, ReplicaId(1), 7);
        hashes.note(AT, ReplicaId(2), 5);
        assert_eq!(hashes.verdict(AT, ReplicaId(1)), Verdict::Open);
        // It leaves: the two who are left can't say who is right.
        hashes.set_voters([1, 2].map(ReplicaId).into(), BTreeSet::new());
        assert_eq!(hashes.verdict(AT, ReplicaId(1)), Verdict::NoMajority);
    }

    #[test]
    fn who_is_known_to_be_corrupt_counts_no_more() {
        use Verdict::{Corrupt, NoMajority, Open};
        assert_eq!(verdicts(&[7, 5], &[2])[..1], [Open]);
        assert_eq!(verdicts(&[7, 7, 5], &[3])[..2], [Open, Open]);
        assert_eq!(verdicts(&[7, 6, 5], &[3])[..2], [NoMajority, NoMajority]);
        assert_eq!(verdicts(&[7, 5, 7, 5, 5], &[4, 5])[..3], [Open, Corrupt, Open]);
    }
}
