//! One node's process: the real core, its clocks, and whether it runs at all.

use crema::{
    cluster::map::ClusterMap,
    faults::Faults,
    machine::model::ModelStore,
    multiraft::node::{Effects, Input, Lanes, Limits, Node, NodeConfig, Timings},
    types::{GroupId, NodeId, Timestamp},
};

use crate::{
    clock::{Micros, NodeClock},
    cluster,
    net::Place,
    plan::Plan,
};

/// A node's process.
pub struct Host {
    /// Where.
    pub place: Place,
    /// What it believes of the time.
    pub clock: NodeClock,
    /// The core, while a process lives that its peers accept.
    pub node: Option<Node<ModelStore>>,
    /// The process does nothing before this; what comes in waits.
    pub paused_until: Micros,
    /// A turn is due.
    pub turn_is_set: bool,
    inbox: Vec<Input>,
    faults: Faults,
}

impl Host {
    /// A node in its first life.
    #[must_use]
    pub fn new(place: Place, clock: NodeClock, plan: &Plan, map: &ClusterMap, seed: u64, faults: Faults) -> Self {
        let node = Some(start(place, plan, map, seed, faults));
        Self { place, clock, node, paused_until: 0, turn_is_set: false, inbox: Vec::new(), faults }
    }

    /// Whether it has a process that its peers accept.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.node.is_some()
    }

    /// Whether its process stands still.
    #[must_use]
    pub fn is_paused(&self, now: Micros) -> bool {
        now < self.paused_until
    }

    /// The process is gone, and with it all it knew.
    pub fn crash(&mut self) {
        self.node = None;
        self.inbox.clear();
        self.paused_until = 0;
    }

    /// A process with an empty log under the old ids: what PROTOCOL forbids.
    pub fn restart_under_old_ids(&mut self, plan: &Plan, map: &ClusterMap, seed: u64) {
        self.node = Some(start(self.place, plan, map, seed, self.faults));
    }

    /// Gives the core one input, now or when the pause is over. Says whether the core took it.
    pub fn input(&mut self, now: Micros, input: Input) -> bool {
        if self.is_paused(now) {
            self.inbox.push(input);
            return false;
        }
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
        self.set_local_clock(now);
        let at = self.clock.now(now);
        self.node.as_mut().map(|node| node.turn(at))
    }

    /// The planted fault "expiry by the local clock" needs one.
    fn set_local_clock(&mut self, now: Micros) {
        if self.faults == Faults::none() {
            return;
        }
        let wall = Timestamp(self.clock.now(now).wall.0);
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

fn start(place: Place, plan: &Plan, map: &ClusterMap, seed: u64, faults: Faults) -> Node<ModelStore> {
    let config = NodeConfig {
        node: node_id(place),
        incarnation: cluster::incarnation(place),
        lanes: Lanes::ALL,
        timings: Timings { hibernate_ticks: plan.hibernate_ticks, ..Timings::default() },
        limits: Limits {
            log_entries: plan.log_entries,
            hash_interval: plan.hash_interval,
            capture_step: plan.capture_step,
            ..Limits::default()
        },
        seed: seed ^ (place as u64) << 48,
        faults,
    };
    let make_store = move |_| {
        let mut store = ModelStore::new();
        store.set_faults(faults);
        store
    };
    Node::new(config, map.clone().into(), make_store)
}
