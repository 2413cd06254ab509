//! What a seed will go through: the cluster, the load and the incidents, all drawn before the run begins.
//!
//! Swarm testing (Groce et al. 2012): each seed switches on a random subset of the kinds of trouble, since a run with
//! all of them hides what a run with two would show. The last part of every run is calm, so that the cluster can
//! show that it recovers.

use crate::{
    faults::Fault,
    testing::{
        clock::{MS, Micros, SECOND},
        net::{Looseness, Place},
    },
    types::Draw,
};

mod disks;
mod loss;
mod shape;

pub use shape::{Shape, Wish};

/// Everything about a run but the dice thrown in it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes at the start.
    pub nodes: usize,
    /// Shards.
    pub shards: u32,
    /// Voters of each shard.
    pub replicas: usize,
    /// How far the wall clocks are off, either way.
    pub skew_ms: u64,
    /// How far clocks drift, either way.
    pub drift_ppm: u64,
    /// Idle ticks after which groups sleep; 0 never.
    pub hibernate_ticks: u64,
    /// The log is truncated above this many entries.
    pub log_entries: usize,
    /// With disks, a checkpoint is due after so many entries.
    pub checkpoint_entries: u64,
    /// Entries that a capture visits per turn.
    pub capture_step: usize,
    /// State hashes are compared at multiples of this index.
    pub hash_interval: u64,
    /// Entries that one shard may hold; 0 is no limit.
    pub max_entries: u64,
    /// Whether the nodes have disks, from which they go on after a crash.
    pub durable: bool,
    /// How the cluster changes.
    pub shape: Shape,
    /// The clients.
    pub load: Load,
    /// What happens, in order.
    pub incidents: Vec<(Micros, Incident)>,
    /// From now on nothing bad happens.
    pub heal_at: Micros,
}

/// What clients do.
#[derive(Clone, Debug)]
pub struct Load {
    /// How many there are.
    pub clients: u64,
    /// After about so many operations they stop: the checker's time grows faster than the history.
    pub max_ops: usize,
    /// How many calls each has open at most.
    pub pipeline: u64,
    /// How long they wait between rounds, at most.
    pub think: Micros,
    /// How long they wait for an answer, at most.
    pub timeout_ms: u64,
    /// Text keys of each shard.
    pub text_keys: u64,
    /// Whether some puts have deadlines.
    pub ttl: bool,
    /// Whether shards are flushed now and then.
    pub flush: bool,
    /// Of a hundred calls so many are reads.
    pub reads: u64,
    /// No new calls between the two.
    pub quiet: Option<(Micros, Micros)>,
}

/// Trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incident {
    /// The network falls in two.
    Split {
        /// Who is on the first side.
        side: Vec<bool>,
    },
    /// Nothing gets from one node to another.
    OneWay {
        /// The sender.
        from: Place,
        /// Who hears nothing.
        to: Place,
    },
    /// A stream breaks.
    Cut(Place, Place),
    /// A link gets slow.
    Slow(Place, Place, Micros),
    /// Raft messages are treated badly.
    Loose(Looseness),
    /// The network is whole again.
    HealNet,
    /// A process dies; in memory mode all it knew is gone.
    Crash(Place),
    /// A process starts where none lives: it goes on from its disk, or knows nothing and joins.
    Restart(Place),
    /// A process dies, and its disk with it.
    Wipe(Place),
    /// A disk takes nothing any more.
    FailDisk(Place),
    /// The majority of a shard's voters ends with all that it knew, while the meta group goes on; and somebody lets the
    /// shard begin anew.
    Lose {
        /// The group's number.
        group: u32,
        /// Somebody names the lives that are over. Otherwise they prove it by coming back empty.
        named: bool,
    },
    /// What the disk of a dead process has of a group is damaged.
    Damage {
        /// The node.
        place: Place,
        /// The group's number.
        group: u32,
        /// The log, or the newest checkpoint.
        log: bool,
    },
    /// An operator wants something.
    Wish(Wish),
    /// A leader is told to propose a change of its group's configuration that counts on a past one.
    StaleChange {
        /// The group's number.
        group: u32,
    },
    /// A process stops for a while.
    Pause(Place, Micros),
    /// A wall clock jumps.
    Jump(Place, i64),
    /// Somebody asks for another leader of a group (0 is the meta group).
    Transfer {
        /// The group's number.
        group: u32,
        /// The next leader.
        to: Place,
    },
    /// One bit of a replica's memory flips.
    Corrupt {
        /// The node.
        place: Place,
        /// The group's number.
        group: u32,
        /// It flips before it is hashed: only a comparison with others can show it.
        deep: bool,
    },
}

