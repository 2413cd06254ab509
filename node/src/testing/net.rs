//! The virtual network: one stream for each pair of nodes, and what can happen to it.
//!
//! Like TCP under the node-to-node streams: within a session what arrives, arrives in order and once. A broken
//! session loses what is under way, and both ends learn of it, each in its own time. A blocked direction holds its
//! data back (the sender retransmits); blocked for long, the session breaks. Messages sent as *loose* may besides be
//! lost, doubled, late or out of order: Raft must bear that, although the streams don't do it.
//!
//! [`Net`] owns its timers; the world asks [`Net::next_at`] and takes [`Net::pop`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    testing::{
        clock::{MS, Micros, SECOND},
        queue::Queue,
    },
    types::Draw,
};

/// A node's place in the world, from 0.
pub type Place = usize;

/// What the network tells a node.
#[derive(Debug)]
pub enum Notice<M> {
    /// A session to a peer stands.
    Up {
        /// Who is told.
        at: Place,
        /// The other end.
        peer: Place,
        /// Unlike any other of the run.
        session: u64,
    },
    /// It broke.
    Down {
        /// Who is told.
        at: Place,
        /// The other end.
        peer: Place,
        /// Which one.
        session: u64,
    },
    /// A message arrived.
    Arrived {
        /// Who gets it.
        at: Place,
        /// Who sent it.
        from: Place,
        /// On this session.
        session: u64,
        /// The message.
        message: M,
    },
}

/// What may happen to loose messages, each in so many of a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looseness {
    /// Lost.
    pub lost: u64,
    /// Delivered twice.
    pub doubled: u64,
    /// Delivered late, out of order.
    pub late: u64,
}

#[derive(Debug)]
enum Timer<M> {
    Dial { pair: (Place, Place), generation: u64 },
    Arrive { from: Place, to: Place, generation: u64 },
    BreakIfBlocked { pair: (Place, Place), generation: u64 },
    Tell(Notice<M>),
    Loose { at: Place, from: Place, generation: u64, session: u64, message: M },
}

/// One direction of a pair.
struct Pipe<M> {
    blocked: bool,
    /// Nothing arrives before this: order, and the receiver's knowledge of the session.
    not_before: Micros,
    under_way: VecDeque<(Micros, M)>,
}

impl<M> Default for Pipe<M> {
    fn default() -> Self {
        Self { blocked: false, not_before: 0, under_way: VecDeque::new() }
    }
}

struct Link {
    session: Option<u64>,
    /// Rises with each session and each break: timers of an older one are void.
    generation: u64,
    latency: Micros,
    slow: Micros,
}

/// All links between `nodes` nodes.
pub struct Net<M> {
    draw: Draw,
    nodes: usize,
    links: BTreeMap<(Place, Place), Link>,
    pipes: BTreeMap<(Place, Place), Pipe<M>>,
    /// The session that each end was told of: only on that one may it send.
    told: BTreeMap<(Place, Place), u64>,
    /// Nodes that have a network at all: a process lives there.
    attached: Vec<bool>,
    /// Who refuses whom: the first one's map names another life of the second, or none (PROTOCOL 11).
    refusals: BTreeSet<(Place, Place)>,
    timers: Queue<Timer<M>>,
    sessions: u64,
    /// What happens to loose messages now.
    pub looseness: Looseness,
}

impl<M: Clone> Net<M> {
    /// A network in which every pair connects soon.
    #[must_use]
    pub fn new(nodes: usize, mut draw: Draw) -> Self {
        let mut links = BTreeMap::new();
        let mut pipes = BTreeMap::new();
        for a in 0..nodes {
            for b in a + 1..nodes {
                let latency = 50 + draw.below(1_500);
                links.insert((a, b), Link { session: None, generation: 0, latency, slow: 0 });
                pipes.insert((a, b), Pipe::default());
                pipes.insert((b, a), Pipe::default());
            }
        }
        let attached = vec![true; nodes];
        let looseness = Looseness::default();
        let (timers, told) = (Queue::default(), BTreeMap::new());
        let refusals = BTreeSet::new();
        let mut net = Self { draw, nodes, links, pipes, told, attached, refusals, timers, sessions: 0, looseness };
        let pairs: Vec<_> = net.links.keys().copied().collect();
        pairs.into_iter().for_each(|pair| net.dial_soon(0, pair));
        net
    }

    /// When the next thing happens.
    #[must_use]
    pub fn next_at(&self) -> Option<Micros> {
        self.timers.next_at()
    }

