//! The replica itself. One instance is one Raft peer in one life.
//!
//! Driven by `multiraft::node`: inputs through [`Replica::tick`], [`Replica::step`], [`Replica::propose`] and
//! [`Replica::read`], then [`Replica::poll`] until it has nothing more. Never call anything between a poll and
//! [`Replica::applied`] for what it returned.

use std::collections::BTreeMap;

use bytes::Bytes;
use crema_api::v1;
use raft::{
    Config, RawNode, ReadOnlyOption, SnapshotStatus, StateRole,
    eraftpb::{EntryType, MessageType},
};

use super::{
    conf, convert,
    journal::Journal,
    log::{ReplicaLog, SnapshotPoint},
    logger::logger,
    origin::{Origin, ReplicaConfig},
    persist::Persist,
    reads::ReadQueue,
};
use crate::faults::Faults;
use crate::machine::codec;
use crate::types::{Draw, LogIndex, ReplicaId, Term, Timestamp};

/// The largest Raft message's entries, in bytes; one larger entry still goes alone. With framing it stays far
/// below the stream's 16 MiB.
const MAX_MESSAGE_BYTES: u64 = 1 << 20;
/// Appends under way to one follower: deeper only fills buffers.
const MAX_INFLIGHT_MESSAGES: usize = 256;
/// Proposed bytes that are not committed yet; beyond it proposals wait in the group.
const MAX_UNCOMMITTED_BYTES: u64 = 64 << 20;

/// Entries that the next leader may lack when a transfer begins: a round trip or two of a busy shard.
const TRANSFER_LAG: u64 = 256;

/// What a replica is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Proposes and answers.
    Leader,
    /// Follows a leader, known or not.
    Follower,
    /// Asks to lead.
    Candidate,
}

/// Where a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader it knows, itself included.
    pub leader: Option<ReplicaId>,
    /// The highest committed index it knows.
    pub commit: LogIndex,
    /// The last index of its log.
    pub last: LogIndex,
}

/// A proposal that raft-rs did not take: it is in no log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped;

/// A committed entry, to be applied in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its position.
    pub index: LogIndex,
    /// The term in which it was proposed.
    pub term: Term,
    /// What it is.
    pub kind: CommittedKind,
}

/// What a committed entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommittedKind {
    /// A new leader's empty entry.
    Empty,
    /// What was proposed.
    Normal(Bytes),
    /// A change of the configuration; without [`Replica::apply_conf`] it has no effect.
    ConfChange {
        /// [`ConfChange::encode`](super::ConfChange::encode)'s bytes.
        context: Bytes,
    },
}

/// Reads that may be answered once `index` is applied here.
#[derive(Debug, PartialEq, Eq)]
pub struct ReadAnswer<R> {
    /// Every write acknowledged before the reads came is at or below it.
    pub index: LogIndex,
    /// The next stamp that the leader would have used (PROTOCOL 2).
    pub now: Timestamp,
    /// The reads.
    pub reads: Vec<R>,
}

/// What one poll asks for, in the order of the fields.
#[derive(Debug)]
pub struct Output<R> {
    /// To be made durable, with the number for [`Replica::persisted`]; never in memory mode.
    pub persist: Option<(u64, Persist)>,
    /// A snapshot that was received takes the state's place.
    pub install: Option<SnapshotPoint>,
    /// To peers.
    pub messages: Vec<v1::RaftMessage>,
    /// To be applied.
    pub committed: Vec<Committed>,
    /// Reads whose index is known.
    pub reads: Vec<ReadAnswer<R>>,
}

/// One replica; `R` is what a waiting read is to the caller.
pub struct Replica<R> {
    pub(super) config: ReplicaConfig,
    pub(super) raw: RawNode<ReplicaLog>,
    pub(super) reads: ReadQueue<R>,
    /// Times that came with answers to our read contexts, until raft-rs hands the context out.
    pub(super) read_times: BTreeMap<Bytes, Timestamp>,
    pub(super) journal: Journal,
    pub(super) standing: Standing,
    pub(super) faults: Faults,
}

