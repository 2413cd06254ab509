//! The bugs that the simulator must find: one [`Fault`] for each of PROTOCOL's "Faults to plant".
//!
//! The pure core carries a [`Faults`] and asks it at the one place where the bug would be. Without the feature
//! `planted-faults` the answer is a constant `false` and the compiler removes the question. Never a setting: no
//! configuration, flag or environment variable may switch a fault on.

/// A bug that can be planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The leader answers a write before a quorum has it.
    ReplyBeforeQuorum,
    /// A replica that lost its memory comes back under its old id with an empty log.
    ReplicaIdReused,
    /// A put whose outcome is unknown is proposed again.
    RetryAmbiguousPut,
    /// `apply` judges deadlines by the local clock instead of log time.
    ExpiryByLocalClock,
    /// The leader's reads judge deadlines by its wall clock instead of log time.
    ExpiryByWallClockAtRead,
    /// A linearizable read is answered from the local state without ReadIndex.
    StaleRead,
    /// A follower drops entries that its own tier has let go.
    FollowerLocalEviction,
    /// A reader puts what it read into the tier, perhaps after a write has replaced it.
    ReaderFillsTier,
    /// Replicas take the leader's hash as the truth instead of the majority's.
    LeaderHashTrusted,
    /// `Init` is sent again after every node came back empty.
    InitRepeated,
    /// A learner becomes a voter before it has caught up.
    LearnerPromotedEarly,
    /// Two voters are removed in one step.
    TwoVotersRemoved,
    /// A conf change is applied without a check of the conf version that it expects.
    ConfChangeUnchecked,
    /// A replica that has moved away still answers clients.
    MovedReplicaServes,
    /// A learner is sent a checkpoint that is older than the log's beginning.
    StaleCheckpoint,
    /// A capture runs over a changing map without pre-images.
    FuzzyCapture,
    /// A write is acknowledged before it is synced.
    AcknowledgeBeforeFsync,
    /// Term and vote are used before they are synced.
    HardStateNotSynced,
    /// The log is truncated before the checkpoint that replaces it is synced.
    TruncationBeforeCheckpoint,
    /// Entries above the new last index stay in the log after an overwrite.
    StaleLogTail,
    /// A new incarnation of the leader's node does not wake the groups that it led.
    WakeNotTiedToIncarnation,
    /// What survived of a shard that lost its majority goes on, id and log, in the generation that begins anew.
    LostShardKeepsSurvivor,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 22] = [
        Self::ReplyBeforeQuorum,
        Self::ReplicaIdReused,
        Self::RetryAmbiguousPut,
        Self::ExpiryByLocalClock,
        Self::ExpiryByWallClockAtRead,
        Self::StaleRead,
        Self::FollowerLocalEviction,
        Self::ReaderFillsTier,
        Self::LeaderHashTrusted,
        Self::InitRepeated,
        Self::LearnerPromotedEarly,
        Self::TwoVotersRemoved,
        Self::ConfChangeUnchecked,
        Self::MovedReplicaServes,
        Self::StaleCheckpoint,
        Self::FuzzyCapture,
        Self::AcknowledgeBeforeFsync,
        Self::HardStateNotSynced,
        Self::TruncationBeforeCheckpoint,
        Self::StaleLogTail,
        Self::WakeNotTiedToIncarnation,
        Self::LostShardKeepsSurvivor,
    ];

    /// The name on the simulator's command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReplyBeforeQuorum => "reply-before-quorum",
            Self::ReplicaIdReused => "replica-id-reused",
            Self::RetryAmbiguousPut => "retry-ambiguous-put",
            Self::ExpiryByLocalClock => "expiry-by-local-clock",
            Self::ExpiryByWallClockAtRead => "expiry-by-wall-clock-at-read",
            Self::StaleRead => "stale-read",
            Self::FollowerLocalEviction => "follower-local-eviction",
            Self::ReaderFillsTier => "reader-fills-tier",
            Self::LeaderHashTrusted => "leader-hash-trusted",
            Self::InitRepeated => "init-repeated",
            Self::LearnerPromotedEarly => "learner-promoted-early",
            Self::TwoVotersRemoved => "two-voters-removed",
            Self::ConfChangeUnchecked => "conf-change-unchecked",
            Self::MovedReplicaServes => "moved-replica-serves",
            Self::StaleCheckpoint => "stale-checkpoint",
            Self::FuzzyCapture => "fuzzy-capture",
            Self::AcknowledgeBeforeFsync => "acknowledge-before-fsync",
            Self::HardStateNotSynced => "hard-state-not-synced",
            Self::TruncationBeforeCheckpoint => "truncation-before-checkpoint",
            Self::StaleLogTail => "stale-log-tail",
            Self::WakeNotTiedToIncarnation => "wake-not-tied-to-incarnation",
            Self::LostShardKeepsSurvivor => "lost-shard-keeps-survivor",
        }
    }

    /// The fault of this [`Self::name`].
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }
}

/// The faults that are planted: none, unless a test of a build with the feature `planted-faults` says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults(#[cfg(feature = "planted-faults")] u32);

#[cfg(not(feature = "planted-faults"))]
impl Faults {
    /// No fault.
    #[must_use]
    pub const fn none() -> Self {
        Self()
    }

    /// Whether a fault is planted: never, in this build.
    #[must_use]
    pub const fn has(self, _fault: Fault) -> bool {
        false
    }
}

#[cfg(feature = "planted-faults")]
impl Faults {
    /// No fault.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }

    /// These faults and one more.
    #[must_use]
    pub const fn with(self, fault: Fault) -> Self {
        Self(self.0 | 1 << fault as u32)
    }

    /// Whether a fault is planted.
    #[must_use]
    pub const fn has(self, fault: Fault) -> bool {
        self.0 & (1 << fault as u32) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_back() {
        for fault in Fault::ALL {
            assert_eq!(Fault::parse(fault.name()), Some(fault));
            assert!(!Faults::none().has(fault));
        }
        assert_eq!(Fault::parse("no-such-fault"), None);
    }

    #[cfg(feature = "planted-faults")]
    #[test]
    fn planted_faults_are_told_apart() {
        for planted in Fault::ALL {
            let faults = Faults::none().with(planted);
            assert_eq!(Fault::ALL.into_iter().filter(|&f| faults.has(f)).collect::<Vec<_>>(), [planted]);
        }
    }
}
