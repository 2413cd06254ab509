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
    eraftpb::{ConfState, EntryType, MessageType},
};

use super::{
    conf, convert,
    log::{ReplicaLog, SnapshotPoint},
    logger::logger,
    reads::ReadQueue,
};
use crate::faults::Faults;
use crate::machine::codec;
use crate::types::{Draw, GroupId, Incarnation, LogIndex, ReplicaId, Term, Timestamp};

/// The largest Raft message's entries, in bytes; one larger entry still goes alone. With framing it stays far
/// below the stream's 16 MiB.
const MAX_MESSAGE_BYTES: u64 = 1 << 20;
/// Appends under way to one follower: deeper only fills buffers.
const MAX_INFLIGHT_MESSAGES: usize = 256;
/// Proposed bytes that are not committed yet; beyond it proposals wait in the group.
const MAX_UNCOMMITTED_BYTES: u64 = 64 << 20;

/// Entries that the next leader may lack when a transfer begins: a round trip or two of a busy shard.
const TRANSFER_LAG: u64 = 256;

/// What a replica is made from.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// The group.
    pub group: GroupId,
    /// The group's generation: it rises when a lost group is formed anew.
    pub generation: u64,
    /// This peer's id.
    pub replica: ReplicaId,
    /// The node's life, which makes read contexts unique.
    pub incarnation: Incarnation,
    /// What it begins with.
    pub origin: Origin,
    /// Election timeouts are drawn from `[n, 2n)` ticks.
    pub election_ticks: usize,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// Decides every election timeout.
    pub seed: u64,
}

/// The index that every group's log starts behind: its first entry is the next one. Never 0, so that a replica that
/// begins with nothing lacks something in every log, and is sent a snapshot.
pub const FIRST_INDEX: LogIndex = LogIndex(1);
/// The term of that index.
pub const FIRST_TERM: Term = Term(1);

/// What a replica begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is one of the group's first replicas: all of them begin at [`FIRST_INDEX`] with this configuration. The
    /// state machine must be told that this index is applied.
    First {
        /// Who votes; not empty.
        voters: Vec<ReplicaId>,
        /// Who learns.
        learners: Vec<ReplicaId>,
    },
    /// It comes later: it belongs to no configuration and never stands for election until a snapshot tells it one.
    Empty,
}

impl Origin {
    fn begin(&self) -> (SnapshotPoint, ConfState) {
        let ids = |replicas: &[ReplicaId]| replicas.iter().map(|id| id.0).collect();
        match self {
            Self::First { voters, learners } => {
                let conf = ConfState { voters: ids(voters), learners: ids(learners), ..Default::default() };
                (SnapshotPoint { index: FIRST_INDEX.0, term: FIRST_TERM.0 }, conf)
            }
            Self::Empty => (SnapshotPoint { index: 0, term: 0 }, ConfState::default()),
        }
    }
}

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
    reads: ReadQueue<R>,
    /// Times that came with answers to our read contexts, until raft-rs hands the context out.
    read_times: BTreeMap<Bytes, Timestamp>,
    pub(super) standing: Standing,
    pub(super) faults: Faults,
}

