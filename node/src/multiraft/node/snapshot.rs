//! Snapshots of a group for replicas that the log can't bring up to date any more (PROTOCOL 13, 17, 18).
//!
//! A capture runs in steps between turns. Finished, it is offered to raft-rs until nobody has asked for it for a
//! while. Its bytes are those of a checkpoint; they travel outside the stream of frames.

use std::collections::BTreeSet;

use bytes::Bytes;
use crema_api::v1;

use super::{
    Node, NodeConfig,
    checkpoints::Piece,
    conf::conf_to_wire,
    group::{Env, Group, State},
    out::SendSnapshot,
    received::Staged,
};
use crate::{
    checkpoint::{self, Encoder},
    consensus::SnapshotPoint,
    faults::Fault,
    machine::{
        capture::{CaptureStep, MachineHead},
        store::EntryStore,
    },
    types::{GroupId, LogIndex, NodeId, ReplicaId, Term},
};

/// An offered snapshot is dropped when it was not sent for so many ticks.
const KEEP_TICKS: u64 = 200;
/// While a snapshot is under way the log is kept for its receiver, up to this many times its usual bounds.
const PATIENCE_FACTOR: usize = 8;

/// Snapshots in the making, on offer and on their way.
pub(super) struct Snapshots<S> {
    capturing: Option<Capturing>,
    offered: Option<Offered>,
    in_flight: BTreeSet<ReplicaId>,
    /// Until then the log is kept for whoever has just got a snapshot and asks for what follows it.
    grace_until: u64,
    /// Received and whole, until raft-rs takes it.
    pub(super) staged: Option<Staged<S>>,
    /// Peers that could not be sent entries to.
    pub(super) unreachable: BTreeSet<ReplicaId>,
    /// Sends that failed at once and must be reported.
    failed: BTreeSet<ReplicaId>,
    now_tick: u64,
}

struct Capturing {
    point: SnapshotPoint,
    /// The configuration at the point.
    conf: v1::ConfState,
    encoder: Encoder,
    target: Target,
}

/// Whether a group has a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capture {
    None,
    GoesOn,
    /// For room where checkpoints are written.
    Waits,
}

/// Where a capture goes.
pub(super) enum Target {
    /// To replicas that need it: all of it is kept.
    Peers(Vec<Bytes>),
    /// To this node's disk, piece by piece.
    Disk,
}

struct Offered {
    point: SnapshotPoint,
    chunks: Vec<Bytes>,
    last_use_tick: u64,
}

impl<S> Default for Snapshots<S> {
    fn default() -> Self {
        Self {
            capturing: None,
            offered: None,
            in_flight: BTreeSet::new(),
            grace_until: 0,
            staged: None,
            unreachable: BTreeSet::new(),
            failed: BTreeSet::new(),
            now_tick: 0,
        }
    }
}

impl<S> Snapshots<S> {
    pub(super) fn forget_staged(&mut self) {
        self.staged = None;
    }

    /// Whether a finished snapshot is kept for those who ask.
    pub(super) fn is_offering(&self) -> bool {
        self.offered.is_some()
    }

    pub(super) fn age(&mut self, tick: u64) {
        self.now_tick = tick;
    }
}

impl<S: EntryStore> Group<S> {
    pub(super) fn is_capturing(&self) -> bool {
        self.snapshots.capturing.is_some()
    }

    /// Whether there is a capture, and whether it may make a step.
    pub(super) fn capture(&self, env: &Env<'_>) -> Capture {
        match self.snapshots.capturing.as_ref().map(|capturing| &capturing.target) {
            None => Capture::None,
            Some(Target::Disk) if !env.checkpoint_room => Capture::Waits,
            Some(Target::Disk | Target::Peers(_)) => Capture::GoesOn,
        }
    }

    /// Begins, continues and ends captures; tells raft-rs what became of sends.
    pub(super) fn work_on_snapshot(&mut self, env: &mut Env<'_>) {
        for peer in std::mem::take(&mut self.snapshots.unreachable) {
            self.replica.report_unreachable(peer);
        }
        for peer in std::mem::take(&mut self.snapshots.failed) {
            self.replica.report_snapshot(peer, false);
        }
        self.drop_unused_offer();
        if self.replica.wants_snapshot() && self.health.is_serving() {
            // Nobody waits for a disk that takes nothing.
            if self.capture(env) == Capture::Waits {
                self.abandon_checkpoint(env);
            }
            if !self.is_capturing() {
                self.begin_capture(Target::Peers(Vec::new()), env);
            }
        }
        self.continue_capture(env);
    }

