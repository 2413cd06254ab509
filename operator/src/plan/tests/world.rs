//! A small world for the planner to act on: a StatefulSet and its controller, machines, processes and a cluster's map.
//!
//! It is simple, not faithful: what takes time takes ticks, and nothing else. Hidden from the planner is what it can't know:
//! which processes really live. [`World::apply`] holds every step to its preconditions.

use std::collections::{BTreeMap, BTreeSet};

use crema_crds::{
    CremaClusterStatus,
    spec::{Eviction, QuorumLoss, UpdateKind},
};

use crate::{
    model::{
        Answer, ClaimView, ClusterUid, ClusterView, Control, Group, Incarnation, Intent, Live, MapVersion, MapView,
        MemberState, Memory, NodeId, NodeView, ObjectView, Observed, Ordinal, PodState, PodView, Repair, Settings,
        StatefulSetView, Storage, Update,
    },
    plan::{Action, Plan, decide},
};

/// How long a tick is.
const TICK_MS: u64 = 5_000;

/// Everything there is.
pub(crate) struct World {
    /// What is wanted.
    pub(crate) intent: Intent,
    /// What Kubernetes has; what the cache says is filled in by [`World::observe`].
    pub(crate) seen: Observed,
    /// The cluster's map, as a majority has it.
    pub(crate) map: Option<MapView>,
    /// Shards of a cluster to be.
    pub(crate) shards: u32,
    /// The revision that pods below the partition are made from.
    pub(crate) current: String,
    /// Revisions whose processes end at once.
    pub(crate) broken: BTreeSet<String>,
    /// Nodes that the operator can't reach.
    pub(crate) silent: BTreeSet<NodeId>,
    /// Voters that are behind, and how far.
    pub(crate) lags: BTreeMap<NodeId, u64>,
    /// What a node says, whatever it is.
    pub(crate) says: BTreeMap<NodeId, Answer>,
    /// `maxUnavailable`, as it was applied last.
    pub(crate) budget: Option<u32>,
    pub(crate) processes: BTreeMap<NodeId, Process>,
    pub(crate) disks: BTreeMap<Ordinal, Process>,
    pub(crate) counter: u64,
}

/// A process of a node, or what is on its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) life: Incarnation,
    pub(crate) cluster: Option<ClusterUid>,
}

impl World {
    /// An object that was just made, and so many machines.
    pub(crate) fn new(replicas: u32, shards: u32, machines: u32) -> Self {
        let mut world = Self {
            intent: intent(replicas),
            seen: sight(),
            map: None,
            shards,
            current: String::new(),
            broken: BTreeSet::new(),
            silent: BTreeSet::new(),
            lags: BTreeMap::new(),
            says: BTreeMap::new(),
            budget: None,
            processes: BTreeMap::new(),
            disks: BTreeMap::new(),
            counter: 100,
        };
        let machine = |number: u32| NodeView { name: format!("m{number}"), ready: true, since_ms: 0, zone: None };
        world.seen.k8s_nodes = Some((0..machines).map(machine).collect());
        world
    }

    /// A number that nothing else has.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// What the operator sees now.
    pub(crate) fn observe(&mut self) -> &Observed {
        let draw = ClusterUid(format!("c{}", self.fresh()));
        let pods = self.seen.pods.iter().map(|pod| (pod.ordinal.node(), self.answer(pod.ordinal.node()))).collect();
        let heard = |answer: &Answer| matches!(answer, Answer::Member { .. });
        let mut view = ClusterView { pods, map: None };
        if view.pods.values().any(heard) {
            view.map = self.map.clone().map(|map| self.reported(map));
        }
        self.seen.cluster = view;
        self.seen.draw = draw;
        if let Some(sts) = &mut self.seen.sts {
            sts.settled = self.current == sts.revision;
            sts.current = Some(self.current.clone());
        }
        &self.seen
    }

    fn answer(&self, node: NodeId) -> Answer {
        if let Some(answer) = self.says.get(&node) {
            return answer.clone();
        }
        match self.processes.get(&node).filter(|_| !self.silent.contains(&node)) {
            None => Answer::Silent { reason: "no answer".to_owned() },
            Some(Process { life, cluster: None }) => Answer::Empty { incarnation: life.clone() },
            Some(Process { life, cluster: Some(uid) }) => Answer::Member {
                cluster_uid: uid.clone(),
                incarnation: life.clone(),
                map_version: self.map.as_ref().map_or(MapVersion(0), |map| map.version),
            },
        }
    }

