//! One node's process: the real core, its clocks, its disk if it has one, and whether it runs at all. Without a disk each
//! process is a life of its own.

use std::sync::Arc;

use crate::{
    checkpoint::{Compression, Triggers},
    cluster::map::ClusterMap,
    faults::Faults,
    machine::model::ModelStore,
    multiraft::node::{Admission, Effects, Input, Lanes, Limits, Node, NodeConfig, Timings},
    testing::{
        clock::{Micros, NodeClock},
        cluster,
        disk::Disk,
        net::Place,
        plan::Plan,
    },
    types::{Draw, GroupId, Incarnation, NodeId},
};

/// A node's process.
pub struct Host {
    /// Where.
    pub place: Place,
    /// What it believes of the time.
    pub clock: NodeClock,
    /// The core, while a process lives that has joined.
    pub node: Option<Node<ModelStore>>,
    /// A process lives that asks to join.
    pub is_joining: bool,
    /// The life of the last process.
    pub incarnation: Incarnation,
    lives: u128,
    /// What outlives a process of this life.
    pub disk: Option<Disk>,
    /// Processes so far.
    pub boot: u64,
    /// When the disk is done with all that was asked of it.
    pub disk_free_at: Micros,
    /// The process does nothing before this; what comes in waits.
    pub paused_until: Micros,
    /// A turn is due.
    pub turn_is_set: bool,
    inbox: Vec<Input>,
    faults: Faults,
}

impl Host {
    /// A place where no process lives yet.
    #[must_use]
    pub fn new(place: Place, clock: NodeClock, faults: Faults) -> Self {
        Self {
            place,
            clock,
            node: None,
            is_joining: false,
            incarnation: cluster::incarnation(place, 0),
            lives: 0,
            disk: None,
            boot: 0,
            disk_free_at: 0,
            paused_until: 0,
            turn_is_set: false,
            inbox: Vec::new(),
            faults,
        }
    }

    /// The process takes part from here on, in its present life.
    pub fn start(&mut self, plan: &Plan, map: Arc<ClusterMap>, seed: u64) {
        self.is_joining = false;
        self.boot += 1;
        self.disk = plan.durable.then(|| Disk::new(map.clone(), self.faults));
        self.node = Some(Node::new(self.config(plan, seed), map, make_store(self.faults)));
    }

    /// Another process of the same life goes on from the disk. Says whether there is one to go on from.
    pub fn restart(&mut self, plan: &Plan, seed: u64) -> bool {
        let Some(disk) = &self.disk else { return false };
        self.boot += 1;
        let make = make_store(self.faults);
        let restart = disk.load(|| make(GroupId::META));
        let map = disk.map();
        self.node = Some(Node::restart(self.config(plan, seed), map, restart, make));
        true
    }

    /// A new process, with no memory of an earlier one.
    pub fn begin_life(&mut self) {
        self.lives += 1;
        self.incarnation = cluster::incarnation(self.place, self.lives);
        self.disk = None;
        self.is_joining = true;
    }

    /// How many processes have lived here before this one.
    #[must_use]
    pub fn lives(&self) -> u128 {
        self.lives
    }

    /// Whether no process lives here.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.node.is_none() && !self.is_joining
    }

    /// Whether it has a process that takes part.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.node.is_some()
    }

    /// Whether its process stands still.
    #[must_use]
    pub fn is_paused(&self, now: Micros) -> bool {
        now < self.paused_until
    }

    /// The process is gone, and with it all it knew but what is on its disk.
    pub fn crash(&mut self, draw: &mut Draw) {
        if let Some(disk) = &mut self.disk {
            disk.crash(draw);
        }
        self.disk_free_at = 0;
        self.node = None;
        self.is_joining = false;
        self.inbox.clear();
        self.paused_until = 0;
    }

    /// Gives the core one input, now or when the pause is over. Says whether the core took it.
    pub fn input(&mut self, now: Micros, input: Input) -> bool {
        if self.is_paused(now) {
            self.inbox.push(input);
            return false;
        }
        #[cfg(feature = "planted-faults")]
        self.set_local_clock(now);
        let at = self.clock.now(now);
        if let Some(node) = &mut self.node {
            node.input(at, input);
        }
        true
    }

    /// The pause is over: what came in meanwhile, at once.
    pub fn resume(&mut self, now: Micros) {
        for input in std::mem::take(&mut self.inbox) {
            self.input(now, input);
        }
    }

    /// Lets the core do what is due.
    pub fn turn(&mut self, now: Micros) -> Option<Effects> {
        #[cfg(feature = "planted-faults")]
        self.set_local_clock(now);
        let at = self.clock.now(now);
        self.node.as_mut().map(|node| node.turn(at))
    }

    /// The planted fault "expiry by the local clock" needs one.
    #[cfg(feature = "planted-faults")]
    fn set_local_clock(&mut self, now: Micros) {
        if self.faults == Faults::none() {
            return;
        }
        let wall = crate::types::Timestamp(self.clock.now(now).wall.0);
        let Some(node) = &mut self.node else { return };
        for shard in 0..node.map().num_shards {
            if let Some(machine) = node.machine_mut(GroupId::of_shard(shard)) {
                machine.set_local_clock(wall);
            }
        }
    }
}

/// The name of the node at a place.
#[must_use]
pub fn node_id(place: Place) -> NodeId {
    NodeId(place as u64 + 1)
}

/// The place of a node.
#[must_use]
pub fn place_of(node: NodeId) -> Place {
    node.0 as Place - 1
}

fn make_store(faults: Faults) -> impl Fn(GroupId) -> ModelStore {
    move |_| {
        let mut store = ModelStore::new();
        store.set_faults(faults);
        store
    }
}

impl Host {
    fn config(&self, plan: &Plan, seed: u64) -> NodeConfig {
        let (place, faults) = (self.place, self.faults);
        NodeConfig {
            node: node_id(place),
            incarnation: self.incarnation,
            lanes: Lanes::ALL,
            timings: Timings { hibernate_ticks: plan.hibernate_ticks, ..Timings::default() },
            limits: Limits {
                log_entries: plan.log_entries,
                hash_interval: plan.hash_interval,
                capture_step: plan.capture_step,
                ..Limits::default()
            },
            checkpoints: Triggers { log_entries: plan.checkpoint_entries, ..Triggers::default() },
            compression: Compression::default(),
            seed: seed ^ (place as u64) << 48 ^ (self.lives as u64) << 40,
            durable: plan.durable,
            boot: self.boot,
            admission: Admission::default(),
            faults,
        }
    }
}
