//! What comes from other nodes: sessions, and the parts of a frame.

use std::collections::BTreeMap;

use crema_api::v1;

use super::{Node, apply, group::Group, hibernate::Beats, lane_of};
use crate::{
    machine::store::EntryStore,
    types::{GroupId, NodeId, Now, ReplicaId},
};

/// What this node remembers of its peers beside their sessions.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// The highest forward accepted in the present session, by lane: each worker of the other node counts by
    /// itself, and a lane belongs to one worker there as here.
    last_sequence: BTreeMap<(NodeId, u32), u64>,
    /// When each was last heard of, in any life.
    heard: BTreeMap<NodeId, u64>,
    pub(super) beats: Beats,
}

impl Peers {
    /// The session is over, and what belonged to it.
    fn forget(&mut self, peer: NodeId) {
        self.last_sequence.retain(|(node, _), _| *node != peer);
        self.beats.forget(peer);
    }

    /// The tick of the last word of a peer; 0 if there was none.
    pub(super) fn heard_tick(&self, peer: NodeId) -> u64 {
        self.heard.get(&peer).copied().unwrap_or(0)
    }

    /// Whether a forward is new in its session.
    pub(super) fn accept_sequence(&mut self, from: NodeId, group: GroupId, sequence: u64) -> bool {
        let last = self.last_sequence.entry((from, lane_of(group))).or_default();
        let new = sequence > *last;
        *last = sequence.max(*last);
        new
    }
}

impl<S: EntryStore> Node<S> {
    pub(super) fn on_session_up(&mut self, now: Now, peer: NodeId, session: u64) {
        if let Some(old) = self.out.sessions.insert(peer, session) {
            self.lose_forwards(peer, old);
        }
        self.out.leaving.remove(&peer);
        self.peers.forget(peer);
        // Before anything is said on the session each side knows the other's clock (PROTOCOL 3).
        self.send_beat(now, peer);
        self.wake_led_for(now, peer);
        self.park_bounced();
        self.dirty.extend(self.routes.waiting());
    }

    /// A peer with a disk may be another process, which lacks what its last one had not synced. A learner among them can't
    /// stand up for itself, so the leader looks.
    fn wake_led_for(&mut self, now: Now, peer: NodeId) {
        if !self.config.durable {
            return;
        }
        let is_led = |group: &Group<S>| group.is_asleep() && group.replica.is_leader();
        let has_it = |group: &Group<S>| group.others().any(|(_, node)| node == peer);
        let led = self.groups.iter().filter(|(_, group)| is_led(group) && has_it(group));
        for id in led.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.with_group(now, id, |group, _| group.wake());
            self.dirty.insert(id);
        }
    }

    pub(super) fn on_session_down(&mut self, peer: NodeId, session: u64) {
        if self.out.sessions.get(&peer) != Some(&session) {
            return;
        }
        self.out.sessions.remove(&peer);
        self.out.leaving.remove(&peer);
        self.peers.forget(peer);
        self.peers.heard.insert(peer, self.tick);
        self.lose_forwards(peer, session);
        self.park_bounced();
        for (id, group) in &mut self.groups {
            let lost: Vec<ReplicaId> =
                group.others().filter(|(_, node)| *node == peer).map(|(replica, _)| replica).collect();
            if group.replica.is_leader() && !group.is_asleep() {
                lost.iter().for_each(|replica| group.replica.report_unreachable(*replica));
                self.dirty.insert(*id);
            }
        }
    }

    pub(super) fn on_frame(&mut self, now: Now, from: NodeId, session: u64, frame: v1::Frame) {
        if self.out.sessions.get(&from) != Some(&session) {
            return;
        }
        self.peers.heard.insert(from, self.tick);
        let v1::Frame {
            hello: _, // checked by `network` when the stream began
            more: _,  // unfolded by `network`
            raft,
            heartbeats,
            forwards,
            forward_replies,
            beats,
            sleeps,
            hashes,
            stamps,
            reports,
            gone,
            maps,
        } = frame;
        for message in raft {
            self.on_raft(from, message);
        }
        for beat in heartbeats {
            self.on_raft(from, apply::from_heartbeat(beat));
        }
        for forward in forwards {
            self.on_forward(now, from, session, forward);
        }
        for reply in forward_replies {
            self.on_forward_reply(from, session, reply);
        }
        for beat in &beats {
            self.on_beat(now, from, beat);
        }
        for sleep in &sleeps {
            self.with_group(now, GroupId(sleep.group), |group, env| group.on_sleep(from, sleep, env));
            self.dirty.insert(GroupId(sleep.group));
        }
        for report in &hashes {
            self.with_group(now, GroupId(report.group), |group, env| group.on_hash_report(from, report, env));
            self.dirty.insert(GroupId(report.group));
        }
        for report in reports {
            self.on_report(now, from, report);
        }
        for news in maps {
            self.on_news(now, from, session, news);
        }
        for gone in &gone {
            self.on_gone(from, gone);
        }
        for request in &stamps {
            self.with_group(now, GroupId(request.group), |group, _| group.on_stamp_request(request));
            self.dirty.insert(GroupId(request.group));
        }
        self.park_bounced();
    }

    fn on_raft(&mut self, from: NodeId, message: v1::RaftMessage) {
        let id = GroupId(message.group);
        let Some(group) = self.groups.get_mut(&id).filter(|group| group.own() == ReplicaId(message.to)) else {
            return self.say_gone(from, &message);
        };
        group.meet(ReplicaId(message.from), from);
        if group.health.is_stopped() || !apply::is_fenced(group, from, &message) {
            return;
        }
        // The bytes of a snapshot come another way; an announcement without them is nothing.
        if message.snapshot.is_some() {
            return;
        }
        group.note_message(ReplicaId(message.from));
        if let Err(reason) = group.replica.step(message) {
            tracing::debug!(group = %id, %from, reason, "raft did not take a message");
        }
        self.dirty.insert(id);
    }
}