impl<R> Replica<R> {
    /// A replica with no entry in its log.
    ///
    /// # Panics
    ///
    /// When the timings or the first configuration are not ones that raft-rs takes; `config` and the cluster map are
    /// checked long before.
    #[must_use]
    pub fn new(config: ReplicaConfig) -> Self {
        let (base, conf) = config.origin.begin();
        let log = ReplicaLog::new(base, conf);
        let raft_config = Config {
            id: config.replica.0,
            applied: base.index,
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
        let reads = ReadQueue::new(config.replica, config.incarnation);
        let standing =
            Standing { role: Role::Follower, term: Term(0), leader: None, commit: LogIndex(0), last: LogIndex(0) };
        let mut replica = Self { config, raw, reads, read_times: BTreeMap::new(), standing, faults: Faults::none() };
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

    /// What it was made from.
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
        self.raw.tick();
        let patience = self.config.heartbeat_ticks as u32 * 2 + 1;
        self.reads.tick(patience);
        self.settle();
    }

    /// Stands for election now instead of waiting for a timeout; a learner does not.
    pub fn campaign(&mut self) {
        // raft-rs looks whether it may lead only when a timeout ends: told to, a learner stands, and wins.
        if self.raw.raft.promotable() {
            // An error only says that it was dropped; then there is nothing to do.
            let _ = self.raw.campaign();
        }
        self.settle();
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
        if message.get_msg_type() == MessageType::MsgReadIndexResp
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

    /// What is to be done next; `None` when nothing is. Storage is memory, so what it says is also persisted.
    pub fn poll(&mut self, next_stamp: Timestamp) -> Option<Output<R>> {
        self.issue_reads();
        if !self.raw.has_ready() {
            return None;
        }
        let mut ready = self.raw.ready();
        let mut messages = ready.take_messages();
        let install = self.take_snapshot(&ready);
        self.raw.mut_store().append(ready.take_entries());
        if let Some(hard_state) = ready.hs() {
            self.raw.mut_store().set_hard_state(hard_state.clone());
        }
        messages.append(&mut ready.take_persisted_messages());
        let committed = ready.take_committed_entries().into_iter().map(committed).collect();
        let answers = ready.take_read_states();
        let number = ready.number();
        self.raw.advance_append_async(ready);
        self.raw.on_persist_ready(number);
        self.settle();
        let reads = answers.into_iter().filter_map(|state| self.answer(state, next_stamp)).collect();
        let messages = messages.into_iter().map(|message| self.to_wire(message, next_stamp)).collect();
        Some(Output { install, messages, committed, reads })
    }

    /// Everything up to `index` is applied.
    pub fn applied(&mut self, index: LogIndex) {
        self.raw.advance_apply_to(index.0);
        self.settle();
    }

    fn take_snapshot(&mut self, ready: &raft::Ready) -> Option<SnapshotPoint> {
        let meta = ready.snapshot().get_metadata();
        let point = SnapshotPoint { index: meta.index, term: meta.term };
        if point.index == 0 {
            return None;
        }
        self.raw.mut_store().reset_to(ready.snapshot());
        Some(point)
    }

    fn issue_reads(&mut self) {
        let may = match self.standing.role {
            // Before a commit in its term a leader would drop the read without a word (PROTOCOL 6).
            Role::Leader => self.raw.raft.commit_to_current_term(),
            Role::Follower => self.standing.leader.is_some(),
            Role::Candidate => false,
        };
        if may && let Some(context) = self.reads.next_round() {
            self.raw.read_index(context);
        }
    }

    fn answer(&mut self, state: raft::ReadState, next_stamp: Timestamp) -> Option<ReadAnswer<R>> {
        let told = self.read_times.remove(state.request_ctx.as_slice());
        // Without a time the reads stay queued, and are asked for again.
        let now = if self.is_leader() { next_stamp } else { told? };
        let reads = self.reads.take(&state.request_ctx)?;
        Some(ReadAnswer { index: LogIndex(state.index), now, reads })
    }

    fn to_wire(&self, message: raft::eraftpb::Message, next_stamp: Timestamp) -> v1::RaftMessage {
        let is_read_answer = message.get_msg_type() == MessageType::MsgReadIndexResp;
        let mut wire = convert::to_wire(self.config.group.0, self.config.generation, message);
        if is_read_answer {
            wire.read_now_ms = next_stamp.0;
        }
        wire
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

    /// Drops the log up to and including an applied index.
    pub fn truncate_to(&mut self, index: LogIndex) {
        self.raw.mut_store().truncate_to(index.0);
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

fn committed(entry: raft::eraftpb::Entry) -> Committed {
    let (index, term) = (LogIndex(entry.index), Term(entry.term));
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal if entry.data.is_empty() => CommittedKind::Empty,
        EntryType::EntryNormal => CommittedKind::Normal(entry.data),
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
            CommittedKind::ConfChange { context: entry.context }
        }
    };
    Committed { index, term, kind }
}