    fn reported(&self, mut map: MapView) -> MapView {
        map.confirmed = self.lives(&map, Group::Meta);
        for group in map.groups.values_mut() {
            for voter in &mut group.voters {
                let level = self.is_alive(voter.node, &voter.incarnation).then_some(0);
                voter.lag_entries = level.map(|lag| self.lags.get(&voter.node).copied().unwrap_or(lag));
            }
        }
        map
    }

    /// Whether this life of a node runs.
    pub(crate) fn is_alive(&self, node: NodeId, life: &Incarnation) -> bool {
        self.processes.get(&node).is_some_and(|process| process.life == *life && process.cluster.is_some())
    }

    /// Whether a majority of a group's voters runs.
    pub(crate) fn lives(&self, map: &MapView, name: Group) -> bool {
        map.groups.get(&name).is_some_and(|group| {
            let alive = group.voters.iter().filter(|voter| self.is_alive(voter.node, &voter.incarnation)).count();
            alive > group.voters.len() / 2
        })
    }

    /// One pass of the operator. A plan is checked, and done as `apply` does it.
    pub(crate) fn pass(&mut self) -> Plan {
        let intent = self.intent.clone();
        let plan = decide(&intent, self.observe());
        assert_eq!(plan, decide(&intent, &self.seen), "the same sight gives the same plan");
        let disruptive: Vec<&Action> = plan.actions.iter().filter(|action| action.is_disruptive()).collect();
        assert!(disruptive.len() <= 1, "at most one: {disruptive:?}");
        for action in &plan.actions {
            // Others are tried again: a claim may have changed by the step before.
            let done = self.apply(action);
            assert!(done.is_ok() || !action.ends_pass(), "{action}: {done:?}");
        }
        plan
    }

    /// Time passes: everybody but the operator does a step.
    pub(crate) fn tick(&mut self) {
        self.seen.now_ms += TICK_MS;
        self.cluster();
        self.machines();
        self.controller();
    }

    /// Passes and ticks until nothing is left to do; gives what was done, a line each.
    pub(crate) fn settle(&mut self, most: usize) -> (Vec<String>, Option<Plan>) {
        let (mut done, mut quiet) = (Vec::new(), 0);
        for _ in 0..most {
            let plan = self.pass();
            let acts = plan.actions.iter().filter(|action| !matches!(action, Action::ApplyObjects { .. }));
            let acts: Vec<String> = acts.map(Action::to_string).collect();
            quiet = if acts.is_empty() && plan.waiting_on.is_empty() { quiet + 1 } else { 0 };
            done.extend(acts);
            if quiet == 3 {
                return (done, Some(plan));
            }
            self.tick();
        }
        (done, None)
    }

    /// The pod of an ordinal.
    pub(crate) fn pod(&mut self, ordinal: Ordinal) -> Option<&mut PodView> {
        self.seen.pods.iter_mut().find(|pod| pod.ordinal == ordinal)
    }

    /// Puts a pod into another state, as of now.
    pub(crate) fn set_state(&mut self, ordinal: Ordinal, state: PodState) {
        let (version, now_ms) = (self.fresh().to_string(), self.seen.now_ms);
        let Some(pod) = self.pod(ordinal) else { return };
        (pod.state, pod.since_ms, pod.live.resource_version) = (state, now_ms, version);
    }

    /// A process ends by itself.
    pub(crate) fn crash(&mut self, ordinal: Ordinal) {
        self.processes.remove(&ordinal.node());
        self.set_state(ordinal, PodState::Stopped("exit code 137 (Error)".to_owned()));
    }

    /// A machine loses its power; `gone`: and Kubernetes is told that it is no more.
    pub(crate) fn lose(&mut self, name: &str, gone: bool) {
        let now_ms = self.seen.now_ms;
        for machine in self.seen.k8s_nodes.iter_mut().flatten().filter(|machine| machine.name == name) {
            (machine.ready, machine.since_ms) = (false, now_ms);
        }
        if gone {
            self.seen.k8s_nodes.iter_mut().for_each(|machines| machines.retain(|machine| machine.name != name));
        }
        let here = self.seen.pods.iter().filter(|pod| pod.machine.as_deref() == Some(name));
        let ordinals: Vec<Ordinal> = here.map(|pod| pod.ordinal).collect();
        for ordinal in ordinals {
            self.processes.remove(&ordinal.node());
            self.set_state(ordinal, PodState::Starting);
        }
    }