impl<R> Replica<R> {
    /// A replica at its beginning, or as its disk has it.
    ///
    /// # Panics
    ///
    /// When the timings or the first configuration are not ones that raft-rs takes; `config` and the cluster map are
    /// checked long before.
    #[must_use]
    pub fn new(mut config: ReplicaConfig) -> Self {
        let origin = std::mem::replace(&mut config.origin, Origin::Empty);
        let on_disk = matches!(&origin, Origin::Recovered(recovered) if !recovered.is_reset());
        let (log, applied) = origin.begin();
        let journal = Journal::new(config.durable, (!on_disk).then(|| log.base()));
        let raft_config = Config {
            id: config.replica.0,
            applied: applied.index,
            election_tick: config.election_ticks,
            heartbeat_tick: config.heartbeat_ticks,
            min_election_tick: config.election_ticks,
            max_election_tick: config.election_ticks * 2,
            max_size_per_msg: MAX_MESSAGE_BYTES,
            max_inflight_msgs: MAX_INFLIGHT_MESSAGES,
            max_uncommitted_size: MAX_UNCOMMITTED_BYTES,
            check_quorum: true,
            pre_vote: true,
            // Never on: raft-rs 0.7 then joins entries to an empty append under way without a look at its index. When
            // a late rejection has set `next` back, the follower gets an append whose first entry is not the one
            // after its index, acknowledges one entry too many, and a write is lost (simulator, seed 83).
            batch_append: false,
            read_only_option: ReadOnlyOption::Safe,
            ..Config::default()
        };
        let raw = RawNode::new(&raft_config, log, &logger()).expect("what was checked long before");
        let reads = ReadQueue::new(config.replica, config.incarnation, config.boot);
        let standing =
            Standing { role: Role::Follower, term: Term(0), leader: None, commit: LogIndex(0), last: LogIndex(0) };
        let (read_times, faults) = (BTreeMap::new(), Faults::none());
        let mut replica = Self { config, raw, reads, read_times, journal, standing, faults };
        if on_disk {
            replica.journal.knows_term(replica.raw.raft.term);
        }
        replica.settle();
        replica
    }

