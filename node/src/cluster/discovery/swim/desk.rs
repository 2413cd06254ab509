//! What the protocol wants done: packets to send, and timers, of which there is one for each purpose (pure).

use std::{collections::BTreeMap, net::SocketAddr, time::Duration}; // tidy: purity because an address is a value here

use foca::{Notification, Runtime, Timer};
use tracing::info;

use super::identity::Id;
use crate::types::NodeId;

/// A packet and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster::discovery) struct Outgoing {
    pub(in crate::cluster::discovery) to: SocketAddr,
    pub(in crate::cluster::discovery) packet: Vec<u8>,
}

/// What a timer is for. `foca` sets new ones when it meets others or is declared dead, and ignores those before: the
/// latest of each purpose is all that is kept, so that strangers can't fill the memory with timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    // Of those due at once it goes first.
    IndirectProbe,
    Probe,
    Announce,
    AnnounceToDown,
    Gossip,
    Suspicion(NodeId),
    Removal(NodeId),
}

/// The protocol's side of the world.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) now_ms: u64,
    pub(super) out: Vec<Outgoing>,
    /// Whether the members are others than they were.
    pub(super) changed: bool,
    timers: BTreeMap<Purpose, (u64, Timer<Id>)>,
}

impl Desk {
    /// The next timer that is due.
    pub(super) fn pop_due(&mut self) -> Option<Timer<Id>> {
        let due = self.timers.iter().filter(|(_, (at, _))| *at <= self.now_ms);
        let (_, purpose) = due.map(|(purpose, (at, _))| (*at, *purpose)).min()?;
        self.changed |= matches!(purpose, Purpose::Removal(_));
        self.timers.remove(&purpose).map(|(_, timer)| timer)
    }

    #[cfg(test)]
    pub(super) fn timers(&self) -> usize {
        self.timers.len()
    }
}

impl Runtime<Id> for Desk {
    fn notify(&mut self, notification: Notification<'_, Id>) {
        match notification {
            Notification::MemberUp(id) => info!(node = %id.node, gossip = %id.gossip, "alive, says gossip"),
            Notification::MemberDown(id) => info!(node = %id.node, "down, says gossip"),
            Notification::Rename(..) => {}
            Notification::Active | Notification::Idle | Notification::Defunct | Notification::Rejoin(_) => return,
        }
        self.changed = true;
    }

    fn send_to(&mut self, to: Id, data: &[u8]) {
        self.out.push(Outgoing { to: to.gossip, packet: data.to_vec() });
    }

    fn submit_after(&mut self, event: Timer<Id>, after: Duration) {
        let purpose = match &event {
            Timer::SendIndirectProbe { .. } => Purpose::IndirectProbe,
            Timer::ProbeRandomMember(_) => Purpose::Probe,
            Timer::PeriodicAnnounce(_) => Purpose::Announce,
            Timer::PeriodicAnnounceDown(_) => Purpose::AnnounceToDown,
            Timer::PeriodicGossip(_) => Purpose::Gossip,
            Timer::ChangeSuspectToDown { member_id, .. } => Purpose::Suspicion(member_id.node),
            Timer::RemoveDown(id) => Purpose::Removal(id.node),
        };
        let at = self.now_ms + after.as_millis() as u64;
        // A suspect that is probed again is not given more time.
        if self.timers.get(&purpose).is_none_or(|(_, known)| *known != event) {
            self.timers.insert(purpose, (at, event));
        }
    }
}