impl Incident {
    /// Ends or starts a process, or goes for the disk of one: with other places or without disks these make no sense.
    fn concerns_processes(&self) -> bool {
        matches!(
            self,
            Self::Crash(_)
                | Self::Restart(_)
                | Self::Wipe(_)
                | Self::FailDisk(_)
                | Self::Lose { .. }
                | Self::Damage { .. }
        )
    }
}

/// Which kinds of trouble a seed has.
#[derive(Clone, Copy, Debug)]
struct Swarm {
    splits: bool,
    one_way: bool,
    cuts: bool,
    slow: bool,
    loose: bool,
    crash: bool,
    pauses: bool,
    jump: bool,
    transfers: bool,
}

impl Swarm {
    fn draw(draw: &mut Draw) -> Self {
        let mut coin = || draw.below(2) == 0;
        Self {
            splits: coin(),
            one_way: coin(),
            cuts: coin(),
            slow: coin(),
            loose: coin(),
            crash: coin(),
            pauses: coin(),
            jump: coin(),
            transfers: coin(),
        }
    }

    fn kinds(self) -> Vec<Kind> {
        let all = [
            (self.splits, Kind::Split),
            (self.one_way, Kind::OneWay),
            (self.cuts, Kind::Cut),
            (self.slow, Kind::Slow),
            (self.loose, Kind::Loose),
            (self.pauses, Kind::Pause),
            (self.jump, Kind::Jump),
            (self.transfers, Kind::Transfer),
        ];
        all.into_iter().filter_map(|(on, kind)| on.then_some(kind)).collect()
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Split,
    OneWay,
    Cut,
    Slow,
    Loose,
    Pause,
    Jump,
    Transfer,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(draw: &mut Draw) -> Self {
        let mut plan = Self::without_loss(draw);
        plan.draw_loss(draw);
        plan
    }

    /// One in which no group loses its majority for good.
    fn without_loss(draw: &mut Draw) -> Self {
        let (nodes, replicas) = [(3, 3), (3, 3), (3, 3), (4, 3), (5, 3), (5, 5), (1, 1)][draw.below(7) as usize];
        let shards = 1 + draw.below(3) as u32;
        let heal_at = (4 + draw.below(8)) * SECOND;
        let load = load(draw, heal_at);
        let mut plan = Self {
            nodes,
            shards,
            replicas,
            skew_ms: [0, 20, 200][draw.below(3) as usize],
            drift_ppm: [0, 200][draw.below(2) as usize],
            hibernate_ticks: [0, 6, 20][draw.below(3) as usize],
            log_entries: [20, 60, 10_000][draw.below(3) as usize],
            checkpoint_entries: [10, 20, 60, 10_000][draw.below(4) as usize],
            capture_step: [1, 3, 100][draw.below(3) as usize],
            hash_interval: [8, 32, 1_024][draw.below(3) as usize],
            max_entries: [0, 0, 4, 8][draw.below(4) as usize],
            durable: false,
            shape: Shape::fixed(),
            load,
            incidents: Vec::new(),
            heal_at,
        };
        plan.draw_incidents(draw);
        plan.draw_shape(draw);
        plan.draw_disks(draw);
        plan
    }

    /// The plan of a seed that hunts a planted fault: the same dice, with what the bug needs to show itself.
    #[must_use]
    pub fn hunting(fault: Fault, draw: &mut Draw) -> Self {
        let mut plan = Self::without_loss(draw);
        let concerns_disks = matches!(
            fault,
            Fault::AcknowledgeBeforeFsync
                | Fault::HardStateNotSynced
                | Fault::TruncationBeforeCheckpoint
                | Fault::StaleLogTail
        );
        if concerns_disks {
            plan.shape = Shape::fixed();
            plan.log_entries = 20;
            plan.checkpoint_entries = 20;
            plan.have_disks(draw);
        } else if plan.durable {
            plan.durable = false;
            plan.incidents.retain(|(_, incident)| !incident.concerns_processes());
        }
        match fault {
            Fault::ReplicaIdReused => plan.restart_often(draw),
            Fault::ExpiryByLocalClock | Fault::ExpiryByWallClockAtRead => {
                plan.load.ttl = true;
                plan.skew_ms = plan.skew_ms.max(200);
            }
            Fault::FollowerLocalEviction | Fault::ReaderFillsTier => {
                plan.max_entries = 4;
                plan.load.text_keys = plan.load.text_keys.max(6);
            }
            Fault::LeaderHashTrusted => plan.corrupt_leader(draw),
            Fault::FuzzyCapture => {
                plan.log_entries = 20;
                plan.capture_step = 1;
            }
            Fault::LearnerPromotedEarly | Fault::TwoVotersRemoved | Fault::MovedReplicaServes => {
                plan.move_often(draw)
            }
            Fault::ConfChangeUnchecked => plan.change_stale(draw),
            Fault::LostShardKeepsSurvivor => plan.lose_shard(draw),
            Fault::StaleLogTail => plan.crash_after_splits(draw),
            Fault::StaleCheckpoint => {
                plan.log_entries = 20;
                plan.capture_step = 1;
                plan.load.clients = 6;
                plan.load.think = 20 * MS;
                plan.load.quiet = None;
                plan.move_often(draw);
            }
            _ => {}
        }
        plan
    }

    fn draw_incidents(&mut self, draw: &mut Draw) {
        let swarm = Swarm::draw(draw);
        let kinds = swarm.kinds();
        // One node's clock may be bad; log time must not follow it.
        let bad_clock = draw.below(self.nodes as u64) as Place;
        let mut at = SECOND + draw.below(SECOND);
        while at < self.heal_at && !kinds.is_empty() {
            let kind = kinds[draw.below(kinds.len() as u64) as usize];
            let incident = self.incident(kind, bad_clock, draw);
            self.incidents.push((at, incident));
            if draw.below(3) == 0 {
                self.incidents.push((at + draw.below(3 * SECOND), Incident::HealNet));
            }
            at += 50 * MS + draw.below(1_500 * MS);
        }
        if swarm.crash && self.nodes > 1 {
            self.draw_crash(draw);
        } else if self.replicas >= 3 && draw.below(4) == 0 {
            // Not beside a crash: two replicas that differ can't say which of them is wrong, and stop. Few runs do: where
            // a silent node is declared down and none can take its place.
            let at = SECOND + draw.below(self.heal_at - SECOND);
            let (place, group) =
                (draw.below(self.nodes as u64) as Place, 1 + draw.below(u64::from(self.shards)) as u32);
            self.incidents.push((at, Incident::Corrupt { place, group, deep: false }));
        }
        self.incidents.retain(|(at, _)| *at < self.heal_at);
        self.incidents.sort_by_key(|(at, _)| *at);
    }

    /// As many crashes as every group survives: a memory-mode node never comes back under its old ids.
    fn draw_crash(&mut self, draw: &mut Draw) {
        let most = (self.replicas - 1) / 2;
        let first = draw.below(self.nodes as u64) as Place;
        for i in 0..most {
            let place = (first + i) % self.nodes;
            let at = SECOND + draw.below(self.heal_at - SECOND);
            self.incidents.push((at, Incident::Crash(place)));
            self.incidents.push((at + draw.below(2 * SECOND), Incident::Restart(place)));
        }
    }

    fn incident(&self, kind: Kind, bad_clock: Place, draw: &mut Draw) -> Incident {
        let nodes = self.nodes as u64;
        let a = draw.below(nodes) as Place;
        let b = (a + 1 + draw.below(nodes.max(2) - 1) as Place) % self.nodes;
        match kind {
            Kind::Split if draw.below(2) == 0 => {
                Incident::Split { side: (0..self.nodes).map(|place| place == a).collect() }
            }
            Kind::Split => Incident::Split { side: (0..self.nodes).map(|_| draw.below(2) == 0).collect() },
            Kind::OneWay => Incident::OneWay { from: a, to: b },
            Kind::Cut => Incident::Cut(a, b),
            Kind::Slow => Incident::Slow(a, b, draw.below(400 * MS)),
            Kind::Loose => {
                Incident::Loose(Looseness { lost: draw.below(200), doubled: draw.below(100), late: draw.below(300) })
            }
            Kind::Pause => Incident::Pause(a, 20 * MS + draw.below(3 * SECOND)),
            Kind::Jump => {
                let far = [200, 2_000, 3_600_000][draw.below(3) as usize];
                Incident::Jump(bad_clock, draw.below(2 * far + 1) as i64 - far as i64)
            }
            Kind::Transfer => Incident::Transfer { group: draw.below(u64::from(self.shards) + 1) as u32, to: a },
        }
    }

    /// One node's process comes and goes, with a lagging follower beside it. Without the fault it never comes back.
    fn restart_often(&mut self, draw: &mut Draw) {
        self.shape = Shape { changes: true, returns: true, spares: self.shape.spares, ..Shape::fixed() };
        self.incidents.retain(|(_, incident)| !incident.concerns_processes());
        let place = draw.below(self.nodes as u64) as Place;
        let mut at = SECOND;
        while at < self.heal_at && self.nodes >= 3 {
            let side = (0..self.nodes).map(|other| other == (place + 1) % self.nodes).collect();
            self.incidents.push((at, Incident::Split { side }));
            self.incidents.push((at + 200 * MS, Incident::Crash(place)));
            self.incidents.push((at + 210 * MS, Incident::Restart(place)));
            self.incidents.push((at + 220 * MS, Incident::HealNet));
            at += SECOND + draw.below(SECOND);
        }
        self.incidents.sort_by_key(|(at, _)| *at);
    }

    fn corrupt_leader(&mut self, draw: &mut Draw) {
        (self.nodes, self.replicas) = (3, 3);
        self.hash_interval = 8;
        self.incidents.clear();
        let at = SECOND + draw.below(self.heal_at - SECOND);
        let (place, group) = (draw.below(3) as Place, 1 + draw.below(u64::from(self.shards)) as u32);
        self.incidents.push((at, Incident::Corrupt { place, group, deep: false }));
    }
}

fn load(draw: &mut Draw, heal_at: Micros) -> Load {
    let quiet = (draw.below(3) == 0).then(|| {
        let from = SECOND + draw.below(heal_at - 2 * SECOND);
        (from, from + SECOND + draw.below(4 * SECOND))
    });
    Load {
        clients: 2 + draw.below(5),
        max_ops: 200 + draw.below(1_300) as usize,
        pipeline: 1 + draw.below(4),
        think: [20 * MS, 100 * MS, 400 * MS][draw.below(3) as usize],
        timeout_ms: [300, 1_000, 3_000][draw.below(3) as usize],
        text_keys: 2 + draw.below(5),
        ttl: draw.below(2) == 0,
        flush: draw.below(4) == 0,
        reads: 20 + draw.below(60),
        quiet,
    }
}