    /// Lets the next timer happen; it may have nothing to tell.
    pub fn pop(&mut self) -> Option<Notice<M>> {
        let (now, timer) = self.timers.pop()?;
        match timer {
            Timer::Dial { pair, generation } => {
                self.dial(now, pair, generation);
                None
            }
            Timer::Arrive { from, to, generation } => self.arrive(from, to, generation),
            Timer::BreakIfBlocked { pair, generation } => {
                if self.links[&pair].generation == generation && self.is_blocked(pair) {
                    self.break_session(now, pair);
                }
                None
            }
            Timer::Tell(notice) => self.tell(notice),
            Timer::Loose { at, from, generation, session, message } => {
                let live = self.links[&pair(at, from)].generation == generation && !self.pipes[&(from, at)].blocked;
                live.then_some(Notice::Arrived { at, from, session, message })
            }
        }
    }

    /// Sends in order. Without a session it is lost.
    pub fn send(&mut self, now: Micros, from: Place, to: Place, message: M) {
        let Some((_, generation, latency)) = self.standing(from, to) else { return };
        let at = now + latency;
        let pipe = self.pipe(from, to);
        let at = at.max(pipe.not_before);
        pipe.not_before = at;
        pipe.under_way.push_back((at, message));
        if !pipe.blocked {
            self.set(at, Timer::Arrive { from, to, generation });
        }
    }

    /// Sends a message that may be lost, doubled or late.
    pub fn send_loose(&mut self, now: Micros, from: Place, to: Place, message: M) {
        let Some((session, generation, latency)) = self.standing(from, to) else { return };
        let Looseness { lost, doubled, late } = self.looseness;
        let fate = self.draw.below(1_000);
        if fate < lost {
            return;
        }
        if fate >= lost + doubled + late {
            return self.send(now, from, to, message);
        }
        let not_before = self.pipe(from, to).not_before.max(now + latency);
        if fate < lost + doubled {
            self.send(now, from, to, message.clone());
        }
        let delay = self.late_by();
        self.set(not_before + delay, Timer::Loose { at: to, from, generation, session, message });
    }

    fn late_by(&mut self) -> Micros {
        let most = [5 * MS, 50 * MS, 800 * MS][self.draw.below(3) as usize];
        self.draw.below(most)
    }

    /// Blocks or frees one direction. A block that lasts breaks the session.
    pub fn set_blocked(&mut self, now: Micros, from: Place, to: Place, blocked: bool) {
        let pair = pair(from, to);
        let generation = self.links[&pair].generation;
        let pipe = self.pipe(from, to);
        if pipe.blocked == blocked {
            return;
        }
        pipe.blocked = blocked;
        if blocked {
            let patience = 500 * MS + self.draw.below(4 * SECOND);
            self.set(now + patience, Timer::BreakIfBlocked { pair, generation });
            return;
        }
        let waiting = self.pipe(from, to).under_way.len();
        for _ in 0..waiting {
            let at = self.pipe(from, to).not_before.max(now);
            self.set(at, Timer::Arrive { from, to, generation });
        }
        self.dial_soon(now, pair);
    }

    /// The stream between two nodes breaks; they connect again.
    pub fn cut(&mut self, now: Micros, a: Place, b: Place) {
        self.break_session(now, pair(a, b));
    }

    /// Adds to a link's latency; 0 makes it as before.
    pub fn set_slow(&mut self, a: Place, b: Place, slow: Micros) {
        if let Some(link) = self.links.get_mut(&pair(a, b)) {
            link.slow = slow;
        }
    }

    /// Every link is whole and quick again.
    pub fn heal(&mut self, now: Micros) {
        self.looseness = Looseness::default();
        for a in 0..self.nodes {
            for b in (0..self.nodes).filter(|b| *b != a) {
                self.set_blocked(now, a, b, false);
                self.set_slow(a, b, 0);
            }
        }
    }

    /// A node's process is gone: peers learn of it; it learns nothing.
    pub fn detach(&mut self, now: Micros, node: Place) {
        self.attached[node] = false;
        for peer in (0..self.nodes).filter(|peer| *peer != node) {
            self.break_session(now, pair(node, peer));
        }
    }

    /// A node is there again, and connects.
    pub fn attach(&mut self, now: Micros, node: Place) {
        self.attached[node] = true;
        for peer in (0..self.nodes).filter(|peer| *peer != node) {
            self.dial_soon(now, pair(node, peer));
        }
    }

    /// Whether a node takes another for a peer; both must, for a session to stand.
    pub fn set_accepted(&mut self, now: Micros, by: Place, peer: Place, accepted: bool) {
        if accepted && self.refusals.remove(&(by, peer)) {
            self.dial_soon(now, pair(by, peer));
        } else if !accepted && self.refusals.insert((by, peer)) {
            self.break_session(now, pair(by, peer));
        }
    }