    /// Plants bugs; only the simulator does.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
        self.raw.mut_store().set_faults(faults);
    }

    /// Where it stands now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// What it was made from; its origin is spent.
    #[must_use]
    pub fn config(&self) -> &ReplicaConfig {
        &self.config
    }

    /// Whether it leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.standing.role == Role::Leader
    }

    /// Whether it leads and may take proposals now: none while the leadership is being handed over.
    #[must_use]
    pub fn takes_proposals(&self) -> bool {
        self.is_leader() && self.raw.raft.lead_transferee.is_none()
    }

    /// Whether a leadership transfer is under way.
    #[must_use]
    pub fn is_transferring(&self) -> bool {
        self.raw.raft.lead_transferee.is_some()
    }

    /// Whether it is the only voter, so that whatever it has applied is all there is. Never in a joint configuration.
    #[must_use]
    pub fn is_sole_voter(&self) -> bool {
        self.raw.raft.prs().is_singleton() && self.is_leader()
    }

    /// One tick of the Raft clock.
    pub fn tick(&mut self) {
        if self.may_stand() {
            self.raw.tick();
        }
        let patience = self.config.heartbeat_ticks as u32 * 2 + 1;
        self.reads.tick(patience);
        self.settle();
    }

    /// Stands for election now instead of waiting for a timeout; a learner does not.
    pub fn campaign(&mut self) {
        // raft-rs looks whether it may lead only when a timeout ends: told to, a learner stands, and wins.
        if self.raw.raft.promotable() && self.may_stand() {
            // An error only says that it was dropped; then there is nothing to do.
            let _ = self.raw.campaign();
        }
        self.settle();
    }

    /// Whether nobody else votes.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.raw.raft.prs().is_singleton() && self.raw.raft.promotable()
    }

    /// Whether it may try to lead now. The only voter leads at once, without a word to anybody, and raft-rs wants all of
    /// its log synced by then. While a received snapshot is on its way to the disk, what raft-rs has applied lies before its
    /// log, and an election would have it read entries that are gone.
    fn may_stand(&self) -> bool {
        if self.journal.is_installing() {
            return false;
        }
        let log = &self.raw.raft.raft_log;
        let alone = self.is_alone() && !self.is_leader();
        !alone || log.persisted == log.last_index()
    }

    /// A message from a peer, fenced already. The error is for the log: the message had no effect.
    pub fn step(&mut self, message: v1::RaftMessage) -> Result<(), String> {
        let read_now = Timestamp(message.read_now_ms);
        let message = convert::from_wire(message).map_err(|error| error.to_string())?;
        self.check(&message)?;
        // raft-rs takes it on trust that the entries follow the index, and acknowledges by counting them.
        if message.get_msg_type() == MessageType::MsgAppend
            && message.entries.iter().zip(1..).any(|(entry, n)| message.index.checked_add(n) != Some(entry.index))
        {
            return Err(format!("an append after {} holds other entries", message.index));
        }
        // 0: the leader knows no time.
        if message.get_msg_type() == MessageType::MsgReadIndexResp
            && read_now > Timestamp(0)
            && let Some(entry) = message.entries.first()
        {
            self.read_times.insert(entry.data.clone(), read_now);
        }
        let stepped = self.raw.step(message);
        self.settle();
        match stepped {
            // Answers from a peer that has left meanwhile.
            Ok(()) | Err(raft::Error::StepPeerNotFound) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Refuses what would make raft-rs panic.
    fn check(&self, message: &raft::eraftpb::Message) -> Result<(), String> {
        let entries = message.entries.len();
        match message.get_msg_type() {
            MessageType::MsgReadIndex | MessageType::MsgReadIndexResp if entries != 1 => {
                Err(format!("a read index with {entries} contexts"))
            }
            MessageType::MsgHeartbeat
                if message.term >= self.standing.term.0 && message.commit > self.standing.last.0 =>
            {
                Err(format!("a heartbeat commits {}; the log ends at {}", message.commit, self.standing.last))
            }
            MessageType::MsgTimeoutNow if !self.may_stand() => Err("its log is not synced yet".to_owned()),
            MessageType::MsgAppend if message.index == u64::MAX => Err("an append after the last index".to_owned()),
            MessageType::MsgSnapshot => conf::check_conf(message.get_snapshot().get_metadata().get_conf_state()),
            _ => Ok(()),
        }
    }

    /// The snapshot that raft has taken and that is not installed yet.
    #[must_use]
    pub fn pending_snapshot(&self) -> Option<SnapshotPoint> {
        let meta = self.raw.raft.raft_log.unstable.snapshot.as_ref()?.get_metadata();
        Some(SnapshotPoint { index: meta.index, term: meta.term })
    }

    /// Appends an entry to the leader's log and says where; it is committed, overwritten or lost later.
    pub fn propose(&mut self, data: Vec<u8>) -> Result<(LogIndex, Term), Dropped> {
        if !self.takes_proposals() {
            return Err(Dropped);
        }
        self.raw.propose(Vec::new(), data).map_err(|_| Dropped)?;
        self.settle();
        Ok((self.standing.last, self.standing.term))
    }

    /// Queues a linearizable read; it comes back in an [`Output`], or from [`Self::drop_reads`].
    pub fn read(&mut self, read: R) {
        self.reads.push(read);
    }

    /// How many reads wait for their index.
    #[must_use]
    pub fn pending_reads(&self) -> usize {
        self.reads.len()
    }

    /// Gives back the waiting reads for which `expired` holds.
    pub fn drop_reads(&mut self, expired: impl Fn(&R) -> bool) -> Vec<R> {
        self.reads.remove(expired)
    }

    /// After every call into raft-rs: a seeded election timeout in the place of its random one, and reads that
    /// lost their leader go back to the queue.
    pub(super) fn settle(&mut self) {
        let raft = &mut self.raw.raft;
        let role = match raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Follower => Role::Follower,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
        };
        let n = self.config.election_ticks;
        // A pure function of (seed, replica, term, state): a draw of raft-rs's own can never be mistaken for it.
        let mut draw = Draw::new(
            self.config.seed ^ self.config.replica.0.rotate_left(32) ^ raft.term ^ ((raft.state as u64) << 60),
        );
        raft.set_randomized_election_timeout(n + draw.below(n as u64) as usize);
        let standing = Standing {
            role,
            term: Term(raft.term),
            leader: (raft.leader_id != 0).then_some(ReplicaId(raft.leader_id)),
            commit: LogIndex(raft.raft_log.committed),
            last: LogIndex(raft.raft_log.last_index()),
        };
        if (standing.term, standing.leader) != (self.standing.term, self.standing.leader) {
            self.reads.reissue_all();
            self.read_times.clear();
        }
        self.standing = standing;
    }

    // ---- the log and snapshots ----

    /// Entries and bytes of the log in memory.
    #[must_use]
    pub fn log_size(&self) -> (usize, usize) {
        (self.raw.store().len(), self.raw.store().bytes())
    }

    /// The index before the first entry of the log.
    #[must_use]
    pub fn truncated_to(&self) -> LogIndex {
        LogIndex(self.raw.store().base().index)
    }

    /// The term of an entry that the log still has (or ends behind).
    #[must_use]
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.raw.raft.raft_log.term(index.0).ok().map(Term)
    }

    /// The stamps of the entries behind `index`, committed or not.
    #[must_use]
    pub fn stamps_after(&self, index: LogIndex) -> Vec<Timestamp> {
        let context = raft::GetEntriesContext::empty(false);
        let entries = self.raw.raft.raft_log.entries(index.0 + 1, None, context).unwrap_or_default();
        // The data of a conf change is raft-rs's.
        let normal = entries.iter().filter(|entry| entry.get_entry_type() == EntryType::EntryNormal);
        normal.filter_map(|entry| codec::peek_stamp(&entry.data)).collect()
    }

    /// Drops the log up to and including an applied index. On a disk that happens with the next write.
    pub fn truncate_to(&mut self, index: LogIndex) {
        self.raw.mut_store().truncate_to(index.0);
        self.journal.truncate_to(self.truncated_to());
    }

    /// Whether a follower needs a snapshot and none was offered that serves.
    #[must_use]
    pub fn wants_snapshot(&self) -> bool {
        self.raw.store().take_wanted()
    }

    /// Offers a complete snapshot with the configuration *at its index*, which may be an earlier one than
    /// [`Self::conf`]; `None` takes the offer back.
    pub fn offer_snapshot(&mut self, snapshot: Option<(SnapshotPoint, v1::ConfState)>) {
        let snapshot = snapshot.map(|(point, conf)| (point, convert::conf_from_wire(conf)));
        self.raw.mut_store().offer(snapshot);
    }

    /// How sending a snapshot ended; without it raft-rs waits for ever.
    pub fn report_snapshot(&mut self, to: ReplicaId, ok: bool) {
        self.raw.report_snapshot(to.0, if ok { SnapshotStatus::Finish } else { SnapshotStatus::Failure });
        self.settle();
    }

    /// A peer can't be reached: raft-rs probes it instead of streaming to it.
    pub fn report_unreachable(&mut self, peer: ReplicaId) {
        self.raw.report_unreachable(peer.0);
        self.settle();
    }

    // ---- leadership ----

    /// How far each peer's log is known to match, on the leader.
    #[must_use]
    pub fn matches(&self) -> Vec<(ReplicaId, LogIndex)> {
        let mut all: Vec<_> =
            self.raw.raft.prs().iter().map(|(id, progress)| (ReplicaId(*id), LogIndex(progress.matched))).collect();
        all.sort_unstable();
        all
    }

    /// Hands the leadership to a voter that is nearly level; says whether that was begun (PROTOCOL 14). Under load
    /// none is level at any moment, so the last entries are sent within the transfer.
    pub fn transfer_to(&mut self, to: ReplicaId) -> bool {
        // Who votes in the outgoing half only would have to hand it on before the joint configuration can end.
        let voter = self.is_voter(to);
        // raft-rs brings it level while proposals wait, and only then tells it to stand for election.
        let close =
            |(id, matched): &(ReplicaId, LogIndex)| *id == to && matched.0 + TRANSFER_LAG >= self.standing.last.0;
        let close = self.matches().iter().any(close);
        if !self.takes_proposals() || !voter || !close || to == self.config.replica {
            return false;
        }
        self.raw.transfer_leader(to.0);
        self.settle();
        self.is_transferring() || !self.is_leader()
    }

    /// Whether all peers have all of the log, all of it committed and applied, and nothing waits.
    #[must_use]
    pub fn is_level(&self, applied: LogIndex) -> bool {
        let last = self.standing.last;
        self.takes_proposals()
            && self.standing.commit == last
            && applied == last
            && self.reads.len() == 0
            && !self.raw.has_ready()
            && self.matches().iter().all(|(_, matched)| *matched == last)
    }

    /// The Raft clock runs again after a sleep: nobody is late yet, and a leader asks its peers for a sign of life
    /// before it counts them.
    pub fn wake(&mut self) {
        self.raw.raft.election_elapsed = 0;
        if self.is_leader() {
            self.raw.ping();
        }
        self.settle();
    }
}