    fn drop_unused_offer(&mut self) {
        let now = self.snapshots.now_tick;
        let unused = |offered: &Offered| now > offered.last_use_tick + KEEP_TICKS;
        if self.snapshots.in_flight.is_empty() && self.snapshots.offered.as_ref().is_some_and(unused) {
            self.offer_no_snapshot();
        }
    }

    pub(super) fn offer_no_snapshot(&mut self) {
        self.snapshots.offered = None;
        self.replica.offer_snapshot(None);
        if self.snapshots.capturing.take_if(|capturing| matches!(capturing.target, Target::Peers(_))).is_some()
            && let Some(machine) = self.machine_mut()
        {
            machine.cancel_capture();
        }
    }

    /// A checkpoint that is not whole yet will never be.
    pub(super) fn abandon_checkpoint(&mut self, env: &mut Env<'_>) {
        if let Some(point) = self.cancel_checkpoint() {
            self.checkpoints.writing = None;
            self.write_checkpoint(point, Piece::Abandon, env);
        }
    }

    /// Ends a capture for the disk.
    pub(super) fn cancel_checkpoint(&mut self) -> Option<SnapshotPoint> {
        let for_disk = |capturing: &mut Capturing| matches!(capturing.target, Target::Disk);
        let Capturing { point, .. } = self.snapshots.capturing.take_if(for_disk)?;
        if let Some(machine) = self.machine_mut() {
            machine.cancel_capture();
        }
        Some(point)
    }

    pub(super) fn begin_capture(&mut self, mut target: Target, env: &mut Env<'_>) {
        let applied = self.applied();
        // Without a state there is nothing to give.
        if self.is_infant() {
            return;
        }
        let Some(term) = self.replica.term_at(applied) else { return };
        let point = SnapshotPoint { index: applied.0, term: term.0 };
        let head = self.checkpoint_head(point);
        if let State::Shard(machine) = &mut self.state {
            machine.begin_capture();
        }
        let (encoder, first) = Encoder::with_compression(&head, env.config.compression);
        match &mut target {
            Target::Peers(chunks) => chunks.push(first),
            Target::Disk => {
                self.checkpoints.begin(point, env.tick);
                self.write_checkpoint(point, Piece::Begin(first), env);
            }
        }
        self.snapshots.capturing = Some(Capturing { point, conf: conf_to_wire(&head.conf), encoder, target });
    }

    fn checkpoint_head(&self, point: SnapshotPoint) -> checkpoint::Head {
        let (machine, map) = match &self.state {
            State::Shard(machine) => (machine.head(), None),
            State::Meta(meta) => {
                let head = MachineHead { applied: meta.applied, log_time: meta.log_time, ..MachineHead::default() };
                (head, Some(v1::ClusterMap::from(meta.map.as_ref())))
            }
        };
        checkpoint::Head {
            cluster: self.uid,
            group: self.id,
            generation: self.generation,
            feature_level: self.feature_level,
            term: Term(point.term),
            conf: self.conf.clone(),
            conf_version: self.conf_version,
            peers: self.peer_table.clone(),
            machine,
            map,
        }
    }

    fn continue_capture(&mut self, env: &mut Env<'_>) {
        let step = self.limits.capture_step;
        match self.capture(env) {
            Capture::None | Capture::Waits => return,
            Capture::GoesOn => {}
        }
        let (entries, last) = match &mut self.state {
            State::Meta(_) => (Vec::new(), true),
            State::Shard(machine) => match machine.capture_step(step) {
                CaptureStep::Entries(entries) => (entries, false),
                CaptureStep::Last(entries) => (entries, true),
                CaptureStep::Done => {
                    self.abandon_checkpoint(env);
                    return self.offer_no_snapshot();
                }
            },
        };
        let Some(mut capturing) = self.snapshots.capturing.take() else { return };
        if !entries.is_empty() {
            let block = capturing.encoder.block(&entries);
            match &mut capturing.target {
                Target::Peers(chunks) => chunks.push(block),
                Target::Disk => self.write_checkpoint(capturing.point, Piece::Block(block), env),
            }
        }
        match last {
            true => self.finish_capture(capturing, env),
            false => self.snapshots.capturing = Some(capturing),
        }
    }