    /// Whether a call could get from one node to another and back, with or without a session.
    #[must_use]
    pub fn is_open(&self, a: Place, b: Place) -> bool {
        a == b || !self.is_blocked(pair(a, b))
    }

    /// Whether a session stands between two nodes.
    #[must_use]
    pub fn is_connected(&self, a: Place, b: Place) -> bool {
        self.links.get(&pair(a, b)).is_some_and(|link| link.session.is_some())
    }

    /// Throws the network's dice: true `of_hundred` times out of a hundred.
    pub fn draws(&mut self, of_hundred: u64) -> bool {
        self.draw.below(100) < of_hundred
    }

    fn standing(&mut self, from: Place, to: Place) -> Option<(u64, u64, Micros)> {
        let link = self.links.get(&pair(from, to))?;
        let (session, generation, latency) = (link.session?, link.generation, link.latency + link.slow);
        if self.told.get(&(from, to)) != Some(&session) {
            return None;
        }
        Some((session, generation, latency + self.draw.below(latency / 2 + 1)))
    }

    fn arrive(&mut self, from: Place, to: Place, generation: u64) -> Option<Notice<M>> {
        let link = &self.links[&pair(from, to)];
        let session = link.session.filter(|_| link.generation == generation)?;
        let pipe = self.pipe(from, to);
        if pipe.blocked {
            return None;
        }
        let (_, message) = pipe.under_way.pop_front()?;
        Some(Notice::Arrived { at: to, from, session, message })
    }

    fn tell(&mut self, notice: Notice<M>) -> Option<Notice<M>> {
        match &notice {
            Notice::Up { at, peer, session } if self.links[&pair(*at, *peer)].session == Some(*session) => {
                self.told.insert((*at, *peer), *session);
            }
            // Over before it was told.
            Notice::Up { .. } => return None,
            Notice::Down { at, peer, session } if self.told.get(&(*at, *peer)) == Some(session) => {
                self.told.remove(&(*at, *peer));
            }
            Notice::Down { .. } | Notice::Arrived { .. } => {}
        }
        self.attached[place_of(&notice)].then_some(notice)
    }

    fn dial_soon(&mut self, now: Micros, pair: (Place, Place)) {
        let generation = self.links[&pair].generation;
        let at = now + MS + self.draw.below(200 * MS);
        self.set(at, Timer::Dial { pair, generation });
    }

    fn dial(&mut self, now: Micros, (a, b): (Place, Place), generation: u64) {
        let refused = self.refusals.contains(&(a, b)) || self.refusals.contains(&(b, a));
        let usable = self.attached[a] && self.attached[b] && !refused && !self.is_blocked((a, b));
        self.sessions += 1;
        let session = self.sessions;
        let Some(link) = self.links.get_mut(&(a, b)) else { return };
        if link.generation != generation || link.session.is_some() || !usable {
            return;
        }
        link.session = Some(session);
        link.generation += 1;
        for (at, peer) in [(a, b), (b, a)] {
            let told_at = now + self.draw.below(3 * MS);
            self.set(told_at, Timer::Tell(Notice::Up { at, peer, session }));
            self.pipe(peer, at).not_before = told_at;
        }
    }

    fn break_session(&mut self, now: Micros, (a, b): (Place, Place)) {
        let Some(link) = self.links.get_mut(&(a, b)) else { return };
        let Some(session) = link.session.take() else { return };
        link.generation += 1;
        for (at, peer) in [(a, b), (b, a)] {
            // Notices to one end stay in order: never before what it was told of this session's begin.
            let least = self.pipe(peer, at).not_before.max(now);
            let slow = if self.draw.below(4) == 0 { 300 * MS } else { 3 * MS };
            let told_at = least + self.draw.below(slow);
            self.pipe(peer, at).under_way.clear();
            self.set(told_at, Timer::Tell(Notice::Down { at, peer, session }));
        }
        self.dial_soon(now, (a, b));
    }

    fn is_blocked(&self, (a, b): (Place, Place)) -> bool {
        self.pipes[&(a, b)].blocked || self.pipes[&(b, a)].blocked
    }

    fn pipe(&mut self, from: Place, to: Place) -> &mut Pipe<M> {
        self.pipes.get_mut(&(from, to)).expect("two nodes of this network")
    }

    fn set(&mut self, at: Micros, timer: Timer<M>) {
        self.timers.set(at, timer);
    }
}

fn pair(a: Place, b: Place) -> (Place, Place) {
    (a.min(b), a.max(b))
}

fn place_of<M>(notice: &Notice<M>) -> Place {
    match notice {
        Notice::Up { at, .. } | Notice::Down { at, .. } | Notice::Arrived { at, .. } => *at,
    }
}

#[cfg(test)]
mod tests;