    /// Whether a machine can run pods.
    pub(crate) fn is_ready(&self, name: &str) -> bool {
        self.seen.k8s_nodes.iter().flatten().any(|machine| machine.name == name && machine.ready)
    }

    /// A new life, with nothing in it or what is on the disk.
    pub(crate) fn start(&mut self, ordinal: Ordinal) {
        let node = ordinal.node();
        let kept = match self.intent.storage {
            Storage::Memory => None,
            Storage::Disk { .. } => self.disks.get(&ordinal).cloned(),
        };
        // A disk of a member that left, or was declared dead, is set aside.
        let fits = |process: &Process| match self.map.as_ref().and_then(|map| map.members.get(&node)) {
            None => true,
            Some(member) => {
                let left = matches!(member.state, MemberState::Down | MemberState::Removed);
                !left && member.incarnation == process.life
            }
        };
        let kept = kept.filter(fits);
        let life = Incarnation(format!("life{}", self.fresh()));
        let process = kept.unwrap_or(Process { life, cluster: None });
        self.disks.insert(ordinal, process.clone());
        self.processes.insert(node, process);
    }
}

/// What is wanted of a new cluster.
pub(crate) fn intent(replicas: u32) -> Intent {
    Intent {
        replicas,
        replication_factor: replicas.min(3),
        storage: Storage::Memory,
        settings: Settings {
            max_entries_per_shard: 0,
            max_bytes_per_shard: Vec::new(),
            default_ttl_ms: 0,
            eviction: Eviction::TinyLfu,
            migration_concurrency: 4,
            migration_bytes_per_s: 0,
        },
        migrations_paused: false,
        update: Update { kind: UpdateKind::Rolling, progress_deadline_ms: 600_000, paused: false },
        repair: Repair { after_ms: Some(300_000), replace_volumes: false },
        quorum_loss: QuorumLoss::Reset,
        paused: false,
        revision: "r1".to_owned(),
    }
}

fn sight() -> Observed {
    Observed {
        object: ObjectView {
            name: "cart".to_owned(),
            namespace: "shop".to_owned(),
            uid: "object".to_owned(),
            resource_version: "1".to_owned(),
            generation: 1,
            deleting: false,
            annotations: BTreeMap::new(),
        },
        accepted: None,
        sts: None,
        pods: Vec::new(),
        claims: Vec::new(),
        k8s_nodes: None,
        cluster: ClusterView::default(),
        owned: Vec::new(),
        now_ms: 1_000_000,
        draw: ClusterUid("c0".to_owned()),
        status: CremaClusterStatus::default(),
        memory: Memory::default(),
    }
}

/// A StatefulSet that was just made.
pub(crate) fn stateful_set(world: &mut World, replicas: u32) -> StatefulSetView {
    let (uid, version) = (world.fresh(), world.fresh());
    let intent = &world.intent;
    StatefulSetView {
        live: Live { name: "cart".to_owned(), uid: format!("u{uid}"), resource_version: version.to_string() },
        control: Control::Ours,
        deleting: false,
        replicas,
        update: intent.update.kind,
        partition: replicas,
        revision: intent.revision.clone(),
        current: None,
        settled: true,
        claim_bytes: match intent.storage {
            Storage::Memory => None,
            Storage::Disk { bytes, .. } => Some(bytes),
        },
    }
}

/// A claim that was just made.
pub(crate) fn claim(world: &mut World, ordinal: Ordinal, bytes: u64) -> ClaimView {
    let (uid, version) = (world.fresh(), world.fresh());
    let name = format!("data-cart-{ordinal}");
    ClaimView {
        live: Live { name, uid: format!("u{uid}"), resource_version: version.to_string() },
        ordinal,
        owned: false,
        terminating: false,
        requested_bytes: bytes,
        capacity_bytes: bytes,
        growable: true,
        pinned_to: None,
    }
}