    /// Offers or publishes the capture, if what was written is what the state was (PROTOCOL 18). If not, the state itself
    /// is not what its hash says: this replica could never give a snapshot, so somebody else must lead.
    fn finish_capture(&mut self, capturing: Capturing, env: &mut Env<'_>) {
        let Capturing { point, conf, encoder, target } = capturing;
        let (footer, chunks) = match (encoder.finish(), target) {
            (Ok(footer), Target::Peers(chunks)) => (footer, chunks),
            (Ok(footer), Target::Disk) => {
                if env.config.faults.has(Fault::TruncationBeforeCheckpoint) {
                    self.checkpoints.trust(LogIndex(point.index));
                }
                return self.write_checkpoint(point, Piece::End(footer), env);
            }
            (Err(mismatch), target) => {
                tracing::error!(group = %self.id, %mismatch, "a capture is not what the state was; dropped");
                if matches!(target, Target::Disk) {
                    self.checkpoints.writing = None;
                    self.write_checkpoint(point, Piece::Abandon, env);
                }
                return self.note_corrupt(LogIndex(point.index), env);
            }
        };
        let chunks = chunks.into_iter().chain([footer]).collect();
        let last_use_tick = self.snapshots.now_tick;
        self.snapshots.grace_until = last_use_tick + KEEP_TICKS;
        self.snapshots.offered = Some(Offered { point, chunks, last_use_tick });
        self.replica.offer_snapshot(Some((point, conf)));
    }

    /// Streams the offered snapshot to a replica.
    pub(super) fn send_snapshot(&mut self, to: ReplicaId, node: NodeId, message: v1::RaftMessage, env: &mut Env<'_>) {
        let index = message.snapshot.as_ref().map_or(0, |meta| meta.index);
        let Some(offered) = self.snapshots.offered.as_mut().filter(|offered| offered.point.index == index) else {
            self.snapshots.failed.insert(to);
            return;
        };
        offered.last_use_tick = env.tick;
        let chunks = offered.chunks.clone();
        self.snapshots.in_flight.insert(to);
        self.counters.snapshots_sent += 1;
        env.out.snapshot(SendSnapshot { group: self.id, to, node, message, chunks });
    }

    /// Cuts the log behind what everybody here has applied, keeping a tail for followers that are a little late.
    /// On a disk nothing goes that a restart from the older checkpoint would need.
    pub(super) fn keep_log_short(&mut self, config: &NodeConfig) {
        let (entries, bytes) = self.replica.log_size();
        let (max_entries, max_bytes) = (self.limits.log_entries, self.limits.log_bytes);
        let patient = self.is_capturing()
            || !self.snapshots.in_flight.is_empty()
            || self.snapshots.now_tick < self.snapshots.grace_until;
        let hasty = config.faults.has(Fault::StaleCheckpoint);
        let factor = if patient && !hasty { PATIENCE_FACTOR } else { 1 };
        if entries <= max_entries * factor && bytes <= max_bytes * factor {
            return;
        }
        let keep = if bytes > max_bytes * factor { 0 } else { max_entries as u64 / 2 };
        let applied = self.applied().0;
        let tail = applied.saturating_sub(keep);
        // Followers that are close keep what they need; those that are far behind get a snapshot anyway.
        let near = |matched: &u64| applied.saturating_sub(*matched) < max_entries as u64 / 2;
        let nearest = self.replica.matches().iter().map(|(_, matched)| matched.0).filter(near).min();
        let cut = if self.replica.is_leader() && !hasty { tail.min(nearest.unwrap_or(tail)) } else { tail };
        let cut = if config.durable { cut.min(self.checkpoints.keep_from().0) } else { cut };
        self.replica.truncate_to(LogIndex(cut));
    }
}

impl<S: EntryStore> Node<S> {
    pub(super) fn on_snapshot_sent(&mut self, id: GroupId, to: ReplicaId, ok: bool) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        if group.snapshots.in_flight.remove(&to) {
            group.snapshots.grace_until = group.snapshots.now_tick + KEEP_TICKS;
            group.replica.report_snapshot(to, ok);
            self.dirty.insert(id);
        }
    }
}
